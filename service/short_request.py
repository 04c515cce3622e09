"""Which requests a worker answers as fibres: nearly all of those that clients send all day.

A fibre keeps the processor until it waits, so what may take long before it does gets a thread. A
mistake here costs others milliseconds, and nothing else: both ways give the same answer.
"""

from __future__ import annotations

import re

_MAX_BYTES = 4096

_PATH = re.compile(rb"POST /v1/(?:completions|next|score|embeddings|(?:de)?tokenize) ")
#: Fields that bring work which grows with the answer or with the vocabulary.
_LONG_WORK = re.compile(rb'"(?:n|best_of|logprobs|echo|suffix|unit|candidates)"')


def is_short(request: bytes) -> bool:
    """Whether ``request``, all of which is there, takes little work before it waits."""
    return (
        len(request) <= _MAX_BYTES
        and _PATH.match(request) is not None
        and _LONG_WORK.search(request) is None
    )
