"""How the C library keeps the memory it was given back: little of it, in processes of many threads.

By itself glibc gives up to eight heaps to every processor core, one for each few threads, and after
it has freed one large block it keeps blocks as large in those heaps for later. A few hundred
threads that each handle a large request body once so hold many times what any of them needs.
"""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

#: Threads share so many heaps; they seldom allocate at the same time, for Python runs one of them.
_MAX_HEAPS = 2
#: Blocks from this size on are mapped by themselves, and given back when they are freed.
_LARGE_BLOCK_BYTES = 256 * 2**10


def give_memory_back() -> None:
    """Has the C library keep little; to be called before threads start. Not glibc: no effect."""
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    set_option(_M_ARENA_MAX, _MAX_HEAPS)
    set_option(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)
    set_option(_M_TRIM_THRESHOLD, _LARGE_BLOCK_BYTES)
