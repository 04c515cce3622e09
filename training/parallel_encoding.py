"""Encoding batch after batch of documents, in several processes where the corpus is large."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process

from model.errors import TrainingError
from model.tokenizers import Tokenizer
from training.corpus_encoder import CorpusEncoder
from training.token_file import TokenArray

#: From here on the start of the processes, half a second, is worth while.
LARGE_CORPUS_BYTES = 20_000_000
_MAX_PROCESSES = 4

Batch = list[str]

_encoder: CorpusEncoder | None = None


def num_processes_for(corpus_bytes: int, tokenizer: Tokenizer) -> int:
    """How many processes to encode with: 1 (this one) or one per processor core.

    A ``char`` tokenizer is faster than the passing of text between processes.
    """
    if corpus_bytes < LARGE_CORPUS_BYTES or tokenizer.kind == "char":
        return 1
    return min(_MAX_PROCESSES, len(os.sched_getaffinity(0)))


def encode_batches(
    tokenizer: Tokenizer, batches: Iterable[Batch], num_processes: int
) -> Iterator[list[TokenArray]]:
    """The ids of the documents of each batch, in order; a few batches are read ahead.

    Raises:
        TrainingError: a process was killed, as the system does when memory runs out.
    """
    if num_processes == 1:
        yield from map(CorpusEncoder(tokenizer).encode, batches)
        return
    pool = ProcessPoolExecutor(
        num_processes, get_context("spawn"), _start_process, (tokenizer.document,)
    )
    pending: deque[Future[list[TokenArray]]] = deque()
    try:
        for batch in batches:
            pending.append(pool.submit(_encode, batch))
            if len(pending) > num_processes:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool as error:
        raise TrainingError("a process that encodes text was killed; is memory short?") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_process(document: str) -> None:
    global _encoder  # noqa: PLW0603 - what a worker process keeps between batches
    _encoder = CorpusEncoder(Tokenizer(document))
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _encode(batch: Batch) -> list[TokenArray]:
    assert _encoder is not None, "set when the process was started"
    return _encoder.encode(batch)
