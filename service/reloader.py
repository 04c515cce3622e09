"""Going over to another version of a model, as the supervisor does it; nothing here waits.

New engines are started beside the old ones. Once they listen, the workers are told to get ready;
once those are, new requests go to the new engines. The old ones end when no worker uses them.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.bundle.load import load_bundle
from model.errors import ForetokenError
from service.busy_board import BusyBoard
from service.engine_group import EngineGroup, start_engines
from service.kept_process import KeptProcess
from service.model_table import (
    ModelTable,
    ReloadOrder,
    TableEntry,
    answer_order,
    read_order,
    write_table,
)
from service.settings import Settings
from service.shared_flags import SharedFlags

logger = logging.getLogger(__name__)

_START_SECONDS = 120.0
#: A worker that is not ready by then gets ready when the next request comes.
_PREPARE_SECONDS = 15.0


@dataclass
class _Change:
    """A reload under way."""

    order: ReloadOrder
    group: EngineGroup
    give_up_at: float
    announced: bool = False


class Reloader:
    """All engines, by what becomes of them."""

    def __init__(
        self,
        settings: Settings,
        flags: SharedFlags,
        runtime_directory: Path,
        groups: Sequence[EngineGroup],
        board: BusyBoard,
    ) -> None:
        """``groups`` are the engines that run, one group for each model; they share ``board``."""
        self._settings = settings
        self._flags = flags
        self._runtime_directory = runtime_directory
        self._groups = list(groups)
        self._board = board
        self._generation = 1
        self._num_attempts = 0
        self._change: _Change | None = None
        self._leaving: list[tuple[int, EngineGroup]] = []
        flags.announce_models(self._generation)
        flags.switch_models(self._generation)

    @property
    def busy(self) -> bool:
        """Whether a reload is under way."""
        return self._change is not None

    def kept(self) -> list[KeptProcess]:
        """The engines that are to be kept running."""
        return [engine for group in self._groups for engine in group.engines]

    def leaving(self) -> list[KeptProcess]:
        """The engines that will end, or are not sure to stay."""
        groups = [group for _, group in self._leaving]
        if self._change is not None:
            groups.append(self._change.group)
        return [engine for group in groups for engine in group.engines]

    def tick(self) -> None:
        """Does whatever there is to do; to be called often."""
        self._see_off()
        if self._change is None:
            self._begin()
        elif not self._change.announced:
            self._await_engines(self._change)
        else:
            self._await_workers(self._change)

    def _begin(self) -> None:
        order = read_order(self._runtime_directory)
        if order is None:
            return
        self._num_attempts += 1
        prefix = self._runtime_directory / f"engine-reload-{self._num_attempts}"
        try:
            bundle = load_bundle(Path(order.directory))
        except ForetokenError as error:
            logger.error("reload failed: %s", error)
            answer_order(self._runtime_directory, order, "its files cannot be used")
            return
        logger.info("reload: starting engines for %s", bundle.directory)
        group = start_engines(bundle, prefix, self._settings, self._board)
        self._change = _Change(order, group, time.monotonic() + _START_SECONDS)

    def _await_engines(self, change: _Change) -> None:
        if change.group.num_ended:
            self._give_up(
                change, "its network does not run here, or answers otherwise than recorded"
            )
        elif time.monotonic() > change.give_up_at:
            self._give_up(change, "its engine does not start in time")
        elif change.group.listening:
            change.announced = True
            change.give_up_at = time.monotonic() + _PREPARE_SECONDS
            self._write_table(self._generation + 1, self._changed_groups(change))
            self._flags.announce_models(self._generation + 1)

    def _give_up(self, change: _Change, why: str) -> None:
        logger.error("reload failed: %s %s", change.group.bundle.directory, why)
        for engine in change.group.engines:
            engine.process.send(signal.SIGKILL)
        self._leaving.append((0, change.group))
        self._change = None
        answer_order(self._runtime_directory, change.order, why)

    def _await_workers(self, change: _Change) -> None:
        for engine in change.group.engines:
            engine.keep()
        num_prepared = self._flags.num_prepared(self._generation + 1)
        if num_prepared < self._settings.workers and time.monotonic() < change.give_up_at:
            return
        groups = self._changed_groups(change)
        self._leaving += [
            (self._generation, group) for group in self._groups if group not in groups
        ]
        self._groups = groups
        self._generation += 1
        self._change = None
        self._write_table(self._generation, groups)
        self._flags.switch_models(self._generation)
        logger.info("reload: new requests go to %s", change.group.bundle.directory)
        answer_order(self._runtime_directory, change.order, None)

    def _changed_groups(self, change: _Change) -> list[EngineGroup]:
        return [
            change.group if group.bundle.manifest.name == change.order.model else group
            for group in self._groups
        ]

    def _see_off(self) -> None:
        """Ends the engines that no worker uses any more."""
        for generation, group in tuple(self._leaving):
            oldest = self._flags.oldest_in_use()
            if oldest is not None and oldest <= generation:
                continue
            for engine in group.engines:
                engine.process.send(signal.SIGTERM)
            if group.num_ended == len(group.engines):
                self._leaving.remove((generation, group))
                if self._change is None:
                    self._write_table(self._generation, self._groups)

    def _write_table(self, generation: int, groups: Sequence[EngineGroup]) -> None:
        models = [TableEntry(str(group.bundle.directory), group.addresses) for group in groups]
        draining = [str(group.bundle.directory) for number, group in self._leaving if number]
        write_table(self._runtime_directory, ModelTable(generation, models, draining))
