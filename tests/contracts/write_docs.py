"""Writes the answers of all examples of the documentation anew: ``make examples``.

Starts a service with the shipped bundle, or asks the one at the URL given.
"""

import contextlib
import sys

from docs_examples import PAGES, ROOT, write_answers
from running_service import running_service


def main() -> None:
    with contextlib.ExitStack() as stack:
        if len(sys.argv) > 1:
            url = sys.argv[1].rstrip("/")
        else:
            url = stack.enter_context(running_service(ROOT / "bundles/travel")).url
        for page in PAGES:
            print(f"{page.relative_to(ROOT)}: {write_answers(page, url)} answers changed")  # noqa: T201


if __name__ == "__main__":
    main()
