"""The benchmarks start: every one can be imported, and the help names what there is to choose."""

from pathlib import Path

import pytest

from benchmarks import load_client
from benchmarks.__main__ import main
from benchmarks.generated_text import write_text
from benchmarks.record import Result, find_median, percentile


def test_help_and_wrong_size(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    with pytest.raises(SystemExit) as end:
        main(["--size", "big"])
    assert end.value.code == 2
    assert "LAYERSxHIDDEN" in capsys.readouterr().err


def test_medians_shares_and_percentiles() -> None:
    result = Result(
        benchmark="engine", case="one", metric="tokens/s", values=(1, 9, 5), shares=(0.1, 0.9, 0.5)
    )
    assert (result.median, result.share) == (5, 0.5)
    assert result.to_dict()["median"] == 5
    assert find_median([result], "one") == 5
    assert find_median([result], "two") is None
    assert percentile([4, 1, 3, 2], 50) == 2
    assert percentile([4, 1, 3, 2], 99) == 4


def test_generated_text_is_the_same_for_the_same_seed_and_full_of_words(tmp_path: Path) -> None:
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    for path in (first, second):
        write_text(path, 1_000_000, seed=7)
    assert first.read_bytes() == second.read_bytes()
    words = first.read_text("utf-8").split()
    assert len(first.read_bytes()) >= 1_000_000
    assert len(words) > 5 * len(set(words)) > 50_000


def test_a_server_that_is_not_there_is_a_failure_not_a_figure() -> None:
    path = "/v1/completions"
    closed = load_client.ClosedLoad(port=1, path=path, bodies=[["{}"]], seconds=1.0)
    opened = load_client.OpenLoad(port=1, path=path, bodies=["{}"], times=[0.0])
    for load in (closed, opened):
        outcome = load_client.put_load(load)
        assert (outcome.num_failed, outcome.num_tokens, outcome.latencies) == (1, 0, [])
