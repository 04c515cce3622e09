"""Ids of requests and answers."""

from __future__ import annotations

import os


def new_id(kind: str) -> str:
    """``kind``, a dash and 128 random bits, as there has not been before."""
    return f"{kind}-{os.urandom(16).hex()}"
