"""The HTTP worker's side of the engine: submit jobs, read their events, cancel, ask for status."""

from service.engine_client.client import EngineClient
from service.engine_client.stream import JobStream

__all__ = ["EngineClient", "JobStream"]
