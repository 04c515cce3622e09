"""How often streams write: under load several tokens share a chunk, so that all get on faster.

Writing a chunk takes a worker ten times as long as taking a token. So a stream among ``n`` lets
tokens gather after each chunk, ``n - 1`` times a little: one that is alone never does, and however
many there are, together they write so many chunks a second at most.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from service.fibres import pause

#: By so much each further stream lengthens the pause.
_SECONDS_PER_STREAM = 0.0003
#: However many streams there are, none pauses longer.
_MOST_SECONDS = 0.05


class ChunkPace:
    """Counts the streams of a process: a context manager for as long as each of them lasts.

    Args:
        sleep: waits for so many seconds.
    """

    def __init__(self, sleep: Callable[[float], None] = pause) -> None:
        self._sleep = sleep
        self._lock = threading.Lock()
        self._num_streams = 0

    def __enter__(self) -> Self:
        with self._lock:
            self._num_streams += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._num_streams -= 1

    def pause(self) -> None:
        """Lets tokens gather, after a chunk, if there are other streams."""
        num_others = self._num_streams - 1
        if num_others > 0:
            self._sleep(min(_SECONDS_PER_STREAM * num_others, _MOST_SECONDS))
