"""What an HTTP answer that is not 2xx says: ``ApiError`` and the table of its codes.

ForetokenError
├── ApiError                a request is answered with an error; carries code, status and headers
├── EngineUnavailableError  see service/engine_client.py
└── ...                     see model/errors.py
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from model.errors import ForetokenError

INVALID_REQUEST = "invalid_request_error"
AUTHENTICATION = "authentication_error"
PERMISSION = "permission_error"
CONFLICT = "conflict_error"
RATE_LIMIT = "rate_limit_error"
SERVER_ERROR = "server_error"


@dataclass(frozen=True)
class ErrorKind:
    """Status and type that belong to an error code."""

    status: int
    type: str


#: Every code of the API, with its status and type: the table of section 2 of the contract.
ERROR_KINDS: Mapping[str, ErrorKind] = MappingProxyType(
    {
        "invalid_json": ErrorKind(400, INVALID_REQUEST),
        "missing_parameter": ErrorKind(400, INVALID_REQUEST),
        "invalid_type": ErrorKind(400, INVALID_REQUEST),
        "invalid_value": ErrorKind(400, INVALID_REQUEST),
        "unknown_parameter": ErrorKind(400, INVALID_REQUEST),
        "unsupported_parameter": ErrorKind(400, INVALID_REQUEST),
        "invalid_token_id": ErrorKind(400, INVALID_REQUEST),
        "context_length_exceeded": ErrorKind(400, INVALID_REQUEST),
        "too_many_prompts": ErrorKind(400, INVALID_REQUEST),
        "too_many_sequences": ErrorKind(400, INVALID_REQUEST),
        "invalid_api_key": ErrorKind(401, AUTHENTICATION),
        "insufficient_permissions": ErrorKind(403, PERMISSION),
        "admin_disabled": ErrorKind(403, PERMISSION),
        "model_not_found": ErrorKind(404, INVALID_REQUEST),
        "unknown_url": ErrorKind(404, INVALID_REQUEST),
        "method_not_allowed": ErrorKind(405, INVALID_REQUEST),
        "stale_state": ErrorKind(409, CONFLICT),
        "reload_in_progress": ErrorKind(409, CONFLICT),
        "request_too_large": ErrorKind(413, INVALID_REQUEST),
        "unsupported_media_type": ErrorKind(415, INVALID_REQUEST),
        "invalid_state": ErrorKind(422, INVALID_REQUEST),
        "state_expired": ErrorKind(422, INVALID_REQUEST),
        "state_model_mismatch": ErrorKind(422, INVALID_REQUEST),
        "model_load_failed": ErrorKind(422, INVALID_REQUEST),
        "rate_limit_exceeded": ErrorKind(429, RATE_LIMIT),
        "internal_error": ErrorKind(500, SERVER_ERROR),
        "overloaded": ErrorKind(503, SERVER_ERROR),
        "queue_timeout": ErrorKind(503, SERVER_ERROR),
        "model_loading": ErrorKind(503, SERVER_ERROR),
        "engine_unavailable": ErrorKind(503, SERVER_ERROR),
        "shutting_down": ErrorKind(503, SERVER_ERROR),
        "request_timeout": ErrorKind(504, SERVER_ERROR),
    }
)

#: Of a value quoted in a message no more than this many characters are shown.
MAX_SHOWN_CHARACTERS = 80


class ApiError(ForetokenError):
    """The request is answered with an error.

    Args:
        code: a key of ``ERROR_KINDS``.
        message: what was wrong, the value given and the value allowed. No path, no stack trace.
        param: the offending field, dotted or indexed for nested ones.
        retry_after_seconds: for 503: when to come back; 1 to 120.
        headers: further headers of the answer.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_seconds: int = 1,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.kind = ERROR_KINDS[code]
        self.message = message
        self.param = param
        self.headers = dict(headers)
        if self.kind.status == 503:
            self.headers["Retry-After"] = str(min(max(retry_after_seconds, 1), 120))
        if self.kind.status in (409, 504):
            self.headers["x-should-retry"] = "false"

    @property
    def status(self) -> int:
        """HTTP status code."""
        return self.kind.status

    def body(self) -> dict[str, Any]:
        """The error envelope."""
        return {
            "error": {
                "message": self.message,
                "type": self.kind.type,
                "param": self.param,
                "code": self.code,
            }
        }


def shown(value: object) -> str:
    """``value`` as quoted in a message: as JSON would write it, shortened."""
    if isinstance(value, list):
        return "a list" if value else "[]"
    if isinstance(value, dict):
        return "an object" if value else "{}"
    if isinstance(value, str) and len(value) > MAX_SHOWN_CHARACTERS:
        return json.dumps(value[: MAX_SHOWN_CHARACTERS - 3]) + "..."
    if isinstance(value, int) and value.bit_length() > 128:
        return "a huge number"
    return json.dumps(value)
