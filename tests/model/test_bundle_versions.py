from pathlib import Path

import pytest

from model.bundle.versions import (
    bundle_directory,
    current_directory,
    list_versions,
    read_current,
    write_current,
)
from model.errors import BundleCorruptError, BundleNotFoundError, ConfigurationError


@pytest.mark.parametrize("name", ["travel", "a", "My-model_2.1", "x" * 64])
def test_good_names(tmp_path: Path, name: str) -> None:
    assert bundle_directory(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "/etc", "a b", "é", "x" * 65, "a\n"])
def test_bad_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="bundle name is"):
        bundle_directory(tmp_path, name)


def test_versions_are_numbered_directories_in_numeric_order(tmp_path: Path) -> None:
    assert list_versions(tmp_path, "travel") == []
    for entry in ("10", "9", "1", "01", "0", "-1", "1.5", ".incoming-11-1", "notes"):
        (tmp_path / "travel" / entry).mkdir(parents=True)
    (tmp_path / "travel" / "3").write_text("a file")
    assert list_versions(tmp_path, "travel") == [1, 9, 10]


def test_current_is_written_and_followed(tmp_path: Path) -> None:
    (tmp_path / "2").mkdir()
    write_current(tmp_path, 2)
    assert (tmp_path / "CURRENT").read_text() == "2\n"
    assert current_directory(tmp_path) == tmp_path / "2"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["2", "CURRENT"]


@pytest.mark.parametrize("content", [b"2", b"2\n", b" 2 \r\n"])
def test_current_may_be_written_by_hand(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "CURRENT").write_bytes(content)
    assert read_current(tmp_path) == 2


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"0", b"-1", b"1.5", b"..", b"../../secret", b"/etc", b"latest", b"1 2", b"\xff"],
)
def test_current_that_holds_no_version_leads_nowhere(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "CURRENT").write_bytes(content)
    with pytest.raises(BundleCorruptError, match=r"CURRENT holds .* expected a version number"):
        current_directory(tmp_path)


def test_current_missing_or_unreadable(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError, match="no bundle is published in"):
        read_current(tmp_path)
    (tmp_path / "CURRENT").mkdir()
    with pytest.raises(BundleCorruptError, match="cannot be read"):
        read_current(tmp_path)


def test_current_naming_a_version_that_is_gone_says_which_exist(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    (tmp_path / "CURRENT").write_text("7\n")
    with pytest.raises(BundleNotFoundError, match=r"version 7.*existing: 1, 2"):
        current_directory(tmp_path)
