"""The benchmarks start: every one can be imported, and the help names what there is to choose."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tiny_bundle import tiny_bundle

from benchmarks import llama_cpp, load_client, minutes, summary
from benchmarks.__main__ import main
from benchmarks.generated_text import write_text
from benchmarks.record import Result, find_median, percentile
from benchmarks.subject import published_subject

STAND_IN = Path(__file__).with_name("llama_cpp_stand_in.py")


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
        write_text(path, 1_000_000, seed=7, num_words=20_000)
    assert first.read_bytes() == second.read_bytes()
    words = first.read_text("utf-8").split()
    assert len(first.read_bytes()) >= 1_000_000
    assert len(words) > 5 * len(set(words)) > 10_000


def test_a_server_that_is_not_there_is_a_failure_not_a_figure() -> None:
    path = "/v1/completions"
    closed = load_client.ClosedLoad(port=1, path=path, bodies=[["{}"]], seconds=1.0)
    opened = load_client.OpenLoad(port=1, path=path, bodies=["{}"], times=[0.0])
    for load in (closed, opened):
        outcome = load_client.put_load(load)
        assert (outcome.num_failed, outcome.num_tokens, outcome.latencies) == (1, 0, [])


def test_llama_cpp_server_is_started_and_measured(tmp_path: Path) -> None:
    subject = published_subject(tiny_bundle())
    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(b"GGUF")
    results = {r.case: r for r in llama_cpp.measure(subject, str(STAND_IN), gguf, 2)}
    for clients in ("1 client", "32 clients", "32 clients, top_k 40"):
        ours, theirs = (
            results[f"{who}, {clients}"] for who in ("Foretoken beside it", "llama.cpp")
        )
        assert len(ours.values) == len(theirs.values) == len(theirs.shares) == 2
        assert theirs.shares[1] == pytest.approx(theirs.values[1] / ours.values[1])
    assert 0 < results["llama.cpp, 1 client"].median < 128 / 0.005
    assert results["llama.cpp, resident"].median > 1
    assert results["Foretoken, resident, all processes"].median > 50


def test_llama_cpp_server_that_does_not_start(tmp_path: Path) -> None:
    subject = published_subject(tiny_bundle())
    with pytest.raises(RuntimeError, match="exit code 1"):
        llama_cpp.measure(subject, str(STAND_IN), tmp_path / "none.gguf")
    with pytest.raises(RuntimeError, match="--gguf"):
        llama_cpp.measure(subject, str(STAND_IN), None)


class Scripted(BaseHTTPRequestHandler):
    """Refuses, breaks a stream off, and streams: what the body asks for."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        wish = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.send_response(503 if wish == "refuse" else 200)
        if wish == "refuse":
            self.send_header("Retry-After", "3")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        texts = [b'data: {"choices":[{"text":"a"}]}\n\n' for _ in range(3)]
        usage = b'data: {"choices":[],"usage":{"completion_tokens":3}}\n\ndata: [DONE]\n\n'
        error = b'data: {"error": {"code": "engine_unavailable"}}\n\n'
        for part in (*texts, error if wish == "break" else usage, b""):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def scripted_port() -> Iterator[int]:
    # A load generator that gets its answer late opens one more connection.
    with ThreadingHTTPServer(("127.0.0.1", 0), Scripted) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_what_came_back_is_counted_as_what_it_is(scripted_port: int) -> None:
    bodies = [["stream", "refuse", "break", "stream"]]
    load = load_client.ClosedLoad(port=scripted_port, path="/", bodies=bodies, seconds=60.0)
    outcome = load_client.put_load(load)
    assert (outcome.num_tokens, outcome.num_failed) == (6, 1)
    assert (len(outcome.latencies), len(outcome.refusals)) == (2, 1)
    assert (len(outcome.first_tokens), len(outcome.gaps)) == (2, 4)


def test_an_open_loop_sends_when_it_is_time(scripted_port: int) -> None:
    times = [0.0, 0.2, 0.4]
    load = load_client.OpenLoad(
        port=scripted_port, path="/", bodies=["stream", "refuse", "stream"], times=times
    )
    outcome = load_client.put_load(load)
    assert (len(outcome.latencies), len(outcome.refusals)) == (2, 1)
    assert outcome.ended_at[1] >= 0.4
    assert outcome.wall_seconds >= 0.4


def test_the_tables_are_those_of_the_results() -> None:
    """``python -m benchmarks.summary --write`` was run after the results last changed."""
    models = summary.read_models()
    for page in summary.PAGES:
        text = page.read_text("utf-8")
        assert "<!-- table: " in text
        assert summary.render(text, models) == text, f"{page.name} shows other figures"


def test_a_table_has_what_was_measured_and_the_longer_measurement_counts(tmp_path: Path) -> None:
    def record(name: str, *results: Result) -> None:
        model = {"name": "tiny", "config": {"cell": "gru", "num_layers": 1, "hidden_size": 8}}
        fields = {"model": model, "results": [result.to_dict() for result in results]}
        (tmp_path / name).write_text(json.dumps(fields), "utf-8")

    def figure(benchmark: str, case: str, metric: str, value: float) -> Result:
        return Result(benchmark=benchmark, case=case, metric=metric, values=(value,))

    record("tiny.json", figure("open loop", "arrivals at 50 %", "tokens/s", 1.5))
    record(
        "tiny-long.json",
        figure("open loop", "arrivals at 50 %", "tokens/s", 2512.4),
        figure("processes: 32 clients", "1 engine", "tokens/s", 7.125),
        figure("processes: memory of all", "1 engine", "MB", 150.0),
    )
    (tmp_path / "else.json").write_text('{"benchmark": "something else"}', "utf-8")
    page = "".join(
        f"<!-- table: {name} -->\nold\n<!-- end of table -->\n"
        for name in ("open loop", "processes", "engine")
    )
    rows = summary.render(page, summary.read_models(tmp_path)).splitlines()
    assert rows[1:4] == ["| tiny | tokens/s |", "|---|---:|", "| arrivals at 50 % | 2,512 |"]
    assert rows[6:9] == [
        "| tiny | 32 clients, tokens/s | memory, MB |",
        "|---|---:|---:|",
        "| 1 engine | 7.12 | 150 |",
    ]
    assert rows[11] == "Not measured."


def test_a_corpus_is_cut_to_size_from_all_over_it(tmp_path: Path) -> None:
    for number in range(10):
        text = "\n\n".join(f"Book {number}, paragraph {n}. " + "word " * 100 for n in range(40))
        (tmp_path / f"{number}.txt").write_text(text, encoding="utf-8")
    cut = tmp_path / "cut" / "corpus.txt"
    cut.parent.mkdir()
    minutes.cut_corpus(tmp_path, cut, 50_000)
    text = cut.read_text("utf-8")
    assert 40_000 < len(text) < 60_000
    assert len({line[:6] for line in text.splitlines() if line.startswith("Book")}) >= 8
    with pytest.raises(RuntimeError, match="not 9,000,000"):
        minutes.cut_corpus(tmp_path, cut, 9_000_000)
