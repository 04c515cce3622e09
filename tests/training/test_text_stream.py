"""Reading files in pieces and lines: what comes out, and what is refused by name and line."""

import gzip
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import CorpusError
from training import text_stream
from training.text_stream import read_lines, read_pieces


def whole(path):
    return "".join(piece for piece, _ in read_pieces(path))


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60),
    st.integers(1, 9),
)
def test_pieces_join_to_the_text_wherever_they_are_cut(tmp_path, text, piece_bytes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_stream, "_PIECE_BYTES", piece_bytes)
        (tmp_path / "a.txt").write_bytes(text.encode())
        expected = text.removeprefix("\ufeff").replace("\r\n", "\n")
        assert whole(tmp_path / "a.txt") == expected


def test_gzip_is_read_alike_and_the_offset_is_that_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(text_stream, "_PIECE_BYTES", 100_000)
    text = "".join(random.Random(1).choices("abcdef \n", k=1_000_000))
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(text.encode(), 1))
    pieces = list(read_pieces(path))
    assert "".join(piece for piece, _ in pieces) == text
    assert len(pieces) > 2
    offsets = [offset for _, offset in pieces]
    assert offsets == sorted(offsets)
    assert offsets[0] < offsets[-1] == path.stat().st_size
    assert "".join(line for _, line, _ in read_lines(path)) == text


def test_lines_are_numbered_and_a_byte_order_mark_is_dropped(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes("\ufeffone\r\ntwo\n\u2028 three".encode())
    assert [(number, line) for number, line, _ in read_lines(path)] == [
        (1, "one\r\n"),
        (2, "two\n"),
        (3, "\u2028 three"),
    ]


@pytest.mark.parametrize("read", [whole, lambda path: list(read_lines(path))])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"fine\nfine\ncaf\xe9\n", r"line 3: no UTF-8 text \(byte 0xe9\); convert it to UTF-8"),
        (b"fine\n" + b"\xff" * 9, r"line 2: no UTF-8 text \(byte 0xff\)"),
        (b"ends early \xe2\x82", r"line 1: no UTF-8 text \(byte 0xe2\)"),
        ("word\n".encode("utf-16"), "is UTF-16 text; convert it to UTF-8"),
        (b"fine\nELF\0\1\2", "line 2: holds a NUL byte; it is no text but a binary file"),
    ],
)
def test_what_is_no_text_is_refused_by_name_and_line(tmp_path, read, content, message):
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(CorpusError, match=re.escape(str(path)) + ".*" + message):
        read(path)


@pytest.mark.parametrize("read", [whole, lambda path: list(read_lines(path))])
def test_broken_gzip_is_refused_by_name(tmp_path, read):
    path = tmp_path / "bad.txt.gz"
    good = gzip.compress(b"some text\n" * 1000)
    for content in (b"no gzip", good[:30], good[:-4], good[:20] + b"\xff\xff" + good[22:]):
        path.write_bytes(content)
        with pytest.raises(CorpusError, match=re.escape(str(path)) + " is a broken gzip file"):
            read(path)


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path):
    with pytest.raises(CorpusError, match=r"gone\.txt cannot be read: No such file"):
        whole(tmp_path / "gone.txt")


def test_a_line_that_is_too_long_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(text_stream, "MAX_LINE_BYTES", 10)
    (tmp_path / "a.jsonl").write_text("0123456789\n")
    with pytest.raises(CorpusError, match=r"a\.jsonl, line 1: longer than 10 bytes"):
        list(read_lines(tmp_path / "a.jsonl"))
