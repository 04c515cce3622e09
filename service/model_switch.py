"""Following reloads in an HTTP worker: gets new models ready beside the old, then goes over.

A thread of its own does the work; a request that comes before it is done does it itself, so that
none runs on a model that has been replaced.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from model.bundle.load import load_bundle
from service.engine_client.lines import Lines
from service.model_table import read_table
from service.served_model import ServedModel, ServedModels
from service.settings import Settings
from service.shared_flags import SharedFlags

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.05
_CONNECT_SECONDS = 10.0


class ModelSwitch:
    """Keeps ``models`` at what the supervisor says is served."""

    def __init__(
        self,
        models: ServedModels,
        settings: Settings,
        flags: SharedFlags,
        *,
        worker: int,
        runtime_directory: Path,
        generation: int,
        lines: Lines,
    ) -> None:
        """``models`` are those of ``generation``, in the worker of the number ``worker``."""
        self._lines = lines
        self._models = models
        self._settings = settings
        self._flags = flags
        self._worker = worker
        self._runtime_directory = runtime_directory
        self._generation = generation
        self._prepared: tuple[int, list[ServedModel]] | None = None
        self._retired: list[tuple[int, ServedModel]] = []
        self._lock = threading.Lock()
        flags.set_prepared(worker, generation)
        flags.set_in_use(worker, generation)

    def start(self) -> None:
        """Begins to follow, in the background."""
        threading.Thread(target=self._run, name="model-switch", daemon=True).start()

    def follow(self) -> None:
        """Goes over now if a reload is complete. Costs next to nothing if none is."""
        if self._flags.current_models() != self._generation:
            self._lines.acquire(self._lock)
            try:
                self._go_over()
            finally:
                self._lock.release()

    def _run(self) -> None:
        while True:
            time.sleep(_POLL_SECONDS)
            try:
                if self._flags.announced_models() != self._generation:
                    with self._lock:
                        self._prepare(self._flags.announced_models())
                self.follow()
                self._retire()
            except Exception:
                logger.exception("a reload could not be followed; trying again")
                time.sleep(1.0)

    def _go_over(self) -> None:
        generation = self._flags.current_models()
        if generation == self._generation:
            return
        self._prepare(generation)
        assert self._prepared is not None
        number, models = self._prepared
        replaced = self._models.replace(models)
        self._retired += [(self._generation, model) for model in replaced]
        self._generation = number
        logger.info("now serving %s", ", ".join(m.id_and_version for m in models))

    def _prepare(self, generation: int) -> None:
        """Makes the models of ``generation``, those that stay as they are excepted."""
        if generation == self._generation:
            return
        if self._prepared is not None and self._prepared[0] >= generation:
            return
        table = read_table(self._runtime_directory)
        assert table is not None and table.generation >= generation
        known = {str(model.bundle.directory): model for model in self._models}
        models = []
        for entry in table.models:
            model = known.get(entry.directory)
            if model is None:
                bundle = load_bundle(Path(entry.directory))
                model = ServedModel(
                    bundle,
                    entry.addresses,
                    self._settings,
                    worker=self._worker,
                    lines=self._lines,
                )
                model.engines.wait_ready(_CONNECT_SECONDS)
            models.append(model)
        self._prepared = (table.generation, models)
        self._flags.set_prepared(self._worker, table.generation)

    def _retire(self) -> None:
        """Lets go of replaced models that no request uses any more."""
        with self._lock:
            idle = [pair for pair in self._retired if pair[1].num_users == 0]
            self._retired = [pair for pair in self._retired if pair not in idle]
            oldest = min((number for number, _ in self._retired), default=self._generation)
        for _, model in idle:
            model.engines.close()
        self._flags.set_in_use(self._worker, oldest)
