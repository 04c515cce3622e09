"""Several processes give the ids that one gives, in order, and never leave anyone waiting."""

import os
import signal
import subprocess
import sys
import time

import pytest

from model.errors import TrainingError
from model.tokenizers import train_tokenizer
from training import parallel_encoding
from training.parallel_encoding import LARGE_CORPUS_BYTES, encode_batches, num_processes_for

BATCHES = [[f"Batch {number} of the corpus.\n" * (1 + number % 3), "é日"] for number in range(9)]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer("bpe", [text for batch in BATCHES for text in batch], 300)


def test_the_ids_and_their_order_are_those_of_one_process(tokenizer):
    expected = [tokenizer.encode_batch(batch) for batch in BATCHES]
    for num_processes in (1, 2):
        found = encode_batches(tokenizer, iter(BATCHES), num_processes)
        assert [[ids.tolist() for ids in batch] for batch in found] == expected


def kill_self(batch):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_is_an_error_and_no_hang(tokenizer, monkeypatch):
    monkeypatch.setattr(parallel_encoding, "_encode", kill_self)
    with pytest.raises(TrainingError, match="a process that encodes text was killed"):
        list(encode_batches(tokenizer, BATCHES, 2))


def test_an_error_while_reading_ends_the_processes(tokenizer):
    def batches():
        yield BATCHES[0]
        raise OSError("unreadable")

    with pytest.raises(OSError, match="unreadable"):
        list(encode_batches(tokenizer, batches(), 2))


START_AND_DIE = """
import os, signal
from model.tokenizers import train_tokenizer
from training.parallel_encoding import encode_batches
import multiprocessing
tokenizer = train_tokenizer("bpe", ["a text"], 300)
encoded = encode_batches(tokenizer, [["a"]] * 9, 2)
next(encoded)
print(*(child.pid for child in multiprocessing.active_children()), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stream:  # noqa: PTH123
            return stream.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_processes_end_with_a_killed_parent():
    done = subprocess.run(
        [sys.executable, "-c", START_AND_DIE], stdout=subprocess.PIPE, timeout=120, check=False
    )
    assert done.returncode == -signal.SIGKILL
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2
    for _ in range(300):
        if not any(map(is_alive, pids)):
            return
        time.sleep(0.1)
    pytest.fail(f"processes {pids} outlived their parent")


def test_only_a_large_corpus_is_worth_several_processes(tokenizer):
    assert num_processes_for(LARGE_CORPUS_BYTES - 1, tokenizer) == 1
    cores = len(os.sched_getaffinity(0))
    assert num_processes_for(LARGE_CORPUS_BYTES, tokenizer) == min(4, cores)
    assert num_processes_for(10**9, train_tokenizer("char", ["abc"], 10)) == 1
