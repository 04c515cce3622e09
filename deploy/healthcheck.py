"""Exit status 0 when the service in this container is ready to answer, else 1."""

import os
import sys
import urllib.error
import urllib.request


def main() -> int:
    """Asks ``/ready``, on the port the service was given."""
    port = os.environ.get("FORETOKEN_PORT", "8000")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=2) as answer:
            return 0 if answer.status == 200 else 1
    except (urllib.error.URLError, OSError):
        return 1


if __name__ == "__main__":
    sys.exit(main())
