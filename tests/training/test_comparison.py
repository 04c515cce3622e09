"""``report NAME...``: runs and bundles side by side, in whatever state they are."""

import re
import shutil

import pytest
from click.testing import CliRunner
from page_reader import read_page

from model.bundle.manifest import Score, Scores
from training.__main__ import main
from training.pages.comparison import render_comparison
from training.reach_curve import GradientReach
from training.run_directory import write_json
from training.run_record import RunRecord
from training.samples import Sample


@pytest.fixture
def home(finished, tmp_path, monkeypatch):
    """Folders with the finished run, its bundle, and a run that was stopped half way."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished.run.root, tmp_path / "runs" / "tales")
    shutil.copytree(finished.bundles / "tales", tmp_path / "bundles" / "tales")
    stopped = tmp_path / "runs" / "stopped"
    shutil.copytree(finished.run.root, stopped)
    for name in ("export", "checkpoints"):
        shutil.rmtree(stopped / name)
    for name in ("evaluation.json", "exported.json", "published.json"):
        (stopped / name).unlink()
    settings = finished.settings.model_dump(mode="json")
    write_json(tmp_path / "runs" / "tales" / "settings.json", settings)
    write_json(stopped / "settings.json", {**settings, "learning_rate": 0.5})
    lines = (stopped / "log.jsonl").read_text().splitlines()
    (stopped / "log.jsonl").write_text("\n".join(lines[: len(lines) // 2]))
    return tmp_path


def compare(*names: str):
    return CliRunner().invoke(main, ["report", *names, "--output", "page.html"])


def test_a_run_its_bundle_and_a_stopped_run_side_by_side(home):
    result = compare("tales", "stopped", "tales/1")
    assert (result.exit_code, result.output) == (0, "wrote page.html\n")
    page = read_page((home / "page.html").read_text(encoding="utf-8"))
    assert page.count("svg") == 7
    assert page.count("blockquote") == 2 * 3
    assert "stopped unfinished: 4" in page.text
    assert "% of its budget trained, not evaluated yet" in page.text
    assert "tales/1 published lstm, 1 x 48" in page.text
    assert re.search(r"learning_rate 0.0\d+ \(chosen\) 0.5 0.0\d+ \(chosen\)", page.text)
    assert str(home) not in (home / "page.html").read_text(encoding="utf-8")


def test_a_run_only_begun_is_shown_with_what_there_is(home):
    begun = home / "runs" / "begun"
    begun.mkdir()
    shutil.copy(home / "runs" / "tales" / "settings.json", begun)
    assert compare("begun").exit_code == 0
    page = read_page((home / "page.html").read_text(encoding="utf-8"))
    assert "begun unfinished: not prepared yet" in page.text
    assert "No curves are known of begun." in page.text
    assert page.count("svg") == 0


def test_an_older_bundle_without_a_record_shows_its_scores_and_settings(home):
    shutil.rmtree(home / "runs")
    version = home / "bundles" / "tales" / "1"
    report = (version / "report.html").read_text(encoding="utf-8")
    (version / "report.html").write_text(report[: report.index("<script")] + "</body></html>")
    assert "report.html was altered or truncated" in compare("tales").stderr
    sums = (version / "SHA256SUMS").read_text().splitlines()
    kept = [line for line in sums if not line.endswith("report.html")]
    (version / "SHA256SUMS").write_text("\n".join(kept) + "\n")
    assert compare("tales").exit_code == 0
    page = read_page((home / "page.html").read_text(encoding="utf-8"))
    assert "tales/1 published" in page.text
    assert "No curves are known of tales/1." in page.text
    assert "steps 400" in page.text


@pytest.mark.parametrize("name", ["tails", "tales/2", "tales/x", "stop"])
def test_an_unknown_name_is_told_with_those_there_are(home, name):
    result = compare("tales", name)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert f"neither a run nor a bundle '{name}'" in line
    assert "runs in runs: stopped, tales; bundles in bundles: tales" in line
    assert not (home / "page.html").exists()


def test_a_name_that_can_be_none_and_a_disk_that_refuses_are_told(home):
    assert "bundle name is '..'" in compare("../x").stderr
    refused = CliRunner().invoke(main, ["report", "tales", "--output", "runs/tales/log.jsonl/x"])
    assert refused.exit_code == 2
    assert "error: cannot write" in refused.stderr


def score(bits: float) -> Score:
    return Score(
        nats_per_token=1.5, perplexity=4.48, bits_per_byte=bits, num_tokens=100, num_bytes=300
    )


def record(name: str, bits: float, digest: str, test: str | None = None) -> RunRecord:
    return RunRecord(
        name=name,
        status="finished",
        settings={"seed": 1, "layers": 2 if name == "<b>" else 1, "test": test},
        scores=Scores(float32=score(bits), ngram={1: score(3.0)}),
        samples=(Sample("", 0.7, f"text of {name}"),),
        gradient_reach=GradientReach(hidden=(2.0, 1.0), cell=(), num_positions=4),
        provenance={"corpus digest": digest},
    )


def test_the_best_score_is_marked_and_settings_that_differ_come_first():
    page = read_page(render_comparison([record("<b>", 1.5, "d"), record("b", 1.25, "d")]))
    assert "network, float32 1.5000 1.2500 ★" in page.text
    assert "1-gram, Kneser-Ney 3.0000 3.0000 Lower" in page.text
    assert page.text.index("layers 2 1") < page.text.index("seed 1 1")
    assert "1 that are alike" in page.text
    assert "different held-out texts" not in page.text
    assert "text of <b>" in page.text
    assert "1 50 % 50 %" in page.text


def test_runs_of_different_corpora_are_ranked_where_the_test_text_is_the_same():
    runs = [record("a", 1.5, "d", "books/held"), record("b", 1.25, "e", "held")]
    page = read_page(render_comparison(runs))
    assert "different held-out texts" not in page.text
    assert "network, float32 1.5000 1.2500 ★" in page.text
    runs = [record("a", 1.5, "d", "held"), record("b", 1.25, "d", "other")]
    assert "different held-out texts" in read_page(render_comparison(runs)).text


def test_scores_on_different_texts_are_not_ranked():
    page = read_page(render_comparison([record("a", 1.5, "d"), record("b", 1.25, "e")]))
    assert "different held-out texts" in page.text
    assert "★" not in page.text
