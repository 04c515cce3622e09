"""A JSON answer as the contract wants it: ASCII, keys in the order given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flask import Response


def json_answer(body: Mapping[str, Any], status: int = 200) -> Response:
    """``body`` as a response."""
    text = json.dumps(body, allow_nan=False, separators=(",", ":"))
    return Response(text, status=status, mimetype="application/json")
