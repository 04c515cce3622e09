"""What the engine refuses, as seen by whoever submits a job.

ForetokenError
└── EngineError
    ├── OverloadedError          the queue is full; carries an estimated wait
    ├── ShuttingDownError        the engine finishes what it has and takes nothing new
    └── EngineUnavailableError   no engine is connected, or the one that held the job is gone
"""

from model.errors import ForetokenError


class EngineError(ForetokenError):
    """A job could not be handed to an engine, or the engine holding it was lost."""


class OverloadedError(EngineError):
    """The queue is full. ``retry_after_seconds`` is when room is expected."""

    def __init__(self, message: str, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class ShuttingDownError(EngineError):
    """The engine is draining: it finishes what it has and takes nothing new."""


class EngineUnavailableError(EngineError):
    """No engine is connected, or the engine that held the job died or was restarted."""
