"""From a corpus to files of ids: what they hold; what a kill, a change or a bad disk leaves."""

import json
import random
import signal
import subprocess
import sys

import numpy as np
import pytest

from model.errors import ConfigurationError, CorpusError, TokenizerError, TrainingError
from model.tokenizers import END_OF_TEXT
from training import prepare_progress
from training.prepare import PrepareSettings, default_vocab_size, prepare
from training.prepared_corpus import PreparedCorpus
from training.splits import SPLITS

WORDS = "the people of Italy speak Italian and they of France French in towns by the sea"


def story(seed, num_paragraphs=120):
    generator = random.Random(seed)
    return "".join(
        " ".join(generator.choices(WORDS.split(), k=20)).capitalize() + f" {number}.\n\n"
        for number in range(num_paragraphs)
    )


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(story(1))
    return path


def settings_for(corpus, **changes):
    given = {"output": corpus.parent / "prepared", "vocab_size": 400, **changes}
    return PrepareSettings(corpus=corpus, **given)


def documents_of(prepared, split):
    ids = prepared.token_file(split).ids()
    text = prepared.tokenizer().decode(ids.tolist(), skip_special=False)
    return text.split(END_OF_TEXT)[1:]


@pytest.mark.parametrize("kind", ["char", "word", "bpe"])
def test_the_ids_are_the_documents(corpus, kind):
    prepared = prepare(settings_for(corpus, tokenizer_kind=kind, vocab_size=None))
    assert sorted(file.name for file in prepared.directory.iterdir()) == [
        *("corpus.json", "test.bin", "tokenizer.json", "train.bin", "validation.bin")
    ]
    documents = {split: documents_of(prepared, split) for split in SPLITS}
    text = corpus.read_text()
    together = [document for split in SPLITS for document in documents[split]]
    if kind != "word":
        assert "".join(sorted(together, key=text.index)) == text
    for split in SPLITS:
        counts = prepared.splits[split]
        assert counts.num_documents == len(documents[split]) > 0
        assert counts.num_tokens == len(prepared.token_file(split).ids())
        if kind != "word":
            assert counts.num_bytes == counts.num_characters == sum(map(len, documents[split]))
        assert prepared.token_file(split).ids()[0] == prepared.tokenizer().end_of_text_id
    assert prepared.tokenizer_kind == kind
    assert sum(counts.num_bytes for counts in prepared.splits.values()) == len(text)
    assert [(file.name, file.size_bytes) for file in prepared.files] == [("corpus.txt", len(text))]


def test_bytes_and_characters_are_told_apart(corpus):
    corpus.write_text(story(1).replace("e", "é"), encoding="utf-8")
    counts = prepare(settings_for(corpus)).splits["train"]
    assert counts.num_bytes > counts.num_characters


def test_the_tokenizer_never_sees_held_out_text(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number in range(60):
        marked = story(number, 2).replace(".", chr(0x4E00 + number))
        (folder / f"{number}.txt").write_text(marked, encoding="utf-8")
    prepared = prepare(settings_for(folder, tokenizer_kind="char"))
    for split in SPLITS:
        unknown = prepared.token_file(split).ids() == prepared.tokenizer().unknown_id
        assert np.any(unknown) == (split != "train")


def test_given_held_out_texts_are_used_whole_and_not_trained_on(corpus):
    held_out = corpus.parent / "held-out.txt"
    held_out.write_text(story(2, 5))
    shared = corpus.parent / "corpus"
    shared.mkdir()
    corpus.rename(shared / "corpus.txt")
    (shared / "held-out-too.txt").write_text(story(2, 5))
    prepared = prepare(
        settings_for(shared, test=held_out, document_characters=3000, vocab_size=300)
    )
    assert "".join(documents_of(prepared, "test")) == story(2, 5)
    assert prepared.num_dropped_documents == 1
    assert prepared.splits["validation"].num_documents > 0
    assert [file.split for file in prepared.files] == [None, None, "test"]
    both = prepare(
        settings_for(shared, test=held_out, validation=held_out, output=corpus.parent / "both")
    )
    assert documents_of(both, "validation") == documents_of(both, "test")
    trained = "".join(documents_of(both, "train"))
    assert len(trained) == len(story(1))


def test_a_given_tokenizer_is_used(corpus):
    first = prepare(settings_for(corpus))
    again = prepare(
        settings_for(
            corpus,
            tokenizer=first.tokenizer_path,
            tokenizer_kind="word",
            vocab_size=None,
            output=corpus.parent / "again",
        )
    )
    assert (again.tokenizer_digest, again.tokenizer_kind) == (first.tokenizer_digest, "bpe")
    with pytest.raises(TokenizerError, match=r"corpus\.txt cannot be used as a tokenizer"):
        prepare(settings_for(corpus, tokenizer=corpus))


def test_the_same_again_does_nothing(corpus):
    first = prepare(settings_for(corpus))
    inode = first.token_file("train").path.stat().st_ino
    shown = []
    assert prepare(settings_for(corpus), shown.append) == first
    assert shown == []
    assert first.token_file("train").path.stat().st_ino == inode


@pytest.mark.parametrize(
    "change",
    [
        {"vocab_size": 300},
        {"test_share": 0.2},
        {"document_characters": 500},
        {"tokenizer_kind": "word"},
    ],
)
def test_other_settings_prepare_again(corpus, change):
    first = prepare(settings_for(corpus))
    again = prepare(settings_for(corpus, **change))
    assert again.settings != first.settings
    assert again.digest == first.digest
    assert PreparedCorpus.load(first.directory) == again


def test_a_changed_corpus_or_a_damaged_result_is_prepared_again(corpus):
    first = prepare(settings_for(corpus))
    first.token_file("train").path.write_bytes(b"")
    assert prepare(settings_for(corpus)) == first
    corpus.write_text(story(3))
    again = prepare(settings_for(corpus))
    assert again.digest != first.digest
    assert PreparedCorpus.load(first.directory) == again


def test_a_file_given_for_another_split_prepares_again(tmp_path):
    for folder, names in (("first", "ab"), ("second", "c"), ("a", "a"), ("bc", "bc")):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / f"{name}.txt").write_text(story(ord(name)))
    first = prepare(settings_for(tmp_path / "first", test=tmp_path / "second"))
    again = prepare(settings_for(tmp_path / "a", test=tmp_path / "bc"))
    assert again.digest == first.digest
    assert again.splits["test"].num_documents > first.splits["test"].num_documents


