"""States as clients hold them: ``fts1.`` + base64url(payload) + ``.`` + base64url(tag).

The payload is binary, of one length for a model, little-endian (``_HEADER``, then the row):

====== ===== ====================================================================================
offset bytes
====== ===== ====================================================================================
0      1     format version, 1
1      4     key id: which secret signed
5      8     digest of the model's name
13     8     the model's version
21     16    digest of network, tokenizer and engine build
37     16    owner: a keyed hash of the API key
53     8     issue time, Unix milliseconds
61     8     tokens consumed since the start of the document
69     1     number of pending bytes
70     3     bytes of an incomplete character, then zeros
73     4 n   float32: layer by layer h and, for an LSTM, c
====== ===== ====================================================================================

The tag is HMAC-SHA-256 over all before it. Nothing is decoded before the tag has been found to be
right, so that whatever gets as far as the parser was written here.
"""

from __future__ import annotations

import base64
import codecs
import hashlib
import hmac
import secrets
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from service.errors import ApiError
from service.settings import Settings, split_keys

PREFIX = "fts1."

_FORMAT_VERSION = 1
_HEADER = struct.Struct("<B4s8sQ16s16sQQB3s")


@dataclass(frozen=True)
class StateModel:
    """What a state belongs to.

    Attributes:
        name: of the model.
        version: of its bundle.
        digest: changes if, and only if, the same state may mean something else.
        state_size: float32 numbers in a row.
    """

    name: str
    version: int
    digest: str
    state_size: int

    @property
    def payload_bytes(self) -> int:
        """Size of a state before it is encoded."""
        return _HEADER.size + 4 * self.state_size


@dataclass(frozen=True)
class Snapshot:
    """Where a text has got to, and all there is to know to go on.

    Attributes:
        row: the recurrent state, ``state_size`` float32 as bytes, as jobs take and return it.
        num_tokens: tokens consumed since the start of the document.
        pending: bytes of a character that the next tokens complete; at most 3.
    """

    row: bytes
    num_tokens: int
    pending: bytes = b""


