import json
from pathlib import Path

import pytest

from model.bundle.checksums import read_checksums
from model.bundle.load import load_bundle
from model.bundle.manifest import read_manifest
from model.bundle.write import write_bundle
from model.errors import BundleCorruptError


def test_every_file_is_covered_by_the_checksums(bundle_source: Path) -> None:
    files = {path.name for path in bundle_source.iterdir()}
    assert set(read_checksums(bundle_source)) == files - {"SHA256SUMS"}


def test_writing_again_takes_in_what_changed(bundle_source: Path) -> None:
    before = load_bundle(bundle_source)
    (bundle_source / "report.html").write_text("<html></html>")
    (bundle_source / "README.md").write_text("# Better\n")
    after = write_bundle(bundle_source, before.manifest)
    assert after == load_bundle(bundle_source)
    assert after.digest != before.digest
    assert "report.html" in read_checksums(bundle_source)


def test_the_manifest_is_json_for_people_and_programs(bundle_source: Path) -> None:
    text = (bundle_source / "bundle.json").read_text()
    assert json.loads(text)["config"]["cell"] == "gru"
    assert text.count("\n") > 20


def test_a_manifest_of_other_files_is_refused(bundle_source: Path) -> None:
    manifest = read_manifest(bundle_source)
    (bundle_source / "network.tflite").write_bytes(b"another network")
    with pytest.raises(BundleCorruptError, match=r"disagree about network\.tflite"):
        write_bundle(bundle_source, manifest)
    (bundle_source / "network.tflite").unlink()
    with pytest.raises(BundleCorruptError, match=r"network\.tflite"):
        write_bundle(bundle_source, manifest)


def test_a_file_with_a_name_no_bundle_file_may_have_is_refused(bundle_source: Path) -> None:
    (bundle_source / "my notes.txt").write_text("")
    with pytest.raises(BundleCorruptError, match=r"my notes\.txt"):
        write_bundle(bundle_source, read_manifest(bundle_source))
