"""Finishing a bundle's directory: the manifest, then the checksums over everything in it."""

from __future__ import annotations

from pathlib import Path

from model.bundle.checksums import CHECKSUMS_FILE, file_digest, format_checksums
from model.bundle.durable_files import sync_directory, write_synced
from model.bundle.load import Bundle, load_bundle
from model.bundle.manifest import MANIFEST_FILE, BundleManifest


def write_bundle(directory: Path, manifest: BundleManifest) -> Bundle:
    """Makes a bundle of ``directory``, which already holds tokenizer, network and weights.

    Writes bundle.json and SHA256SUMS over every file there, then opens the result, so that what is
    returned is known to load. May be called again after a file has changed.

    Raises:
        BundleCorruptError: a file that ``manifest`` names is missing or another than it describes,
            or has a name no bundle's file may have.
        OSError: no room, no permission.
    """
    write_synced(directory / MANIFEST_FILE, manifest.to_json().encode())
    write_checksums(directory)
    sync_directory(directory)
    return load_bundle(directory)


def write_checksums(directory: Path) -> None:
    """Writes SHA256SUMS over all other files of ``directory``.

    Raises:
        OSError: a file cannot be read, no room, no permission.
    """
    digests = {
        path.name: file_digest(path) for path in directory.iterdir() if path.name != CHECKSUMS_FILE
    }
    write_synced(directory / CHECKSUMS_FILE, format_checksums(digests).encode())
