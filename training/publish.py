"""The stage ``publish``: the exported bundle becomes the version that is served, once."""

from __future__ import annotations

from pathlib import Path

from model.bundle.load import load_bundle
from model.bundle.publish import publish
from model.bundle.versions import list_versions
from training.run_directory import RunDirectory, read_json, write_json


def publish_run(run: RunDirectory, bundles: Path) -> tuple[int, bool]:
    """Publishes the run's export as ``bundles/<name>``, unless that very export is there already.

    Returns:
        The version, and whether it is new.

    Raises:
        BundleError: the export is missing or damaged, or the disk refuses.
    """
    digest = load_bundle(run.export).digest
    if run.published.exists():
        last = read_json(run.published)
        same = last.get("digest") == digest and last.get("bundles") == str(bundles.resolve())
        if same and last.get("version") in list_versions(bundles, run.name):
            return int(last["version"]), False
    version = publish(run.export, bundles, run.name)
    write_json(
        run.published, {"version": version, "digest": digest, "bundles": str(bundles.resolve())}
    )
    return version, True
