"""The report page: self-contained, complete, safe with any text; it carries the run it shows."""

import pytest
from page_reader import read_page

from model.bundle.manifest import Score, Scores
from training.pages.report import reach_rows, render_report, score_rows, share_text
from training.reach_curve import GradientReach
from training.run_record import RunRecord, embedded_record
from training.samples import Sample


def score(bits: float) -> Score:
    return Score(
        nats_per_token=1.5, perplexity=4.48, bits_per_byte=bits, num_tokens=100, num_bytes=300
    )


SCORES = Scores(float32=score(1.5), int8=score(1.51), ngram={2: score(2.5), 1: score(3.5)})
LOG = [
    {"step": 1, "share": 0.5, "epochs": 1.0, "loss": 4.0, "learning_rate": 0.001},
    {"step": 2, "share": 1.0, "epochs": 2.0, "loss": 3.0, "learning_rate": 0.002},
    {"step": 2, "validation_loss": 3.25},
]
REACH = GradientReach(hidden=(2.0, 1.0, 0.5, 0.002), cell=(0.0, 3.0, 0.5, 0.0), num_positions=7)


def record(**changes: object) -> RunRecord:
    values = {
        "name": "tales",
        "status": "finished",
        "facts": {"network": "lstm, 1 x 512"},
        "settings": {"minutes": 10.0, "layers": None, "window": None, "corpus": None},
        "plan": {"window": 64, "config": {"num_layers": 3}},
        "scores": SCORES,
        "log": tuple(LOG),
        "train_tokens": 5000,
        "bytes_per_token": 3.0,
        "samples": (Sample("Once", 0.7, " upon a time"),),
        "gradient_reach": REACH,
        "provenance": {"seed": 1},
    }
    return RunRecord(**{**values, **changes})


def test_the_page_shows_all_there_is():
    page = read_page(render_report(record()))
    assert (page.count("svg"), page.count("blockquote")) == (3, 1)
    for text in ("tales", "lstm, 1 x 512", "Once", " upon a time", "1.5100", "temperature 0.7"):
        assert text in render_report(record())
    assert "layers 3 (chosen)" in page.text
    assert "minutes 10.0" in page.text
    assert "2 50 %" not in page.text
    assert "2 25 %" in page.text


def test_charts_are_told_in_words():
    labels = [attributes.get("aria-label", "") for _, attributes in read_page_tags()]
    assert any("training: 4 at 0.5, 3 at 1" in label for label in labels)
    assert any("cell state c: 1.5 at 1, 0.25 at 2" in label for label in labels)


def read_page_tags():
    return read_page(render_report(record())).seen


def test_text_of_the_model_cannot_become_markup():
    sample = Sample("<b>", 1.0, "</script><script>alert(1)</script>&amp;")
    page = render_report(record(samples=(sample,), name="<i>"))
    read_page(page)
    assert "<script>" not in page
    assert "<i>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;amp;" in page


def test_the_page_carries_its_run(tmp_path):
    odd = record(samples=(Sample("<b>&amp;", 1.0, "</script> é\u2028"),))
    (tmp_path / "report.html").write_text(render_report(odd), encoding="utf-8")
    assert embedded_record(tmp_path / "report.html") == odd
    bare = RunRecord(name="bare", status="not trained yet")
    (tmp_path / "report.html").write_text(render_report(bare), encoding="utf-8")
    assert embedded_record(tmp_path / "report.html") == bare


@pytest.mark.parametrize("content", ["", "<p>old</p>", '<script id="run">{"name": 1}</script>'])
def test_a_page_without_a_run_carries_none(tmp_path, content):
    (tmp_path / "report.html").write_text(content)
    assert embedded_record(tmp_path / "report.html") is None
    assert embedded_record(tmp_path / "missing.html") is None


def test_the_scores_are_in_order_with_the_network_last():
    labels = [row[0] for row in score_rows(SCORES)]
    assert labels == [
        "1-gram, Kneser-Ney",
        "2-gram, Kneser-Ney",
        "network, int8 (as served)",
        "network, float32",
    ]
    assert score_rows(SCORES)[2][1:] == ("1.5000", "4.48", "1.5100")
    assert len(score_rows(Scores(float32=score(1.5)))) == 1


def test_shares_are_written_for_a_person():
    assert reach_rows(REACH) == [("1", "150 %"), ("2", "25 %")]
    assert [share_text(share) for share in (0.5, 0.00034, 2e-9)] == ["50 %", "0.034 %", "2e-07 %"]


def test_losses_and_places_are_the_logs():
    run = record()
    assert run.points("loss") == [(0.5, 4.0), (1.0, 3.0)]
    assert run.points("validation_loss", by="tokens") == [(10_000.0, 3.25)]
    ((place, bits), *_) = run.bits_per_byte("loss", by="tokens")
    assert (place, bits) == (5000.0, pytest.approx(4.0 / 3.0 / 0.6931472))
    assert record(train_tokens=None).points("loss", by="tokens") == []
    assert record(bytes_per_token=None).bits_per_byte("loss") == []


@pytest.mark.parametrize("log", [[], LOG[:1], LOG[2:]])
def test_a_short_log_makes_a_page_too(log):
    assert read_page(render_report(record(log=log))).count("svg") == 3


def test_the_page_is_the_same_for_the_same_run():
    assert render_report(record()) == render_report(record())
