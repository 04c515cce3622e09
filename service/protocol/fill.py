"""``POST /v1/fill``: the word that fits a blank; the request and the answer."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, model_validator

from service.protocol.candidates import CandidateTexts
from service.protocol.completions import Usage
from service.protocol.fields import String, Text, Whole, refuse
from service.protocol.parse import Request
from service.words.blank import MIN_UNDERSCORES, Gap, find_blanks


class FillRequest(Request):
    """A text with a blank, or what stands before and behind one.

    What would have to read more than 4,194,304 tokens one by one is refused; ``pool`` or
    ``candidates`` make it less.
    """

    model: String | None = None
    text: String | None = None
    prefix: String | None = None
    suffix: String | None = None
    top_n: Annotated[int, Whole(1, 50)] = 5
    pool: Annotated[int, Whole(1, "max_candidates")] = 200
    candidates: CandidateTexts = ()
    max_right_tokens: Annotated[int, Whole(0, 512)] = 64
    blank: Annotated[str, Text(1, 16)] | None = None

    @model_validator(mode="after")
    def _one_blank(self) -> Self:
        around = [name for name in ("prefix", "suffix") if getattr(self, name) is not None]
        if self.text is None:
            if not around:
                raise refuse(
                    "missing_parameter", "text is required, or prefix or suffix instead", "text"
                )
            return self
        if around:
            raise refuse("invalid_value", f"text and {around[0]} must not both be given", around[0])
        blanks = find_blanks(self.text, self.blank)
        if len(blanks) != 1:
            what = self.blank or f"{MIN_UNDERSCORES} or more underscores"
            raise refuse(
                "invalid_value",
                f"text must hold exactly one blank ({what}), not {len(blanks)}",
                "text",
            )
        return self

    @property
    def gap(self) -> Gap:
        """What stands before and behind the blank."""
        if self.text is None:
            return Gap.of(self.prefix or "", self.suffix or "")
        (start, end), *_ = find_blanks(self.text, self.blank)
        return Gap.of(self.text[:start], self.text[end:])


class FillEntry(BaseModel):
    """A word for the blank."""

    rank: int
    text: str
    token_ids: list[int]
    probability: float
    prior: float
    prior_rank: int
    logprob_left: float
    logprob_right: float
    logprob: float


class FillAnswer(BaseModel):
    """The answer; ``data`` descends by ``probability``."""

    id: str
    object: Literal["fill"] = "fill"
    created: int
    model: str
    system_fingerprint: str
    filled: str
    pool_size: int
    prior_coverage: float
    data: list[FillEntry]
    usage: Usage
