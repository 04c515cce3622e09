"""A prompt made ready: its token ids, and what ``echo`` shows of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from model.tokenizers.tokenizer import Tokenizer
from service.errors import ApiError
from service.protocol.prompt import Prompt
from service.recurrent_state import Snapshot, pending_after
from service.served_model import ServedModel
from service.text_offsets import decoded_offsets, offsets_in_text


@dataclass(frozen=True, kw_only=True)
class PromptOptions:
    """How prompts are read; the fields of a request that say so.

    Attributes:
        param: name of the field the prompts came in.
        truncate_tokens: keep so many last tokens; None keeps all.
        add_special_tokens: put the start token in front.
        parse_special: the name of a special token written out in text is that token.
        skip_special_tokens: special tokens contribute no text when token ids are shown as text.
    """

    param: str = "prompt"
    truncate_tokens: int | None = None
    add_special_tokens: bool = False
    parse_special: bool = True
    skip_special_tokens: bool = True


class PreparedPrompt:
    """One prompt, tokenized and cut.

    Attributes:
        token_ids: as counted, listed and read.
        before: what it goes on from; None: the start of a document.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: Prompt, options: PromptOptions) -> None:
        """Tokenizes ``prompt``, adds the start token and truncates as ``options`` say."""
        self.before: Snapshot | None = None
        self._tokenizer = tokenizer
        self._options = options
        self._text = prompt if isinstance(prompt, str) else None
        token_ids = (
            tuple(tokenizer.encode(prompt, parse_special=options.parse_special))
            if isinstance(prompt, str)
            else prompt
        )
        if options.add_special_tokens:
            token_ids = (tokenizer.end_of_text_id, *token_ids)
        self._all_token_ids = token_ids
        kept = options.truncate_tokens
        self.token_ids = token_ids if kept is None else token_ids[-kept:]

    @property
    def opens_document(self) -> bool:
        """Whether the prompt itself begins with the start token, which has no probability."""
        return self.token_ids[:1] == (self._tokenizer.end_of_text_id,)

    @property
    def num_unscored(self) -> int:
        """How many of the first tokens have no probability, for nothing is known before them."""
        return 1 if self.before is None else 0

    @cached_property
    def pending(self) -> bytes:
        """Bytes of an incomplete character at the end: they show with what completes them."""
        if self._text:
            return b""
        return pending_after(self._carried, self._pieces(self.token_ids))

    @property
    def shows_pending(self) -> bool:
        """Whether bytes of its own, not only of what it goes on from, are pending."""
        return bool(self.pending) and any(self._pieces(self.token_ids))

    @property
    def _carried(self) -> bytes:
        """The bytes pending in what it goes on from."""
        return b"" if self.before is None else self.before.pending

    @property
    def echo(self) -> str:
        """The kept part of the prompt: text verbatim, token ids decoded."""
        return self._echo_and_offsets[0]

    @property
    def offsets(self) -> tuple[int, ...]:
        """For each of ``token_ids`` the character of ``echo`` at which it begins."""
        return self._echo_and_offsets[1]

    @cached_property
    def _echo_and_offsets(self) -> tuple[str, tuple[int, ...]]:
        if self._text is None:
            return decoded_offsets(self._pieces(self.token_ids), self._carried)
        if self._all_token_ids == self.token_ids and not self._options.add_special_tokens:
            return self._text, self._offsets_in_text(self._text, self.token_ids)
        added = self._all_token_ids[:1] if self._options.add_special_tokens else ()
        prefix = b"".join(self._pieces(added)).decode("utf-8")
        in_text = self._offsets_in_text(self._text, self._all_token_ids[len(added) :])
        offsets = (0,) * len(added) + tuple(len(prefix) + offset for offset in in_text)
        offsets = offsets[len(offsets) - len(self.token_ids) :]
        start = offsets[0] if offsets else 0
        return (prefix + self._text)[start:], tuple(offset - start for offset in offsets)

    def _offsets_in_text(self, text: str, token_ids: Sequence[int]) -> tuple[int, ...]:
        return offsets_in_text(
            self._tokenizer, text, token_ids, parse_special=self._options.parse_special
        )

    def _pieces(self, token_ids: Sequence[int]) -> list[bytes]:
        skip = self._options.skip_special_tokens
        return [self._tokenizer.token_bytes(token_id, skip_special=skip) for token_id in token_ids]


def prepare_prompts(
    model: ServedModel, prompts: Sequence[Prompt], options: PromptOptions
) -> list[PreparedPrompt]:
    """Tokenizes ``prompts`` and holds them against ``max_prompt_tokens``.

    Text so long that it cannot but have too many tokens is refused without tokenizing it.

    Raises:
        ApiError: ``context_length_exceeded``; gives both numbers.
    """
    limit = model.settings.max_prompt_tokens
    may_be_long = options.truncate_tokens is not None and options.truncate_tokens <= limit
    prepared = []
    for index, prompt in enumerate(prompts):
        param = options.param if len(prompts) == 1 else f"{options.param}[{index}]"
        if isinstance(prompt, str) and not may_be_long:
            at_least = -(-len(prompt.encode("utf-8")) // model.longest_token_bytes)
            _check_length(at_least, limit, param, at_least=True)
        prepared.append(PreparedPrompt(model.tokenizer, prompt, options))
        _check_length(len(prepared[-1].token_ids), limit, param)
    return prepared


def _check_length(num_tokens: int, limit: int, param: str, *, at_least: bool = False) -> None:
    if num_tokens > limit:
        raise ApiError(
            "context_length_exceeded",
            f"{param} has {'at least ' if at_least else ''}{num_tokens} tokens; "
            f"at most {limit} are allowed. Shorten it, or set truncate_prompt_tokens",
            param=param,
        )
