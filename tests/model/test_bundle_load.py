import hashlib
import json
import logging
import shutil
from pathlib import Path

import pytest

from model.bundle.checksums import file_digest, format_checksums, read_checksums
from model.bundle.load import load_bundle
from model.bundle.publish import publish
from model.bundle.write import write_checksums
from model.errors import BundleCorruptError, BundleNotFoundError, BundleSchemaError

FILES = ["bundle.json", "tokenizer.json", "network.tflite", "network.weights.h5", "README.md"]


@pytest.fixture
def published(bundle_source: Path, tmp_path: Path) -> Path:
    """``bundles/travel`` with version 1."""
    publish(bundle_source, tmp_path / "bundles", "travel")
    return tmp_path / "bundles" / "travel"


def test_a_name_follows_current_and_a_version_is_taken_as_it_is(
    published: Path, bundle_source: Path
) -> None:
    publish(bundle_source, published.parent, "travel")
    assert load_bundle(published).directory == published / "2"
    assert load_bundle(published).manifest.version == 2
    assert load_bundle(published / "1").manifest.version == 1
    assert load_bundle(bundle_source).manifest.version is None


def test_paths_config_and_digest(published: Path) -> None:
    bundle = load_bundle(published)
    directory = published / "1"
    assert bundle.manifest.name == "travel"
    assert bundle.tokenizer_path == directory / "tokenizer.json"
    assert bundle.network_path == directory / "network.tflite"
    assert bundle.weights_path == directory / "network.weights.h5"
    assert bundle.config.cell == "gru"
    assert bundle.digest == hashlib.sha256((directory / "SHA256SUMS").read_bytes()).hexdigest()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["truncated", "altered", "missing"])
def test_damage_to_any_file_is_refused(published: Path, name: str, damage: str) -> None:
    path = published / "1" / name
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[:-1])
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    with pytest.raises(BundleCorruptError, match=name):
        load_bundle(published)


def test_damage_to_the_checksums_is_refused(published: Path) -> None:
    path = published / "1" / "SHA256SUMS"
    whole = path.read_text()
    for damaged in ("", whole[:-1], whole[100:], whole.replace(whole[0], "g", 1)):
        path.write_text(damaged)
        with pytest.raises(BundleCorruptError, match="SHA256SUMS"):
            load_bundle(published)
    path.unlink()
    with pytest.raises(BundleCorruptError, match="SHA256SUMS"):
        load_bundle(published)


@pytest.mark.parametrize("name", FILES[:-1])
def test_a_needed_file_that_the_checksums_leave_out_is_refused(published: Path, name: str) -> None:
    digests = read_checksums(published / "1")
    del digests[name]
    (published / "1" / "SHA256SUMS").write_text(format_checksums(digests))
    with pytest.raises(BundleCorruptError, match=name):
        load_bundle(published)


@pytest.mark.parametrize("name", ["tokenizer.json", "network.tflite"])
def test_a_file_swapped_together_with_its_checksum_is_refused(published: Path, name: str) -> None:
    (published / "1" / name).write_bytes(b"from another bundle")
    write_checksums(published / "1")
    with pytest.raises(BundleCorruptError, match=f"disagree about {name}"):
        load_bundle(published)


def test_an_extra_file_is_harmless_and_is_reported(
    published: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = load_bundle(published)
    (published / "1" / ".DS_Store").write_bytes(b"\0")
    with caplog.at_level(logging.WARNING):
        assert load_bundle(published) == expected
    assert ".DS_Store" in caplog.text


def test_a_newer_schema_is_refused_even_with_right_checksums(published: Path) -> None:
    path = published / "1" / "bundle.json"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps(fields | {"schema_version": 2}))
    write_checksums(published / "1")
    with pytest.raises(BundleSchemaError, match="schema_version 2"):
        load_bundle(published)


def test_a_manifest_that_is_no_json_is_refused(published: Path) -> None:
    (published / "1" / "bundle.json").write_text("{")
    write_checksums(published / "1")
    with pytest.raises(BundleCorruptError, match=r"bundle\.json is not JSON"):
        load_bundle(published)


def test_nothing_there(published: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError, match="there is no bundle at"):
        load_bundle(tmp_path / "bundles" / "unknown")
    with pytest.raises(BundleNotFoundError, match="versions there: 1"):
        load_bundle(published / "9")
    with pytest.raises(BundleNotFoundError, match=r"neither CURRENT nor bundle\.json"):
        load_bundle(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleNotFoundError):
        load_bundle(tmp_path / "file")


def test_current_pointing_nowhere_or_outside(published: Path) -> None:
    shutil.copytree(published / "1", published.parent / "outside")
    (published / "CURRENT").write_text("../outside\n")
    with pytest.raises(BundleCorruptError, match="expected a version number"):
        load_bundle(published)
    (published / "CURRENT").write_text("2\n")
    with pytest.raises(BundleNotFoundError, match=r"version 2.*existing: 1"):
        load_bundle(published)
    (published / "CURRENT").unlink()
    with pytest.raises(BundleNotFoundError):
        load_bundle(published)


def test_equal_files_have_equal_digests_and_others_another(
    published: Path, bundle_source: Path
) -> None:
    copied = published.parent / "copied"
    shutil.copytree(published / "1", copied)
    assert load_bundle(copied).digest == load_bundle(published).digest
    assert load_bundle(bundle_source).digest != load_bundle(published).digest
    assert file_digest(copied / "SHA256SUMS") == load_bundle(copied).digest
