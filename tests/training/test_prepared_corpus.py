"""What is left of a preparation is checked when it is read."""

import json
import re

import pytest

from model.errors import CorpusError
from training.prepare import PrepareSettings, prepare
from training.prepared_corpus import PreparedCorpus


@pytest.fixture
def prepared(tmp_path):
    (tmp_path / "corpus.txt").write_text("".join(f"Line {n} of words.\n\n" for n in range(300)))
    settings = PrepareSettings(
        corpus=tmp_path / "corpus.txt", output=tmp_path / "prepared", tokenizer_kind="char"
    )
    return prepare(settings)


def test_it_is_read_back_as_it_was_written(prepared):
    assert PreparedCorpus.load(prepared.directory) == prepared
    assert prepared.tokenizer().digest == prepared.tokenizer_digest
    assert len(prepared.token_file("train")) == prepared.splits["train"].num_tokens


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.pop("format"),
        lambda record: record.pop("splits"),
        lambda record: record["splits"].pop("test"),
        lambda record: record["splits"]["test"].pop("num_bytes"),
        lambda record: record.update(splits=3),
        lambda record: record.update(files=[1]),
        lambda record: record.update(more=1),
    ],
)
def test_a_damaged_record_is_refused_by_name(prepared, change):
    path = prepared.directory / "corpus.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    with pytest.raises(CorpusError, match=re.escape(str(path)) + " is missing or damaged"):
        PreparedCorpus.load(prepared.directory)


def test_other_formats_missing_and_shortened_files_are_refused(prepared):
    path = prepared.directory / "corpus.json"
    content = path.read_text()
    path.write_text(content.replace('"format": 1', '"format": 2'))
    with pytest.raises(CorpusError, match="has format 2, not 1; prepare again"):
        PreparedCorpus.load(prepared.directory)
    path.write_text(content[:-20])
    with pytest.raises(CorpusError, match="missing or damaged"):
        PreparedCorpus.load(prepared.directory)
    path.write_text(content)
    ids = prepared.directory / "train.bin"
    ids.write_bytes(ids.read_bytes()[:-2])
    with pytest.raises(CorpusError, match=r"train\.bin is not as long as written"):
        PreparedCorpus.load(prepared.directory)
    ids.unlink()
    with pytest.raises(CorpusError, match=r"train\.bin cannot be read"):
        PreparedCorpus.load(prepared.directory)
