"""The engine processes that run one version of a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from model.bundle.load import Bundle
from service.kept_process import KeptProcess
from service.settings import Settings


@dataclass(frozen=True)
class EngineGroup:
    """Engines that run the same bundle.

    Attributes:
        bundle: what they run.
        sockets: where each listens, once it has loaded the network and checked itself.
        engines: the processes.
    """

    bundle: Bundle
    sockets: tuple[Path, ...]
    engines: tuple[KeptProcess, ...]

    @property
    def addresses(self) -> list[str]:
        """The sockets as ZeroMQ addresses."""
        return [_address(socket) for socket in self.sockets]

    @property
    def listening(self) -> bool:
        """Whether every engine takes jobs."""
        return all(socket.exists() for socket in self.sockets)

    @property
    def num_ended(self) -> int:
        """How many of the processes have ended."""
        return sum(kept.process.poll() is not None for kept in self.engines)


def start_engines(bundle: Bundle, socket_prefix: Path, settings: Settings) -> EngineGroup:
    """Starts the engines of ``bundle``, as many as ``settings`` say.

    Their sockets are ``socket_prefix`` with a number behind it; they must not have been used.
    """
    sockets = tuple(
        socket_prefix.with_name(f"{socket_prefix.name}-{number}")
        for number in range(settings.engines)
    )
    name = f"engine {bundle.manifest.name}"
    engines = tuple(KeptProcess(name, _target(bundle, socket, settings)) for socket in sockets)
    return EngineGroup(bundle, sockets, engines)


def _target(bundle: Bundle, socket: Path, settings: Settings) -> Callable[[], int | None]:
    def run() -> int | None:
        from service.engine.main import run_engine  # noqa: PLC0415  not in the supervisor

        return run_engine(bundle, _address(socket), settings)

    return run


def _address(socket: Path) -> str:
    return f"ipc://{socket}"
