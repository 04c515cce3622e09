"""From files to documents: what is found, how it is cut, and what is refused."""

import gzip
import json
import os
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import CorpusError
from model.tokenizers import END_OF_TEXT
from training import text_stream
from training.corpus import (
    MAX_DOCUMENT_CHARACTERS,
    corpus_digest,
    find_corpus_files,
    read_documents,
    suggested_document_characters,
)


def texts(path, document_characters=1000, **options):
    files = find_corpus_files(path)
    documents = read_documents(files, document_characters=document_characters, **options)
    return [document.text for document in documents]


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_folder_is_read_recursively_in_the_order_of_names(tmp_path):
    write(tmp_path / "b.txt", "B")
    write(tmp_path / "a" / "z.TXT", "AZ")
    write(tmp_path / "a" / "deep" / "y.jsonl", '{"text": "Y1"}\n\n{"text": "Y2"}')
    write(tmp_path / "c.csv.gz", gzip.compress(b'id,text\n1,"C, ""1"""\n2,C2\n'))
    write(tmp_path / "picture.png", b"\x89PNG")
    write(tmp_path / ".hidden.txt", "hidden")
    write(tmp_path / ".git" / "x.txt", "hidden")
    files = find_corpus_files(tmp_path)
    assert [file.name for file in files] == ["a/deep/y.jsonl", "a/z.TXT", "b.txt", "c.csv.gz"]
    documents = list(read_documents(files, document_characters=1000))
    assert [document.text for document in documents] == ["Y1", "Y2", "AZ", "B", 'C, "1"', "C2"]
    assert [document.file_index for document in documents] == [0, 0, 1, 2, 3, 3]
    assert documents[-1].offset_bytes == files[-1].size_bytes


def test_field_and_column_can_be_named(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"body": "B \\ud83d\\ude00 \\ud800", "text": 1}\n')
    assert texts(path, jsonl_field="body") == ["B 😀 \ufffd"]
    path = write(tmp_path / "a.csv", '\ufeffbody,text\n"two\r\nlines",x\n')
    assert texts(path, csv_column="body") == ["two\nlines"]


@given(
    st.lists(st.sampled_from(["word", " ", "\n", "\n\n", "\n\n\n", "é", "a b c d"]), max_size=40),
    st.integers(4, 30),
    st.integers(1, 50),
)
def test_parts_of_a_text_join_to_it_and_are_bounded(tmp_path, parts, length, piece_bytes):
    text = "start" + "".join(parts) + "end"
    path = write(tmp_path / "a.txt", text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_stream, "_PIECE_BYTES", piece_bytes)
        documents = texts(path, length)
    if all(len(blank) < length for blank in re.findall(r"\s+", text)):
        assert "".join(documents) == text
    assert "".join("".join(documents).split()) == "".join(text.split())
    assert max(map(len, documents)) < 2 * length + len(END_OF_TEXT)


def test_long_texts_are_cut_at_the_best_place(tmp_path):
    paragraph = "A line.\n" * 5 + "\n"
    documents = texts(write(tmp_path / "a.txt", paragraph * 20), 100)
    assert len(documents) > 5
    assert all(document.endswith(".\n\n") for document in documents)
    documents = texts(write(tmp_path / "b.txt", "A line of text.\n" * 50), 100)
    assert all(document.endswith(".\n") for document in documents)
    documents = texts(write(tmp_path / "c.txt", "word " * 100 + "end"), 100)
    assert all(document.startswith(" word") for document in documents[1:])
    documents = texts(write(tmp_path / "d.txt", "x" * 1000), 100)
    assert [len(document) for document in documents[:-1]] == [100] * (len(documents) - 1)


def test_records_are_cut_too_but_never_joined(tmp_path):
    records = ["short", "word " * 100, "also short"]
    path = write(tmp_path / "a.jsonl", "\n".join(json.dumps({"text": text}) for text in records))
    documents = texts(path, 100)
    assert documents[0] == "short"
    assert documents[-1] == "also short"
    assert "".join(documents[1:-1]) == records[1]


@pytest.mark.parametrize("piece_bytes", [1, 5, 13, 1000])
@pytest.mark.parametrize("length", [4, 20, 1000])
def test_a_boundary_mark_ends_a_document_and_is_dropped(tmp_path, monkeypatch, piece_bytes, length):
    monkeypatch.setattr(text_stream, "_PIECE_BYTES", piece_bytes)
    expected = ["one two", "three", "four"]
    text = END_OF_TEXT + END_OF_TEXT.join(expected) + END_OF_TEXT + "\n"
    documents = texts(write(tmp_path / "a.txt", text), length)
    assert "|".join(documents).replace("|", "") == "".join(expected)
    assert not any("<" in document or ">" in document for document in documents)
    if length == 1000:
        assert documents == expected