PREPARE_AND_DIE = """
import os, signal, sys
from pathlib import Path
from training import prepare as stage, prepare_progress
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
where, corpus, output = sys.argv[1:]
prepare_progress._SHOW_SECONDS = 0.0
show = lambda status: die() if status.doing == where and status.share > 0.2 else None
if where == "syncing":
    stage.sync_directory = die
if where == "renaming":
    Path.rename = die
stage.prepare(stage.PrepareSettings(corpus=Path(corpus), output=Path(output)), show)
"""


@pytest.mark.parametrize("where", ["reading", "encoding", "syncing", "renaming"])
def test_killed_it_leaves_nothing_half_done(corpus, where):
    output = corpus.parent / "prepared"
    old = None
    if where == "encoding":
        old = prepare(settings_for(corpus))
    command = [sys.executable, "-c", PREPARE_AND_DIE, where, str(corpus), str(output)]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert (PreparedCorpus.load(output) == old) if old else not output.exists()
    prepared = prepare(settings_for(corpus, vocab_size=300))
    assert prepared.vocab_size == 300
    left = {path.name for path in corpus.parent.iterdir()}
    assert left == {"corpus.txt", "prepared"}


def test_a_corpus_that_changes_while_it_is_read_is_refused(corpus, monkeypatch):
    monkeypatch.setattr(prepare_progress, "_SHOW_SECONDS", -1.0)

    def alter(status):
        if status.doing == "reading" and status.share > 0.4:
            corpus.write_text(story(9))

    with pytest.raises(CorpusError, match=r"corpus\.txt: .*changed while it was read"):
        prepare(settings_for(corpus), alter)
    assert {path.name for path in corpus.parent.iterdir()} == {"corpus.txt"}


def test_a_disk_that_refuses_is_reported(corpus):
    (corpus.parent / "file").write_text("not a folder")
    with pytest.raises(TrainingError, match=r"cannot write .*prepared: Not a directory"):
        prepare(settings_for(corpus, output=corpus.parent / "file" / "prepared"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Too short.", r"corpus\.txt is too small: it holds 10 characters of text"),
        (("x" * 1500 + END_OF_TEXT) * 9, r"corpus\.txt cannot be split: it has only"),
    ],
)
def test_too_little_text_is_refused_by_name(corpus, content, message):
    corpus.write_text(content)
    with pytest.raises(CorpusError, match=message):
        prepare(settings_for(corpus, document_characters=5000))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test_share": 0.0}, r"test_share is 0\.0; it must be above 0 and at most 0\.4"),
        ({"validation_share": 0.5}, "validation_share is 0.5"),
        ({"document_characters": 10}, "document_characters is 10; it must be at least 64"),
        ({"sample_characters": 10}, "sample_characters is 10; it must be at least 1000"),
    ],
)
def test_settings_out_of_bounds_are_refused(corpus, change, message):
    with pytest.raises(ConfigurationError, match=message):
        settings_for(corpus, **change)


def test_the_vocabulary_suits_the_size_of_the_corpus():
    bpe = [default_vocab_size("bpe", 10**power) for power in range(3, 9)]
    assert bpe == [512, 512, 512, 2048, 8192, 8192]
    assert default_vocab_size("word", 10**6) == 5000
    assert default_vocab_size("char", 10**6) == 1024


MEASURE_PEAK_MEMORY = """
import json, random, resource, sys
from pathlib import Path
from training.prepare import PrepareSettings, prepare
folder = Path(sys.argv[1])
generator = random.Random(1)
words = ["".join(generator.choices("etaoinshrdlu", k=1 + n % 9)) for n in range(5000)]
lines = [" ".join(generator.choices(words, k=12)) for _ in range(1000)]
peaks = []
for megabytes in (2, 15):
    corpus = folder / f"{megabytes}.txt"
    with corpus.open("w") as stream:
        number = 0
        while stream.tell() < megabytes * 10**6:
            number += 1
            stream.write(f"{number}. " + ".\\n".join(generator.choices(lines, k=300)) + "\\n\\n")
    prepare(PrepareSettings(corpus=corpus, output=folder / "prepared", vocab_size=512,
                            sample_characters=200_000))
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
print(json.dumps(peaks))
"""


def test_memory_does_not_grow_with_the_corpus(tmp_path):
    command = [sys.executable, "-c", MEASURE_PEAK_MEMORY, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, timeout=170, check=True)
    small, large = json.loads(done.stdout)
    assert large - small < 25, f"peak memory rose from {small:.0f} to {large:.0f} MiB"
