"""``/v1/tokenize``, ``/v1/detokenize`` and ``/v1/tokenizer_info``: requests and answers."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, model_validator

from service.protocol.fields import Boolean, Limits, Shaped, String, refuse, refuse_type
from service.protocol.parse import Request
from service.protocol.prompt import TOKEN_IDS_SCHEMA, read_token_ids


def _read_texts(value: object, name: str, limits: Limits) -> str | tuple[str, ...]:
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise refuse_type(name, "a string or a list of strings", value)
    if not value:
        raise refuse("invalid_value", f"{name} must hold at least one text, not []", name)
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise refuse_type(f"{name}[{index}]", "a string", item)
    return tuple(value)


def _read_tokens(value: object, name: str, limits: Limits) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise refuse_type(name, "a list of token ids", value)
    return read_token_ids(value, name, limits)


_STRING = {"type": "string"}
Texts = Annotated[
    str | tuple[str, ...],
    Shaped(_read_texts, {"anyOf": [_STRING, {"type": "array", "items": _STRING, "minItems": 1}]}),
]
Tokens = Annotated[
    tuple[int, ...],
    Shaped(_read_tokens, TOKEN_IDS_SCHEMA),
]


class TokenizeRequest(Request):
    """Text to be tokenized, in ``prompt`` or ``content``."""

    model: String | None = None
    prompt: Texts | None = None
    content: Texts | None = None
    add_special_tokens: Boolean = False
    parse_special: Boolean = True
    return_token_strs: Boolean = False

    @model_validator(mode="after")
    def _one_text(self) -> Self:
        if self.prompt is None and self.content is None:
            raise refuse("missing_parameter", "prompt is required", "prompt")
        if self.prompt is not None and self.content is not None:
            raise refuse(
                "invalid_value", "content is another name of prompt: send one of them", "content"
            )
        return self

    @property
    def text(self) -> str | tuple[str, ...]:
        """The text, or the texts."""
        text = self.content if self.prompt is None else self.prompt
        assert text is not None
        return text


class TokenizeAnswer(BaseModel):
    """The token ids; for a list of texts a list of lists, and the total ``count``."""

    tokens: list[int] | list[list[int]]
    count: int
    max_model_len: int
    token_strs: list[str] | list[list[str]] | None


class DetokenizeRequest(Request):
    """Token ids to be written as text."""

    model: String | None = None
    tokens: Tokens
    skip_special_tokens: Boolean = False


class DetokenizeAnswer(BaseModel):
    """The text, under both its names."""

    prompt: str
    content: str


class TokenizerInfo(BaseModel):
    """What evaluation clients ask about a tokenizer."""

    tokenizer_class: str
    kind: str
    vocab_size: int
    bos_token: str
    eos_token: str
    unk_token: str | None
    pad_token: str | None
    bos_token_id: int
    eos_token_id: int
    model_max_length: int
    chat_template: None
    digest: str
