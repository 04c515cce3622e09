"""Which bundles there are to serve."""

from __future__ import annotations

from pathlib import Path

from model.bundle.load import Bundle, load_bundle
from model.bundle.versions import CURRENT_FILE
from model.errors import BundleNotFoundError


def find_bundles(path: Path) -> tuple[Bundle, ...]:
    """The bundle at ``path``, or those in the folder ``path`` in order of their names.

    Raises:
        BundleNotFoundError: there is none.
        BundleError: one cannot be used; the message says why.
    """
    if not path.is_dir():
        raise BundleNotFoundError(f"there is no bundle and no folder of bundles at {path}")
    inside = sorted(entry for entry in path.iterdir() if (entry / CURRENT_FILE).exists())
    if (path / CURRENT_FILE).exists() or not inside:
        return (load_bundle(path),)
    return tuple(load_bundle(entry) for entry in inside)
