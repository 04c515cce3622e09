"""Which versions of a bundle there are, and which one CURRENT says is served."""

from __future__ import annotations

import re
from pathlib import Path

from model.bundle.durable_files import replace_file
from model.bundle.manifest import NAME_PATTERN
from model.errors import BundleCorruptError, BundleNotFoundError, ConfigurationError

CURRENT_FILE = "CURRENT"

#: Everything not yet published starts like this; whatever is left of it is rubbish.
INCOMING_PREFIX = ".incoming-"

_VERSION = re.compile(r"[1-9][0-9]{0,8}")


def bundle_directory(bundles_dir: Path, name: str) -> Path:
    """``bundles_dir/name``, whether it exists or not.

    Raises:
        ConfigurationError: ``name`` cannot be a bundle's name.
    """
    if re.fullmatch(NAME_PATTERN, name) is None:
        raise ConfigurationError(
            f"bundle name is {name!r}; it must be 1 to 64 letters, digits, '.', '_' or '-', "
            "beginning with a letter or digit"
        )
    return bundles_dir / name


def list_versions(bundles_dir: Path, name: str) -> list[int]:
    """Published versions of ``name``, ascending; empty where there are none.

    Raises:
        ConfigurationError: ``name`` cannot be a bundle's name.
    """
    return versions_in(bundle_directory(bundles_dir, name))


def versions_in(directory: Path) -> list[int]:
    """Published versions in a bundle's directory, ascending; empty where there are none."""
    if not directory.is_dir():
        return []
    return sorted(
        int(entry.name)
        for entry in directory.iterdir()
        if _VERSION.fullmatch(entry.name) and entry.is_dir()
    )


def read_current(directory: Path) -> int:
    """The version that ``directory/CURRENT`` names. It need not exist.

    Raises:
        BundleNotFoundError: there is no CURRENT: nothing is published here.
        BundleCorruptError: CURRENT cannot be read or holds no version number.
    """
    path = directory / CURRENT_FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise BundleNotFoundError(
            f"no bundle is published in {directory}: it has no {CURRENT_FILE}"
        ) from error
    except OSError as error:
        raise BundleCorruptError(f"{path} cannot be read: {error}") from error
    text = content[:64].decode("utf-8", "replace").strip()
    if _VERSION.fullmatch(text) is None:
        raise BundleCorruptError(f"{path} holds {text!r}; expected a version number such as 1")
    return int(text)


def current_directory(directory: Path) -> Path:
    """The directory of the version that CURRENT names.

    Raises:
        BundleNotFoundError: nothing is published here, or that version is gone.
        BundleCorruptError: CURRENT holds no version number.
    """
    version = read_current(directory)
    target = directory / str(version)
    if not target.is_dir():
        versions = ", ".join(map(str, versions_in(directory))) or "none"
        raise BundleNotFoundError(
            f"{directory / CURRENT_FILE} names version {version}, which does not exist "
            f"(existing: {versions}). Write an existing version into it, or publish again."
        )
    return target


def write_current(directory: Path, version: int) -> None:
    """Makes ``version`` the one served: CURRENT is replaced at once, or stays as it was.

    Raises:
        OSError: no room, no permission.
    """
    temporary = directory / f"{INCOMING_PREFIX}{CURRENT_FILE}"
    replace_file(directory / CURRENT_FILE, f"{version}\n".encode(), temporary)
