"""Which build of the engine this is: a digest of the code that decides results.

That is the source of everything between a request's fields and the text, tokens and logprobs of its
answer, and the versions of the libraries that compute. Where nothing of it differs, equal requests
get equal answers.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model.kernel.library import Kernel


#: What decides results, as folders and files below the one that holds ``model`` and ``service``.
SOURCES = (
    "model/config.py",
    "model/kernel",
    "model/runtime",
    "model/sampling",
    "model/scoring.py",
    "model/state.py",
    "model/tokenizers",
    "service/candidate.py",
    "service/candidate_ranking.py",
    "service/completion_run.py",
    "service/completion_states.py",
    "service/covered_text.py",
    "service/detokenizer.py",
    "service/engine",
    "service/prompts.py",
    "service/recurrent_state.py",
    "service/stop_strings.py",
    "service/token_logprobs.py",
    "service/words",
)

#: Distributions that compute; another version of one may round otherwise.
LIBRARIES = ("ai-edge-litert", "numpy", "tokenizers")

_HERE = Path(__file__).resolve().parent.parent


@functools.cache
def engine_build(kernel: Kernel | None = None) -> str:
    """SHA-256, hexadecimal, over source and libraries; takes some milliseconds, once.

    Args:
        kernel: what draws tokens, if it is not NumPy.
    """
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    parts = [source_digest(_HERE), versions, kernel.digest if kernel else None]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def source_digest(root: Path) -> str:
    """SHA-256, hexadecimal, over the names and contents of ``SOURCES`` below ``root``.

    Raises:
        OSError: one of them is missing.
    """
    digest = hashlib.sha256()
    for path in _files(root):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(root).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def _files(root: Path) -> Iterator[Path]:
    for source in SOURCES:
        path = root / source
        if path.is_dir():
            yield from sorted(
                each for each in path.rglob("*") if each.suffix in (".py", ".c", ".h")
            )
        else:
            yield path
