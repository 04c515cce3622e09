"""Scores from the engine as the API shows them: names of tokens, natural logarithms, offsets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from model.tokenizers.tokenizer import Tokenizer
from service.engine.request import TokenScores
from service.protocol.completions import Logprobs

LOWEST_LOGPROB = -9999.0


@dataclass
class TokenLogprobs:
    """The entries of some tokens, in order: appended to at the end, forgotten from the start.

    Attributes:
        tokens: names of the tokens.
        logprobs: log P of each; None where nothing is known before it.
        tops: for each the most likely tokens and the token itself, by name, descending.
    """

    tokens: list[str] = field(default_factory=list)
    logprobs: list[float | None] = field(default_factory=list)
    tops: list[dict[str, float] | None] = field(default_factory=list)

    def add(self, tokenizer: Tokenizer, token_ids: Sequence[int], scores: TokenScores) -> None:
        """Appends ``token_ids`` with their scores: the first rows of ``scores``."""
        rows = zip(
            token_ids,
            scores.logprobs.tolist(),
            scores.top_token_ids.tolist(),
            scores.top_logprobs.tolist(),
            strict=False,
        )
        for token_id, logprob, top_ids, top_logprobs in rows:
            name = tokenizer.token_text(token_id)
            shown = max(logprob, LOWEST_LOGPROB)
            top: dict[str, float] = {}
            for top_id, top_logprob in zip(top_ids, top_logprobs, strict=True):
                top.setdefault(tokenizer.token_text(top_id), max(top_logprob, LOWEST_LOGPROB))
            top.setdefault(name, shown)
            self.tokens.append(name)
            self.logprobs.append(shown)
            self.tops.append(top)

    def add_unscored(self, tokenizer: Tokenizer, token_id: int) -> None:
        """Appends a token that has no probability: nothing is known before it."""
        self.tokens.append(tokenizer.token_text(token_id))
        self.logprobs.append(None)
        self.tops.append(None)

    def part(self, start: int, stop: int, offsets: Sequence[int], shift: int = 0) -> Logprobs:
        """Entries ``start`` to ``stop``, with their places in the text moved by ``shift``."""
        return Logprobs.model_construct(
            tokens=self.tokens[start:stop],
            token_logprobs=self.logprobs[start:stop],
            top_logprobs=self.tops[start:stop],
            text_offset=[offset + shift for offset in offsets[start:stop]],
        )

    def forget(self, num_tokens: int) -> None:
        """Drops the first ``num_tokens`` entries."""
        del self.tokens[:num_tokens]
        del self.logprobs[:num_tokens]
        del self.tops[:num_tokens]
