"""What the endpoints share in one HTTP worker: settings, models, and whether the service drains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from service.api_keys import ApiKeys
from service.errors import ApiError
from service.large_bodies import LargeBodies
from service.rate_limits import RateLimits
from service.recurrent_state import StateCodec
from service.served_model import ServedModels
from service.settings import Settings


@dataclass(frozen=True)
class Front:
    """Handed to every blueprint.

    Attributes:
        draining: tells whether the service is shutting down and takes nothing new.
        follow_reloads: has ``models`` be what is served now.
        runtime_directory: where the supervisor takes orders.
    """

    settings: Settings
    models: ServedModels
    draining: Callable[[], bool]
    follow_reloads: Callable[[], None]
    runtime_directory: Path

    @cached_property
    def api_keys(self) -> ApiKeys:
        """Who may ask for what."""
        return ApiKeys(self.settings)

    @cached_property
    def rate_limits(self) -> RateLimits:
        """How much each client may ask for."""
        return RateLimits(self.settings)

    @cached_property
    def state_codec(self) -> StateCodec:
        """Reads and writes the states that clients hold."""
        return StateCodec.of(self.settings)

    @cached_property
    def large_bodies(self) -> LargeBodies:
        """How many large bodies are worked on at once."""
        return LargeBodies(self.settings.max_body_bytes, self.settings.queue_timeout_s)

    def check_open(self) -> None:
        """Refuses work while shutting down.

        Raises:
            ApiError: ``shutting_down``.
        """
        if self.draining():
            raise ApiError("shutting_down", "the service is shutting down; try another server")
