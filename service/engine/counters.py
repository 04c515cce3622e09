"""What the engine counts from its start on: ``Counters``, the numbers behind ``EngineStatus``."""

from __future__ import annotations

from dataclasses import dataclass, field

from service.engine.request import Finished

#: Batch sizes are counted up to 2**15 rows; more fall into the last.
_NUM_BATCH_SIZES = 16


@dataclass(slots=True)
class Counters:
    """Running totals; the names are those of ``EngineStatus``."""

    prompt_tokens_total: int = 0
    cached_tokens_total: int = 0
    generation_tokens_total: int = 0
    cache_lookups_total: int = 0
    cache_hits_total: int = 0
    finished_total: int = 0
    cancelled_total: int = 0
    failed_steps_total: int = 0
    steps_total: int = 0
    batch_rows_total: int = 0
    batch_sizes: list[int] = field(default_factory=lambda: [0] * _NUM_BATCH_SIZES)

    def count_step(self, num_rows: int) -> None:
        """A step ran with ``num_rows`` rows."""
        self.steps_total += 1
        self.batch_rows_total += num_rows
        self.batch_sizes[min((num_rows - 1).bit_length(), _NUM_BATCH_SIZES - 1)] += 1

    def count_lookup(self, num_prompt_tokens: int, cached_tokens: int) -> None:
        """A job started, with so many of its prompt tokens found in the cache."""
        self.prompt_tokens_total += num_prompt_tokens
        self.cached_tokens_total += cached_tokens
        self.cache_lookups_total += 1
        self.cache_hits_total += cached_tokens > 0

    def count_end(self, event: Finished) -> None:
        """A job ended."""
        self.finished_total += 1
        self.cancelled_total += event.finish_reason == "cancelled"
        self.generation_tokens_total += event.num_completion_tokens
