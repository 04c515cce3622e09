"""Putting a bundle into service and back: whole new versions or none, whatever is interrupted.

A version is built as ``.incoming-*`` beside the others, synced and renamed to its number; only then
does CURRENT change, by one atomic rename. Killed at any moment, the old version stays served; what
is left behind is swept by the next publication. Publishers take turns by a lock on ``.lock``.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.bundle.checksums import read_checksums
from model.bundle.durable_files import copy_synced, sync_directory
from model.bundle.load import Bundle, load_bundle
from model.bundle.manifest import MANIFEST_FILE
from model.bundle.versions import (
    INCOMING_PREFIX,
    bundle_directory,
    list_versions,
    read_current,
    versions_in,
    write_current,
)
from model.bundle.write import write_bundle
from model.errors import BundleCorruptError, BundleError, BundleNotFoundError

logger = logging.getLogger(__name__)

LOCK_FILE = ".lock"


def publish(source_dir: Path, bundles_dir: Path, name: str) -> int:
    """Copies the finished bundle in ``source_dir`` to the next version of ``name`` and serves it.

    Returns the version. Waits while another publisher of the same name is at work.

    Raises:
        BundleCorruptError, BundleSchemaError, BundleNotFoundError: ``source_dir`` holds no usable
            bundle, or it changed while it was copied.
        BundleError: the disk is full or cannot be written; what was served before still is.
        ConfigurationError: ``name`` cannot be a bundle's name.
    """
    directory = bundle_directory(bundles_dir, name)
    source = load_bundle(source_dir)
    with _clear_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        with _sole_publisher(directory):
            _sweep(directory)
            version = max(versions_in(directory), default=0) + 1
            try:
                _place(source, directory, version)
                write_current(directory, version)
            finally:
                _sweep(directory)
    logger.info("published %s version %d", name, version)
    return version


def rollback(bundles_dir: Path, name: str, version: int | None = None) -> int:
    """Serves ``version`` of ``name``, by default the one before the current. Returns it.

    The version left stays on disk: rolling "back" to it serves it again.

    Raises:
        BundleNotFoundError: there is no such version, or none before the current.
        BundleCorruptError, BundleSchemaError: that version cannot be served.
        BundleError: CURRENT cannot be written.
        ConfigurationError: ``name`` cannot be a bundle's name.
    """
    directory = bundle_directory(bundles_dir, name)
    versions = list_versions(bundles_dir, name)
    if not versions:
        raise BundleNotFoundError(f"no version of {name} is published in {bundles_dir}")
    with _clear_errors(directory), _sole_publisher(directory):
        if version is None:
            current = read_current(directory)
            version = max((known for known in versions if known < current), default=None)
            if version is None:
                raise BundleNotFoundError(f"{name} has no version before {current}")
        if version not in versions:
            existing = ", ".join(map(str, versions))
            raise BundleNotFoundError(f"{name} has no version {version} (existing: {existing})")
        load_bundle(directory / str(version))
        write_current(directory, version)
    logger.info("rolled %s back to version %d", name, version)
    return version


def _place(source: Bundle, directory: Path, version: int) -> None:
    """Copies the listed files of ``source`` to ``directory/version``, all or nothing."""
    incoming = directory / f"{INCOMING_PREFIX}{version}-{os.getpid()}"
    incoming.mkdir()
    digests = read_checksums(source.directory)
    for file_name in digests:
        copy_synced(source.directory / file_name, incoming / file_name)
    write_bundle(incoming, source.manifest.published_as(directory.name, version))
    copied = read_checksums(incoming)
    for file_name, digest in digests.items():
        if file_name != MANIFEST_FILE and copied[file_name] != digest:
            raise BundleCorruptError(
                f"{source.directory / file_name} changed while it was published"
            )
    incoming.rename(directory / str(version))
    sync_directory(directory)


def _sweep(directory: Path) -> None:
    """Removes what an interrupted publication left; only its lock's holder may."""
    for entry in directory.glob(f"{INCOMING_PREFIX}*"):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


@contextmanager
def _sole_publisher(directory: Path) -> Iterator[None]:
    """Holds the lock of ``directory``; the kernel frees it when its holder dies."""
    with (directory / LOCK_FILE).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _clear_errors(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BundleError(
            f"{directory} cannot be changed: {error}. The version served before still is."
        ) from error
