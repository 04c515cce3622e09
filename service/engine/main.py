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


def run_engine(bundle: Bundle, address: str, settings: Settings) -> int:
    """Runs the network of ``bundle`` for the workers that connect to ``address``.

    Returns after SIGTERM, once the jobs at hand are done or ``settings.drain_timeout_s`` is over.

    Returns:
        The exit code: 0; or 2 if the bundle cannot be used, which is logged.
    """
    # With an engine on every core, whatever the HTTP workers have to do would wait for its steps.
    os.nice(_NICENESS)
    # Heavy, and wanted in this process only.
    from model.runtime.litert_runtime import LiteRTRuntime  # noqa: PLC0415

    try:
        runtime = LiteRTRuntime(bundle.network_path, bundle.config, settings.engine_threads)
        difference = run_self_check(runtime, bundle.manifest.self_check)
    except ForetokenError as error:
        logger.error("the engine cannot start: %s", error)
        return 2
    logger.info("%s answers as recorded, to %.2g", bundle.directory, difference)
    loop = EngineLoop(
        runtime,
        end_of_text_id=_END_OF_TEXT_ID,
        unknown_id=None if bundle.manifest.tokenizer.kind == "bpe" else _UNKNOWN_ID,
        max_running=settings.max_running,
        max_queue=settings.max_queue,
        cache_bytes=settings.state_cache_mb * 2**20,
    )
    server = EngineServer(
        loop, address, model_digest=bundle.digest, drain_seconds=settings.drain_timeout_s
    )

    def stop(number: int, frame: FrameType | None) -> None:
        server.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    gc.freeze()  # what there is now lives as long as the process
    logger.info("engine ready at %s", address)
    server.run()
    return 0
