from pathlib import Path

import pytest

from model.bundle.durable_files import copy_synced, replace_file, write_synced


def test_bytes_arrive_whole(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    write_synced(tmp_path / "source", content)
    copy_synced(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == content


def test_replacing_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    replace_file(path, b"new", tmp_path / "temporary")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_replacement_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.mkdir()  # A file cannot take a directory's place.
    with pytest.raises(OSError, match="file"):
        replace_file(path, b"new", tmp_path / "temporary")
    assert list(tmp_path.iterdir()) == [path]
