"""``python -m service``: settings, then the supervisor until it is told to stop."""

from __future__ import annotations

import json
import logging
import shlex
import sys
import time

from model.bundle.load import Bundle
from model.errors import ForetokenError
from service.bundle_catalog import find_bundles
from service.compiled_sampling import check_compiled
from service.settings import load_settings
from service.supervisor import Supervisor

logger = logging.getLogger(__name__)


def main() -> int:
    """Runs the service; returns the exit code."""
    started_at = time.monotonic()
    try:
        settings, only_check = load_settings()
        logging.basicConfig(
            level=settings.log_level.upper(),
            format="%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s",
        )
        logger.info("settings: %s", settings.model_dump_json())
        check_compiled(settings)
        bundles = find_bundles(settings.bundles)
        if only_check:
            names = ", ".join(f"{b.manifest.name}@{b.manifest.version}" for b in bundles)
            print(f"settings and bundles are fine: {names}")
            return 0
        supervisor = Supervisor(settings, bundles)
    except ForetokenError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2

    def announce() -> None:
        seconds = time.monotonic() - started_at
        print(_welcome(settings.host, supervisor.port, seconds, bundles[0]), flush=True)

    return supervisor.run(announce)


def _welcome(host: str, port: int, seconds: float, bundle: Bundle) -> str:
    """Where it is, and a request that suits the default model."""
    prompt = bundle.manifest.example_prompt
    body = json.dumps({**({"prompt": prompt} if prompt else {}), "max_tokens": 40})
    return (
        f"Ready in {seconds:.1f} s on http://{host}:{port} - try:\n\n"
        f"  curl -s http://localhost:{port}/v1/completions -H 'Content-Type: application/json' "
        f"-d {shlex.quote(body)}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
