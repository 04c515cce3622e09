"""The report page: self-contained, complete, safe with any text."""

import re
from html.parser import HTMLParser

import pytest

from model.bundle.manifest import Score, Scores
from training.report import Sample, render_report, score_rows


def score(bits: float) -> Score:
    return Score(
        nats_per_token=1.5, perplexity=4.48, bits_per_byte=bits, num_tokens=100, num_bytes=300
    )


SCORES = Scores(float32=score(1.5), int8=score(1.51), ngram={2: score(2.5), 1: score(3.5)})
LOG = [
    {"step": 1, "loss": 4.0, "learning_rate": 0.001},
    {"step": 2, "loss": 3.0, "learning_rate": 0.002},
    {"step": 2, "validation_loss": 3.25},
]


def report(**changes: object) -> str:
    values = {
        "name": "tales",
        "facts": {"network": "lstm, 1 x 512"},
        "scores": SCORES,
        "log": LOG,
        "samples": [Sample("Once", 0.7, " upon a time")],
        "settings": {"minutes": 10.0, "layers": None},
        "provenance": {"seed": 1},
    }
    return render_report(**{**values, **changes})


class Reader(HTMLParser):
    """Collects tags and checks that they close in order."""

    VOID = frozenset({"meta", "br", "link", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_well_formed_with_curves_table_and_samples():
    reader = Reader()
    reader.feed(report())
    assert reader.open == []
    assert reader.seen.count("svg") == 2
    assert reader.seen.count("blockquote") == 1
    for text in ("tales", "lstm, 1 x 512", "Once", " upon a time", "1.5100", "temperature 0.7"):
        assert text in report()


def test_nothing_is_loaded_from_elsewhere():
    page = report()
    assert not re.search(r"<(script|link|img|iframe)\b", page)
    assert not re.search(r"(src|href)=\"(?!#)", page)
    assert "url(http" not in page


def test_text_of_the_model_cannot_become_markup():
    page = report(samples=[Sample("<b>", 1.0, "<script>alert(1)</script>&amp;")])
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;amp;" in page


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


@pytest.mark.parametrize("log", [[], LOG[:1], LOG[2:]])
def test_a_short_log_makes_a_page_too(log):
    assert report(log=log).count("<svg") == 2


def test_the_page_is_the_same_for_the_same_run():
    assert report() == report()
