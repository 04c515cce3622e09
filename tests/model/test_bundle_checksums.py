import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.bundle.checksums import (
    file_digest,
    format_checksums,
    read_checksums,
    verify_checksums,
)
from model.errors import BundleCorruptError

A = "0" * 63 + "a"
B = "f" * 64


def test_the_digest_of_known_bytes(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert file_digest(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True),
        st.text("0123456789abcdef", min_size=64, max_size=64),
        min_size=1,
    )
)
def test_what_is_written_is_read_back(tmp_path: Path, digests: dict[str, str]) -> None:
    (tmp_path / "SHA256SUMS").write_text(format_checksums(digests))
    assert read_checksums(tmp_path) == digests


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum on this machine")
def test_sha256sum_reads_the_format_and_we_read_its(tmp_path: Path) -> None:
    for name in ("one", "two.bin"):
        (tmp_path / name).write_bytes(name.encode())
    digests = {name: file_digest(tmp_path / name) for name in ("one", "two.bin")}
    (tmp_path / "SHA256SUMS").write_text(format_checksums(digests))
    subprocess.run(["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=tmp_path, check=True)

    made = subprocess.check_output(["sha256sum", "--binary", "one", "two.bin"], cwd=tmp_path)
    (tmp_path / "SHA256SUMS").write_bytes(made)
    assert read_checksums(tmp_path) == digests


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{A}  one\n{B}  tw", "truncated"),
        (f"{A} one\n", "line 1"),
        (f"{A}  one\n\n", "line 2"),
        (f"{A[:-1]}  one\n", "line 1"),
        (f"{A}  ../one\n", r"\.\./one"),
        (f"{A}  /etc/passwd\n", "/etc/passwd"),
        (f"{A}  .hidden\n", "line 1"),
        (f"{A}  one\n{B}  one\n", "one is listed twice"),
        (f"{A}  öl\n", "cannot be read"),
    ],
)
def test_damaged_lines_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "SHA256SUMS").write_text(content, encoding="utf-8")
    with pytest.raises(BundleCorruptError, match=message):
        read_checksums(tmp_path)


def test_no_checksums_at_all(tmp_path: Path) -> None:
    with pytest.raises(BundleCorruptError, match="SHA256SUMS cannot be read"):
        read_checksums(tmp_path)


def test_each_kind_of_damage_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "network"
    path.write_bytes(b"0123456789")
    digests = {"network": file_digest(path)}
    verify_checksums(tmp_path, digests)

    for damaged in (b"012345678", b"0123456780", b"", b"0123456789 "):
        path.write_bytes(damaged)
        with pytest.raises(BundleCorruptError, match="network was altered or truncated"):
            verify_checksums(tmp_path, digests)
    path.unlink()
    with pytest.raises(BundleCorruptError, match="network is missing"):
        verify_checksums(tmp_path, digests)
    path.mkdir()
    with pytest.raises(BundleCorruptError, match="network is missing"):
        verify_checksums(tmp_path, digests)
