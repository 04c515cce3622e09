"""bundle.json: what a bundle holds, how well it scores, and where it comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    model_validator,
)

from model.bundle.checksums import FILE_NAME_PATTERN, file_digest
from model.config import ModelConfig
from model.errors import BundleCorruptError, BundleSchemaError, ConfigurationError

MANIFEST_FILE = "bundle.json"

#: Raised when an older program could misread the file; new optional fields do not raise it.
SCHEMA_VERSION: Final = 1

#: What a bundle may be called; it is also the name of its directory.
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=FILE_NAME_PATTERN)]
TokenId = Annotated[int, Field(ge=0)]


def _config_from_json(value: object) -> ModelConfig:
    if isinstance(value, ModelConfig):
        return value
    if not isinstance(value, Mapping):
        raise ValueError("expected an object")
    try:
        return ModelConfig.from_dict(value)
    except ConfigurationError as error:
        raise ValueError(str(error)) from error


Config = Annotated[
    ModelConfig,
    PlainValidator(_config_from_json),
    PlainSerializer(ModelConfig.to_dict, return_type=dict[str, Any]),
]


class _Part(BaseModel):
    """A piece of the manifest: immutable, strict about types, no unknown fields when made."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class TokenizerFile(_Part):
    """The tokenizer: its kind, its size and the SHA-256 of its file."""

    kind: Literal["char", "word", "bpe"]
    vocab_size: int = Field(ge=2)
    digest: Digest
    file: FileName = "tokenizer.json"

    @classmethod
    def of(cls, path: Path, *, kind: Literal["char", "word", "bpe"], vocab_size: int) -> Self:
        """Describes the tokenizer file at ``path``.

        Raises:
            OSError: the file cannot be read.
        """
        return cls(kind=kind, vocab_size=vocab_size, digest=file_digest(path), file=path.name)


class NetworkFile(_Part):
    """The network the service runs: one LiteRT file with named signatures."""

    file: FileName = "network.tflite"
    quantisation: Literal["int8", "float32"]
    bytes: int = Field(ge=1)
    signatures: tuple[str, ...]
    digest: Digest

    @classmethod
    def of(
        cls, path: Path, *, quantisation: Literal["int8", "float32"], signatures: tuple[str, ...]
    ) -> Self:
        """Describes the network file at ``path``.

        Raises:
            OSError: the file cannot be read.
        """
        return cls(
            file=path.name,
            quantisation=quantisation,
            bytes=path.stat().st_size,
            signatures=signatures,
            digest=file_digest(path),
        )


class WeightsFile(_Part):
    """The weights to resume or fine-tune from."""

    file: FileName = "network.weights.h5"
    dtype: Literal["float16", "float32"] = "float16"


class Score(_Part):
    """How well a model predicts one held-out text.

    ``perplexity`` = exp(``nats_per_token``); ``bits_per_byte`` = all nats / (ln 2 * ``num_bytes``),
    which compares models across tokenizers.
    """

    nats_per_token: float = Field(ge=0)
    perplexity: float = Field(ge=1)
    bits_per_byte: float = Field(ge=0)
    num_tokens: int = Field(ge=1)
    num_bytes: int = Field(ge=1)


class Scores(_Part):
    """Scores on the same held-out text: the trained network, the one served, and n-grams by order.

    ``ngram`` is the interpolated Kneser-Ney baseline, order (1 = unigram) to score.
    """

    float32: Score
    int8: Score | None = None
    ngram: dict[Annotated[int, Field(ge=1)], Score] = {}


class Provenance(_Part):
    """Where a bundle comes from: enough to make it again."""

    corpus_digest: str
    source_titles: tuple[str, ...] = ()
    seed: int
    settings: dict[str, JsonValue] = {}
    code_version: str
    minutes: float | None = Field(default=None, ge=0)
    machine: str | None = None


class SelfCheck(_Part):
    """A short prompt and the logits that followed it when the bundle was made.

    ``logits[i]`` belongs to token ``token_ids[i]``; every one may differ by ``tolerance``.
    """

    prompt_token_ids: tuple[TokenId, ...] = Field(min_length=1)
    token_ids: tuple[TokenId, ...] = Field(min_length=1)
    logits: tuple[float, ...]
    tolerance: float = Field(gt=0)

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if len(self.logits) != len(self.token_ids):
            raise ValueError(f"{len(self.token_ids)} token_ids but {len(self.logits)} logits")
        return self


class BundleManifest(_Part):
    """All of bundle.json.

    ``version`` is None until the bundle is published; ``created`` is Unix seconds.
    ``example_prompt`` is what to try the model with; empty: begin a text of its own.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    name: str = Field(pattern=NAME_PATTERN)
    version: int | None = Field(default=None, ge=1)
    created: float = Field(ge=0)
    config: Config
    tokenizer: TokenizerFile
    network: NetworkFile
    weights: WeightsFile
    scores: Scores
    provenance: Provenance
    self_check: SelfCheck
    example_prompt: str = Field(default="", max_length=256)

    @model_validator(mode="after")
    def _vocabularies_agree(self) -> Self:
        vocab_size = self.config.vocab_size
        if self.tokenizer.vocab_size != vocab_size:
            raise ValueError(
                f"tokenizer.vocab_size is {self.tokenizer.vocab_size}, "
                f"config.vocab_size is {vocab_size}"
            )
        highest = max((*self.self_check.prompt_token_ids, *self.self_check.token_ids))
        if highest >= vocab_size:
            raise ValueError(
                f"self_check names token {highest}; the vocabulary ends at {vocab_size - 1}"
            )
        return self

    def published_as(self, name: str, version: int) -> Self:
        """The same manifest under the name and version it is published as."""
        return self.model_copy(update={"name": name, "version": version})

    def to_json(self) -> str:
        """The text of bundle.json; ``parse_manifest`` reads it back equal."""
        return self.model_dump_json(indent=2) + "\n"


def parse_manifest(text: str | bytes, source: Path) -> BundleManifest:
    """The manifest written in ``text``; ``source`` is named in errors.

    Unknown fields are ignored: a newer program may add some without harm to this one.

    Raises:
        BundleSchemaError: ``schema_version`` is newer than this program knows.
        BundleCorruptError: no JSON, or a field is missing or wrong; names file and fields.
    """
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleCorruptError(f"{source} is not JSON: {error}") from error
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BundleSchemaError(
            f"{source} has schema_version {version}; this program knows up to {SCHEMA_VERSION}. "
            "Update the program, or serve an older version of the bundle."
        )
    try:
        return BundleManifest.model_validate_json(text, extra="ignore")
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'the whole'}: {item['msg']}"
            for item in error.errors(include_url=False, include_input=False)
        )
        raise BundleCorruptError(f"{source} is damaged: {problems}") from error


def read_manifest(directory: Path) -> BundleManifest:
    """The manifest of the bundle in ``directory``, its checksums not looked at.

    Raises:
        BundleSchemaError, BundleCorruptError: as ``parse_manifest``; also when it cannot be read.
    """
    path = directory / MANIFEST_FILE
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BundleCorruptError(f"{path} cannot be read: {error}") from error
    return parse_manifest(text, path)
