"""The command ``remember``: real trainings, tiny, and a page that shows what was measured."""

import json
from functools import partial

import pytest
from click.testing import CliRunner
from page_reader import read_page

from training import memory_measurements
from training.__main__ import main
from training.recall_task import CHANCE

ARGUMENTS = (
    *("--steps", "30", "--hidden-size", "16", "--batch-size", "4", "--window", "20"),
    *("--evaluation-tokens", "500", "--updates", "2", "--repeats", "2"),
)


@pytest.fixture(scope="module")
def remembered(tmp_path_factory, corpus):
    """The folder that the command wrote, what it said, and the same command again."""
    folder = tmp_path_factory.mktemp("remember") / "memory"
    arguments = ["remember", "--corpus", str(corpus), "--output", str(folder), *ARGUMENTS]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_measurements, "DISTANCES", (3, 5, 12))
        patch.setattr(memory_measurements, "NUM_TESTS", 300)
        patch.setattr(memory_measurements, "CELLS", ("simple_rnn", "lstm"))
        short = partial(memory_measurements.measure_gradient_reach, max_steps=40)
        patch.setattr(memory_measurements, "measure_gradient_reach", short)
        first = CliRunner().invoke(main, arguments)
        assert first.exit_code == 0, first.output
        again = CliRunner().invoke(main, arguments)
    return folder, first, again


def test_the_page_shows_both_measurements(remembered):
    folder, first, _ = remembered
    page = read_page((folder / "memory.html").read_text(encoding="utf-8"))
    assert page.count("svg") == 2
    for text in ("SimpleRNN", "LSTM", "5-gram", "remember", "6.2 %"):
        assert text in page.text
    assert first.stdout.splitlines()[-1] == f"wrote {folder / 'memory.html'}"
    for picture in ("gradient-reach.svg", "accuracy-by-distance.svg"):
        assert (folder / picture).read_text(encoding="utf-8").startswith("<?xml")


def test_the_cells_are_trained_alike_and_measured(remembered):
    results = json.loads((remembered[0] / "memory.json").read_text())
    texts = {text["cell"]: text for text in results["text"]}
    assert list(texts) == ["simple_rnn", "lstm"]
    weights = [text["num_weights"] for text in texts.values()]
    assert weights == sorted(weights)
    for text in texts.values():
        assert len(text["reach"]["hidden"]) == 41
        assert text["reach"]["hidden"][0] > text["reach"]["hidden"][40] > 0
    assert all(len(recall["accuracies"]) == 2 for recall in results["recall"][1:])


def test_ngrams_recall_what_lies_in_their_window_and_guess_beyond_it(remembered):
    results = json.loads((remembered[0] / "memory.json").read_text())
    ngram = results["recall"][0]
    assert ngram["model"] == "5-gram"
    ((within, beyond, far),) = ngram["accuracies"]
    assert within > 0.9
    assert max(beyond, far) < 2.5 * CHANCE


def test_what_is_done_is_not_done_again(remembered):
    _, first, again = remembered
    assert again.exit_code == 0
    assert "recall, " in first.stderr
    assert "recall, " not in again.stderr
    assert "train 100%" not in again.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--corpus is missing"),
        (("--corpus", "nowhere"), "nowhere does not exist"),
        (("--steps", "0"), "--steps is '0'"),
    ],
)
def test_a_mistake_is_one_clear_line(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["remember", *arguments])
    assert result.exit_code == 2
    assert message in result.stderr.splitlines()[-1]
