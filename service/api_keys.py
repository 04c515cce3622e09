"""Who may ask for what: the API keys, the admin key, and the areas they open."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Literal

from pydantic import SecretStr

from service.errors import ApiError
from service.settings import Settings, split_keys

Area = Literal["open", "api", "admin"]

#: The tokenizer endpoints beside ``/v1``, where evaluation clients look for them.
_API_PATHS = ("/tokenize", "/detokenize", "/tokenizer_info")


class ApiKeys:
    """The keys of a service. Keys are compared as digests, all of them, in constant time."""

    def __init__(self, settings: Settings) -> None:
        """Takes the keys that ``settings`` hold."""
        self._api = _digests(settings.api_keys)
        self._admin = _digests(settings.admin_key)
        self._metrics_access = settings.metrics_access

    def check(self, path: str, authorization: str | None) -> str | None:
        """The API key that the request shows, if keys are asked for.

        Args:
            path: of the request; the route is known to exist.
            authorization: the header, as WSGI gives it.

        Raises:
            ApiError: ``invalid_api_key``, ``insufficient_permissions``, ``admin_disabled``.
        """
        area = self._area(path)
        if area == "open" or (area == "api" and not self._api):
            return None
        if area == "admin" and not self._admin:
            raise ApiError(
                "admin_disabled", "administration over HTTP is off: no admin key is configured"
            )
        key = _bearer(authorization)
        digest = _digest(key)
        is_api, is_admin = _is_among(digest, self._api), _is_among(digest, self._admin)
        if not is_api and not is_admin:
            raise _unknown_key(key)
        if area == "admin" and not is_admin:
            raise ApiError("insufficient_permissions", "an API key does not open this; an admin's")
        if area == "api" and not is_api and path != "/metrics":
            raise ApiError("insufficient_permissions", "the admin key opens /admin only")
        return key if is_api else None

    def _area(self, path: str) -> Area:
        if path.startswith("/admin/"):
            return "admin"
        if path == "/metrics":
            areas: dict[str, Area] = {"open": "open", "key": "api", "admin": "admin"}
            return areas[self._metrics_access]
        return "api" if path.startswith("/v1/") or path in _API_PATHS else "open"


def _bearer(authorization: str | None) -> str:
    scheme, _, key = (authorization or "").strip().partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _unknown_key(key: str) -> ApiError:
    message = "the API key is not known here" if key else "an API key is needed"
    return ApiError(
        "invalid_api_key",
        f"{message}; send the header Authorization: Bearer KEY",
        headers={"WWW-Authenticate": "Bearer"},
    )


def _is_among(digest: bytes, known: Sequence[bytes]) -> bool:
    """Takes as long wherever in ``known`` the digest is."""
    return sum(hmac.compare_digest(digest, other) for other in known) > 0


def _digests(keys: SecretStr | None) -> list[bytes]:
    return [] if keys is None else [_digest(key) for key in split_keys(keys)]


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