def pending_after(pending: bytes, pieces: Iterable[bytes]) -> bytes:
    """The bytes of an incomplete character at the end of ``pending`` and ``pieces``."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(pending + b"".join(pieces))
    return bytes(decoder.getstate()[0])


class _Key(NamedTuple):
    """What is derived from a secret."""

    id: bytes
    tag: bytes
    owner: bytes

    @classmethod
    def of(cls, secret: str) -> _Key:
        return cls(
            _derive(secret, "foretoken state key id")[:4],
            _derive(secret, "foretoken state tag"),
            _derive(secret, "foretoken state owner"),
        )


class _Fields(NamedTuple):
    """The header of a payload."""

    format_version: int
    key_id: bytes
    name_digest: bytes
    version: int
    digest: bytes
    owner: bytes
    issued_ms: int
    num_tokens: int
    num_pending: int
    pending: bytes


class StateCodec:
    """Writes states and reads them back; the same in every process that has the same secrets."""

    def __init__(
        self,
        state_secrets: Sequence[str],
        ttl_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """The first of ``state_secrets`` signs; a state signed with any of them is accepted."""
        self._keys = [_Key.of(secret) for secret in state_secrets]
        self._ttl_seconds = ttl_seconds
        self._clock = clock

    @classmethod
    def of(cls, settings: Settings) -> StateCodec:
        """The codec that ``settings`` describe, with a secret of its own if they hold none."""
        keys = settings.state_keys
        state_secrets = [secrets.token_hex()] if keys is None else split_keys(keys)
        return cls(state_secrets, settings.state_ttl_s)

    def seal(self, snapshot: Snapshot, model: StateModel, owner: str) -> str:
        """``snapshot`` for the client.

        Args:
            snapshot: what to write.
            model: whose state it is.
            owner: the API key of the request; empty for none.
        """
        key = self._keys[0]
        header = _HEADER.pack(
            _FORMAT_VERSION,
            key.id,
            _short_digest(model.name, 8),
            model.version,
            _short_digest(model.digest, 16),
            _owner_hash(key, owner),
            int(self._clock() * 1000),
            snapshot.num_tokens,
            len(snapshot.pending),
            snapshot.pending,
        )
        row = np.frombuffer(snapshot.row, np.float32).astype("<f4").tobytes()
        signed = PREFIX + _encode(header + row) + "."
        return signed + _tag(key, signed)

    def open(self, text: str, model: StateModel, owner: str) -> Snapshot:
        """The snapshot in ``text``.

        Args:
            text: what the client sent.
            model: what is to go on from it.
            owner: the API key of the request; empty for none.

        Raises:
            ApiError: ``invalid_state``, ``state_expired``, ``state_model_mismatch``,
                ``stale_state``.
        """
        key, payload = self._verify(text)
        if len(payload) < _HEADER.size:
            raise _invalid("is too short")
        fields = _Fields(*_HEADER.unpack_from(payload))
        if fields.format_version != _FORMAT_VERSION or fields.key_id != key.id:
            raise _invalid("is of an unknown format")
        if not hmac.compare_digest(fields.owner, _owner_hash(key, owner)):
            raise _invalid("was given to another API key")
        self._check_age(fields.issued_ms)
        _check_model(fields, model)
        if len(payload) != model.payload_bytes or fields.num_pending > len(fields.pending):
            raise _invalid("has the wrong length")
        row = np.frombuffer(payload, "<f4", offset=_HEADER.size).astype(np.float32).tobytes()
        return Snapshot(row, fields.num_tokens, fields.pending[: fields.num_pending])

    def _verify(self, text: str) -> tuple[_Key, bytes]:
        """The key that signed ``text``, and the payload, which is ours if this returns."""
        if not text.isascii():
            raise _invalid("is malformed")
        signed, dot, tag = text.rpartition(".")
        signed += dot
        matching = [key for key in self._keys if hmac.compare_digest(_tag(key, signed), tag)]
        if not matching or not signed.startswith(PREFIX):
            raise _invalid("is malformed, was changed, or was signed with another secret")
        return matching[0], _decode(signed[len(PREFIX) : -1])

    def _check_age(self, issued_ms: int) -> None:
        age_seconds = self._clock() - issued_ms / 1000
        if age_seconds > self._ttl_seconds:
            raise ApiError(
                "state_expired",
                f"the state is {age_seconds:.0f} s old; states are good for "
                f"{self._ttl_seconds:g} s. Send the text again",
                param="state",
            )


def _check_model(fields: _Fields, model: StateModel) -> None:
    if fields.name_digest != _short_digest(model.name, 8):
        raise ApiError(
            "state_model_mismatch",
            f"the state is of another model than {model.name}; send the text again",
            param="state",
        )
    if fields.version != model.version or fields.digest != _short_digest(model.digest, 16):
        now = f"version {model.version} is served now"
        if fields.version == model.version:
            now += ", by another build of the program or of the network"
        raise ApiError(
            "stale_state",
            f"the state is of {model.name} version {fields.version}; {now}. Send the text again",
            param="state",
        )


def _invalid(what: str) -> ApiError:
    return ApiError("invalid_state", f"the state {what}; send the text again", param="state")


def _owner_hash(key: _Key, owner: str) -> bytes:
    return hmac.digest(key.owner, owner.encode("utf-8", "replace"), "sha256")[:16]


def _tag(key: _Key, signed: str) -> str:
    return _encode(hmac.digest(key.tag, signed.encode("ascii"), "sha256"))


def _derive(secret: str, purpose: str) -> bytes:
    return hmac.digest(secret.encode("utf-8"), purpose.encode("ascii"), "sha256")


def _short_digest(text: str, num_bytes: int) -> bytes:
    return hashlib.sha256(text.encode("utf-8")).digest()[:num_bytes]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
