"""Starting an engine process: bundle, runtime, self-check, then serving until SIGTERM."""

from __future__ import annotations

import gc
import logging
import os
import signal
from types import FrameType

from model.bundle.load import Bundle
from model.bundle.self_check import run_self_check
from model.errors import ForetokenError
from model.runtime.contract import Runtime
from service.busy_board import BusySeat
from service.compiled_sampling import kernel_for
from service.engine.lone_runtime import LEAST_LONE_WEIGHTS, MOST_LONE_ROWS, LoneRuntime
from service.engine.loop import EngineLoop
from service.engine.server import EngineServer
from service.settings import Settings

logger = logging.getLogger(__name__)

#: Reserved ids, the same in every tokenizer: ``model.tokenizers.kinds``. The engine does without
#: the tokenizer itself, and so without its library.
_END_OF_TEXT_ID = 0
_UNKNOWN_ID = 1

#: How far an engine stands back behind the HTTP workers, whose work is short.
_NICENESS = 5


def run_engine(bundle: Bundle, address: str, settings: Settings, seat: BusySeat) -> int:
    """Runs the network of ``bundle`` for the workers that connect to ``address``.

    Returns after SIGTERM, once the jobs at hand are done or ``settings.drain_timeout_s`` is over.
    ``seat`` is the engine's place among those it shares the cores with.

    Returns:
        The exit code: 0; or 2 if bundle or settings cannot be used, which is logged.
    """
    # With an engine on every core, whatever the HTTP workers have to do would wait for its steps.
    os.nice(_NICENESS)
    try:
        runtime = _load(bundle, settings, seat)
        kernel = kernel_for(settings)
    except ForetokenError as error:
        logger.error("the engine cannot start: %s", error)
        return 2
    loop = EngineLoop(
        runtime,
        end_of_text_id=_END_OF_TEXT_ID,
        unknown_id=None if bundle.manifest.tokenizer.kind == "bpe" else _UNKNOWN_ID,
        max_running=settings.max_running,
        max_queue=settings.max_queue,
        cache_bytes=settings.state_cache_mb * 2**20,
        kernel=kernel,
    )
    server = EngineServer(
        loop, address, model_digest=bundle.digest, drain_seconds=settings.drain_timeout_s
    )

    def stop(number: int, frame: FrameType | None) -> None:
        server.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    gc.freeze()  # what there is now lives as long as the process
    drawn_by = "compiled passes" if kernel else "NumPy"
    logger.info("engine ready at %s; tokens are drawn by %s", address, drawn_by)
    server.run()
    return 0


def _load(bundle: Bundle, settings: Settings, seat: BusySeat) -> Runtime:
    """The network, and once more for when no other engine computes; each answers as recorded.

    Raises:
        BundleCorruptError: the network is not the one its bundle describes.
        SelfCheckError: it answers otherwise than when its bundle was made.
    """
    # Heavy, and wanted in this process only.
    from model.runtime.litert_runtime import LiteRTRuntime  # noqa: PLC0415

    def checked(num_threads: int, most_rows: int | None = None) -> LiteRTRuntime:
        runtime = LiteRTRuntime(
            bundle.network_path, bundle.config, num_threads, most_rows=most_rows
        )
        difference = run_self_check(runtime, bundle.manifest.self_check)
        logger.info("%s answers as recorded, to %.2g", bundle.directory, difference)
        return runtime

    usual = checked(settings.engine_threads)
    num_threads = settings.num_threads_alone
    if not settings.engine_threads_alone and bundle.config.num_weights() < LEAST_LONE_WEIGHTS:
        return usual
    if num_threads <= settings.engine_threads or usual.step_batches[0] > MOST_LONE_ROWS:
        return usual
    return LoneRuntime(usual, checked(num_threads, MOST_LONE_ROWS), seat)
