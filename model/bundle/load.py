"""Opening a bundle: finds the version served, checks every file, hands out paths."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from model.bundle.checksums import CHECKSUMS_FILE, read_checksums, verify_checksums
from model.bundle.manifest import MANIFEST_FILE, BundleManifest, read_manifest
from model.bundle.versions import CURRENT_FILE, current_directory, versions_in
from model.config import ModelConfig
from model.errors import BundleCorruptError, BundleNotFoundError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle whose files were all checked.

    Attributes:
        directory: the version's own directory.
        manifest: its bundle.json.
        digest: SHA-256 over SHA256SUMS, 64 hexadecimal digits: equal digests, equal answers.
    """

    directory: Path
    manifest: BundleManifest
    digest: str

    @property
    def config(self) -> ModelConfig:
        """The model's sizes."""
        return self.manifest.config

    @property
    def tokenizer_path(self) -> Path:
        """The tokenizer file."""
        return self.directory / self.manifest.tokenizer.file

    @property
    def network_path(self) -> Path:
        """The network to run."""
        return self.directory / self.manifest.network.file

    @property
    def weights_path(self) -> Path:
        """The weights to resume or fine-tune from."""
        return self.directory / self.manifest.weights.file


def load_bundle(path: Path) -> Bundle:
    """Opens the bundle at ``path`` after checking every file against SHA256SUMS.

    ``path`` is ``bundles/<name>``, where CURRENT says which version, or one version's directory
    (``bundles/<name>/<version>``, or a finished export not yet published).

    Raises:
        BundleNotFoundError: there is none at ``path``.
        BundleCorruptError: a file is missing, truncated or altered.
        BundleSchemaError: it was written by a newer version of the program.
    """
    directory = _version_directory(path)
    manifest = read_manifest(directory)
    digests = read_checksums(directory)
    _check_listed(directory, manifest, digests)
    verify_checksums(directory, digests)
    digest = hashlib.sha256((directory / CHECKSUMS_FILE).read_bytes()).hexdigest()
    return Bundle(directory=directory, manifest=manifest, digest=digest)


def _version_directory(path: Path) -> Path:
    if (path / CURRENT_FILE).exists():
        return current_directory(path)
    if (path / MANIFEST_FILE).exists() or (path / CHECKSUMS_FILE).exists():
        return path
    if not path.is_dir():
        versions = ", ".join(map(str, versions_in(path.parent)))
        hint = f"; versions there: {versions}" if versions else ""
        raise BundleNotFoundError(f"there is no bundle at {path}{hint}")
    raise BundleNotFoundError(
        f"{path} is no bundle: it has neither {CURRENT_FILE} nor {MANIFEST_FILE}"
    )


def _check_listed(directory: Path, manifest: BundleManifest, digests: dict[str, str]) -> None:
    """Every file the manifest relies on is covered by SHA256SUMS, with the digest it states."""
    for name in (MANIFEST_FILE, manifest.weights.file):
        if name not in digests:
            raise BundleCorruptError(f"{directory / CHECKSUMS_FILE} does not list {name}")
    for part in (manifest.tokenizer, manifest.network):
        if digests.get(part.file) != part.digest:
            raise BundleCorruptError(
                f"{directory / MANIFEST_FILE} and {CHECKSUMS_FILE} disagree about {part.file}"
            )
    unlisted = sorted({entry.name for entry in directory.iterdir()} - {*digests, CHECKSUMS_FILE})
    if unlisted:
        # Nothing reads such a file, so it cannot change an answer: no reason to stop.
        logger.warning("%s holds files that its checksums do not list: %s", directory, unlisted)