def test_small_corpora_are_cut_finer_so_that_they_can_be_split(tmp_path):
    path = write(tmp_path / "a.txt", "Some words in a line.\n\n" * 4500)
    files = find_corpus_files(path)
    length = suggested_document_characters(files)
    assert len(texts(path, length)) > 40
    write(tmp_path / "b.txt", b"x" * (100 * MAX_DOCUMENT_CHARACTERS))
    assert suggested_document_characters(find_corpus_files(tmp_path)) == MAX_DOCUMENT_CHARACTERS


def test_the_digest_follows_names_and_contents(tmp_path):
    path = write(tmp_path / "a.txt", "one")
    first = corpus_digest(find_corpus_files(tmp_path))
    assert corpus_digest(find_corpus_files(tmp_path)) == first
    write(path, "two")
    second = corpus_digest(find_corpus_files(tmp_path))
    path.rename(tmp_path / "b.txt")
    assert len({first, second, corpus_digest(find_corpus_files(tmp_path))}) == 3
    files = find_corpus_files(tmp_path)
    (tmp_path / "b.txt").unlink()
    with pytest.raises(CorpusError, match=r"b\.txt cannot be read"):
        corpus_digest(files)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", r"a\.txt is empty"),
        ("a.txt", " \n\n", r"a\.txt is empty"),
        ("a.txt.gz", gzip.compress(b"", mtime=0), r"a\.txt\.gz is empty"),
        ("a.jsonl", "\n", r"a\.jsonl is empty"),
        ("a.jsonl", '{"text": ""}', r"a\.jsonl is empty"),
        ("a.csv", "text\n", r"a\.csv is empty"),
        ("a.csv", "", r"a\.csv is empty"),
        ("a.jsonl", '{"text": "x"}\n{"txt": "x"}', r"a\.jsonl, line 2: .* text field 'text'"),
        ("a.jsonl", '{"text": null}', r"a\.jsonl, line 1: .* text field 'text'"),
        ("a.jsonl", '["text"]', r"a\.jsonl, line 1: .* text field 'text'"),
        ("a.jsonl", '{"text": "x"', r"a\.jsonl, line 1: no valid JSON"),
        ("a.jsonl", "[" * 100_000, r"a\.jsonl, line 1: no valid JSON"),
        ("a.csv", "id,body\n1,x\n", r"a\.csv, line 1: no column 'text'; there are: id, body"),
        ("a.csv", "id,text\n1,x\n2\n", r"a\.csv, line 3: no column 'text' in this row"),
        ("a.csv", 'text\n"x" y\n', r"a\.csv, line 2: no valid CSV"),
        ("a.csv", 'text\n"never closed\n', r"a\.csv, line 2: no valid CSV"),
        ("a.csv", b"text\nfine\ncaf\xe9\n", r"a\.csv, line 3: no UTF-8 text"),
    ],
)
def test_bad_files_are_refused_by_name_and_line(tmp_path, name, content, message):
    write(tmp_path / "0.txt", "A good file before it.")
    write(tmp_path / name, content)
    with pytest.raises(CorpusError, match=message):
        texts(tmp_path)


def test_what_cannot_be_a_corpus_is_refused(tmp_path):
    with pytest.raises(CorpusError, match=r"nowhere does not exist; give a file or folder"):
        find_corpus_files(tmp_path / "nowhere")
    with pytest.raises(CorpusError, match=r"holds no \.txt, \.jsonl, \.csv or \.gz of these file"):
        find_corpus_files(tmp_path)
    with pytest.raises(CorpusError, match=r"book\.pdf is of no known kind; give a \.txt"):
        find_corpus_files(write(tmp_path / "book.pdf", "x"))


@pytest.fixture
def unprivileged():
    """This process as somebody who is not root, where it is."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.mark.parametrize("place", ["", "below", "below/book.txt"])
def test_what_may_not_be_read_is_named(place, unprivileged):
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder)
        write(corpus / "below" / "book.txt", "A text.")
        (corpus / place).chmod(0)
        with pytest.raises(CorpusError, match=rf"{re.escape(str(corpus / place))} cannot be read"):
            texts(corpus)
        for path in (corpus, corpus / "below", corpus / "below" / "book.txt"):
            path.chmod(0o700)
