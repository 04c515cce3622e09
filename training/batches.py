"""Token ids on disk as windows of parallel streams, for truncated back-propagation through time.

What step ``n`` reads is a pure function of ``n`` and the seed: resuming needs nothing but the step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.errors import TrainingError
from model.state import IntArray
from training.token_file import TokenArray

#: A stream's state is zeroed after so many tokens on average, though its text goes on: a corpus of
#: few documents seldom shows a network the state that each of its readings starts from, and some
#: networks settle in states from which there is no way back (docs/experiments.md). After Melis,
#: Dyer and Blunsom, "On the State of the Art of Evaluation in Neural Language Models" (2018).
TOKENS_FROM_ZERO = 1_024

#: And not before so many windows on average, so that most windows follow from another.
MIN_WINDOWS_FROM_ZERO = 8


class Window(NamedTuple):
    """What one training step reads.

    Attributes:
        inputs: [batch, window] int32 token ids.
        targets: [batch, window] int32, the token after each input.
        reset: [batch, window] bool, the state is zeroed before these inputs.
        starts_epoch: whether a new pass over the corpus begins.
    """

    inputs: IntArray
    targets: IntArray
    reset: NDArray[np.bool_]
    starts_epoch: bool


@dataclass(frozen=True)
class StreamBatches:
    """A corpus cut into ``batch_size`` streams, each read window by window.

    The token ids form a ring (the last token's successor is the first, which starts a document).
    In epoch e stream b reads ``ids[offset_e + b * stream_tokens :]``; the offset is drawn anew for
    each epoch, so that windows and batches never repeat. A window's state follows from the window
    before it; it is zeroed before each end-of-text token, where an epoch begins, and now and then
    before a window, drawn for each stream and step (``TOKENS_FROM_ZERO``).

    Args:
        token_ids: [tokens] of any unsigned type, memory-mapped.
        batch_size: number of streams.
        window: tokens read per step and stream.
        end_of_text_id: the id that starts every document.
        seed: of the offsets.

    Raises:
        TrainingError: the corpus has fewer than ``batch_size * window + 1`` tokens.
    """

    token_ids: TokenArray
    batch_size: int
    window: int
    end_of_text_id: int
    seed: int

    def __post_init__(self) -> None:
        needed = self.batch_size * self.window + 1
        if len(self.token_ids) < needed:
            raise TrainingError(
                f"the corpus has {len(self.token_ids)} training tokens; batch size "
                f"{self.batch_size} x window {self.window} needs at least {needed}. Lower "
                "--batch-size, --window or --late-window."
            )

    @property
    def stream_tokens(self) -> int:
        """Tokens of one stream in one epoch."""
        return len(self.token_ids) // self.batch_size

    @property
    def windows_per_epoch(self) -> int:
        """Steps of one pass over the corpus."""
        return self.stream_tokens // self.window

    def epochs(self, step: int) -> float:
        """Passes over the corpus made before ``step``."""
        return step / self.windows_per_epoch

    def read(self, step: int) -> Window:
        """The window of ``step`` (from 0)."""
        epoch, index = divmod(step, self.windows_per_epoch)
        starts = self._offset(epoch) + np.arange(self.batch_size) * self.stream_tokens
        positions = starts[:, None] + index * self.window + np.arange(self.window + 1)[None, :]
        ids = self.token_ids[positions % len(self.token_ids)].astype(np.int32)
        inputs = ids[:, :-1]
        reset = inputs == self.end_of_text_id
        reset[:, 0] |= self._begins_anew(step) if index else True
        return Window(inputs, ids[:, 1:], reset, index == 0)

    def _begins_anew(self, step: int) -> NDArray[np.bool_]:
        """[batch]: whose state is zeroed before ``step`` although the text goes on."""
        counter = [0, 0, 0, 1 + step]
        generator = np.random.Generator(np.random.Philox(key=self.seed, counter=counter))
        stretch = max(TOKENS_FROM_ZERO, MIN_WINDOWS_FROM_ZERO * self.window)
        return generator.random(self.batch_size) < self.window / stretch

    def _offset(self, epoch: int) -> int:
        generator = np.random.Generator(np.random.Philox(key=self.seed, counter=epoch))
        return int(generator.integers(len(self.token_ids)))


def evaluation_rows(num_tokens: int, row_tokens: int = 4096, max_rows: int = 32) -> int:
    """How many rows to cut ``num_tokens`` into for scoring them side by side.

    Each row lacks the context before its start, so rows are kept at ``row_tokens`` or longer.
    """
    return max(1, min(max_rows, num_tokens // row_tokens))


def validation_rows(token_ids: TokenArray, max_tokens: int, window: int) -> tuple[IntArray, int]:
    """At most ``max_tokens`` tokens from all over a text as rows [rows, tokens + 1], and a window.

    The rows lie evenly from the start of the text to its end: its first chapter alone may be much
    easier or harder than the rest.

    Args:
        token_ids: [tokens] of any unsigned type, memory-mapped.
        max_tokens: most tokens that are to be predicted.
        window: tokens one would like to read at once.

    Returns:
        The rows, int32, and the tokens to read at once: ``window`` or less where rows are shorter,
        and a divisor of their length.

    Raises:
        TrainingError: there are fewer than 2 tokens.
    """
    num_tokens = min(max_tokens, len(token_ids) - 1)
    if num_tokens < 1:
        raise TrainingError("the corpus has no validation text; raise --validation-share")
    num_rows = evaluation_rows(num_tokens, row_tokens=256)
    row_tokens = num_tokens // num_rows
    window = min(window, row_tokens)
    row_tokens -= row_tokens % window
    starts = np.linspace(0, len(token_ids) - 1 - row_tokens, num_rows).astype(np.int64)
    rows: IntArray = np.asarray(
        token_ids[starts[:, None] + np.arange(row_tokens + 1)], dtype=np.int32
    )
    return rows, window
