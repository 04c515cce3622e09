"""The engine processes that run one version of a model."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from model.bundle.load import Bundle
from service.busy_board import BusyBoard, BusySeat
from service.kept_process import KeptProcess
from service.settings import Settings

logger = logging.getLogger(__name__)


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


def start_engines(
    bundle: Bundle, socket_prefix: Path, settings: Settings, board: BusyBoard
) -> EngineGroup:
    """Starts the engines of ``bundle``, as many as ``settings`` say.

    Their sockets are ``socket_prefix`` with a number behind it; they must not have been used. On
    ``board`` they see when others compute.
    """
    shares = share_out(settings)
    sockets = tuple(
        socket_prefix.with_name(f"{socket_prefix.name}-{number}") for number in range(len(shares))
    )
    logger.info("%s: %d engines", bundle.directory, len(shares))
    name = f"engine {bundle.manifest.name}"
    engines = tuple(
        KeptProcess(name, _target(bundle, socket, share, board.take_seat()))
        for socket, share in zip(sockets, shares, strict=True)
    )
    return EngineGroup(bundle, sockets, engines)


def share_out(settings: Settings) -> list[Settings]:
    """The settings of each engine: what is limited for all of them together is divided among them.

    Sums are exact, and no two engines differ by more than one in places and queue together.
    """
    num_engines = settings.num_engines
    places = _even_parts(settings.max_running, num_engines)
    queues = reversed(_even_parts(settings.max_queue, num_engines))
    caches = _even_parts(settings.state_cache_mb, num_engines)
    return [
        settings.model_copy(
            update={"max_running": running, "max_queue": waiting, "state_cache_mb": megabytes}
        )
        for running, waiting, megabytes in zip(places, queues, caches, strict=True)
    ]


def _even_parts(total: int, count: int) -> list[int]:
    """``count`` whole numbers that add up to ``total``, the larger ones first."""
    return [total // count + (number < total % count) for number in range(count)]


def _target(
    bundle: Bundle, socket: Path, settings: Settings, seat: BusySeat
) -> Callable[[], int | None]:
    def run() -> int | None:
        from service.engine.main import run_engine  # noqa: PLC0415  not in the supervisor

        return run_engine(bundle, _address(socket), settings, seat)

    return run


def _address(socket: Path) -> str:
    return f"ipc://{socket}"
