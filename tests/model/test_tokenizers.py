"""The three kinds of tokenizer: what comes back, what is refused, and how much work it takes."""

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Library
from tokenizers import models, normalizers, pre_tokenizers

from model.errors import ConfigurationError, TokenizerError
from model.tokenizers import END_OF_TEXT, UNKNOWN, Tokenizer, train_tokenizer
from model.tokenizers.kinds import blank_tokenizer

PROSE = (
    "The people of Italy speak Italian, and in 1867 Rome wasn't its capital; it's now.\n\n"
    "“Where,” she asked, “do they speak French?” — In France, of course...  (Naïve café.)\n"
    "Ελλάδα: ελληνικά. 日本では日本語を話します。 مرحبا بالعالم \tdone\r\n"
)
ROOT = Path(__file__).resolve().parents[2]
KINDS = ("char", "word", "bpe")
VOCAB_SIZES = {"char": 200, "word": 300, "bpe": 400}

#: Any code points, lone surrogates and unassigned ones included, among awkward pieces of text.
any_text = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=[]), max_size=8),
        st.text(" \t\n\r\x00\x0b\x1c\x85\xa0\u2028\u3000", max_size=6),
        st.sampled_from(
            ["The", " people", "'s", "don’t", "e\u0301", "👩‍👩‍👧", "日本", "مرحبا", "\u200f"]
        ),
        st.sampled_from(["12345", "----", "\ud83d", "\ufffd", "<|", "|>", "a" * 70, " " * 70]),
    ),
    max_size=12,
).map("".join)


@pytest.fixture(scope="module")
def tokenizers():
    return {kind: train_tokenizer(kind, [PROSE] * 3, VOCAB_SIZES[kind]) for kind in KINDS}


def well_formed(text):
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


@given(any_text)
@example("\ud800")
@example(PROSE)
def test_bpe_gives_every_text_back(tokenizers, text):
    bpe = tokenizers["bpe"]
    assert bpe.decode(bpe.encode(text)) == well_formed(text)


@given(any_text)
@example(PROSE)
def test_char_and_word_give_known_text_back(text):
    for kind in ("char", "word"):
        tokenizer = train_tokenizer(kind, [text], 1000)
        token_ids = tokenizer.encode(text)
        assert tokenizer.decode(token_ids) == well_formed(text)
        assert tokenizer.unknown_id not in token_ids
        if kind == "char":
            assert len(token_ids) == len(text)


@given(any_text)
def test_char_gives_one_token_per_code_point_known_or_not(tokenizers, text):
    char = tokenizers["char"]
    token_ids = char.encode(text, parse_special=False)
    assert [char.token_text(token_id) for token_id in token_ids] == [
        character if character in PROSE else UNKNOWN for character in well_formed(text)
    ]


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_decode_is_the_join_of_token_bytes(tokenizers, kind, data):
    tokenizer = tokenizers[kind]
    token_ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=30))
    visible = [i for i in token_ids if i not in tokenizer.special_ids]
    expected = b"".join(tokenizer.token_bytes(i) for i in visible).decode("utf-8", "replace")
    assert tokenizer.decode(token_ids) == expected
    assert tokenizer.decode(visible, skip_special=False) == expected


@given(data=st.data())
def test_outside_tools_read_and_decode_the_same(tokenizers, data):
    bpe = tokenizers["bpe"]
    token_ids = data.draw(st.lists(st.integers(0, bpe.vocab_size - 1), max_size=30))
    outside = Library.from_str(bpe.document)
    assert outside.decode(token_ids, skip_special_tokens=False) == bpe.decode(
        token_ids, skip_special=False
    )


@pytest.mark.parametrize("kind", KINDS)
@given(text=any_text)
def test_outside_tools_encode_the_same_and_so_does_a_batch(tokenizers, kind, text):
    tokenizer = tokenizers[kind]
    outside = Library.from_str(tokenizer.document).encode(well_formed(text)).ids
    assert tokenizer.encode(text) == outside
    assert tokenizer.encode_batch(["", text]) == [[], outside]


LONG_TEXTS = {
    "prose": (PROSE + END_OF_TEXT) * 150 + "x" * 40_000 + PROSE * 30,
    "letters": "x" * 100_000,
    "Japanese": "日本語" * 30_000,
    "control characters": "\0" * 100_000,
    "spaces": " " * 100_000,
    "line ends": "\r\n" * 50_000,
    "names": END_OF_TEXT * 8_000,
    "digits": "12345" * 20_000,
    "accents": "e\u0301" * 50_000,
    "blanks": "a____" * 20_000,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LONG_TEXTS)
def test_long_text_is_encoded_in_parts_as_in_one(tokenizers, kind, name):
    tokenizer = tokenizers[kind]
    outside = Library.from_str(tokenizer.document)
    assert tokenizer.encode(LONG_TEXTS[name]) == outside.encode(LONG_TEXTS[name]).ids
    outside.encode_special_tokens = True
    plain = tokenizer.encode(LONG_TEXTS[name], parse_special=False)
    assert plain == outside.encode(LONG_TEXTS[name]).ids


def test_text_without_seams_takes_little_memory():
    """Encoded in one go it takes a hundred bytes and more for every token."""
    code = """
import resource, sys
from model.tokenizers import train_tokenizer
bpe = train_tokenizer("bpe", ["text"], 257)
bpe.encode("x" * 100_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert len(bpe.encode("\u65e5" * 400_000)) == 1_200_000
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
sys.exit(grown > 100 * 1024)
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr.decode()[-1000:]


@pytest.mark.parametrize("kind", KINDS)
def test_reserved_tokens_have_the_first_ids(tokenizers, kind):
    tokenizer = tokenizers[kind]
    assert (tokenizer.kind, tokenizer.end_of_text_id) == (kind, 0)
    assert tokenizer.special_ids == {0}
    assert tokenizer.unknown_id == (None if kind == "bpe" else 1)
    assert tokenizer.encode(END_OF_TEXT) == [0]
    assert tokenizer.encode(f"The{END_OF_TEXT}The").count(0) == 1
    assert tokenizer.token_text(0) == END_OF_TEXT
    if kind != "bpe":
        assert tokenizer.encode(UNKNOWN) == [1]
        assert tokenizer.decode([1]) == tokenizer.token_text(1) == UNKNOWN


@pytest.mark.parametrize("kind", KINDS)
def test_reserved_tokens_are_plain_text_where_that_is_asked(tokenizers, kind):
    tokenizer = tokenizers[kind]
    text = f"The {END_OF_TEXT} people"
    assert 0 not in tokenizer.encode(text, parse_special=False)
    assert tokenizer.encode_batch([text], parse_special=False) == [
        tokenizer.encode(text, parse_special=False)
    ]
    known = train_tokenizer(kind, [text], 1000)
    assert known.decode(known.encode(text, parse_special=False)) == text


def test_special_tokens_can_be_shown_or_left_out(tokenizers):
    bpe = tokenizers["bpe"]
    token_ids = [0, *bpe.encode("The people"), 0]
    assert bpe.decode(token_ids) == "The people"
    assert bpe.decode(token_ids, skip_special=False) == f"{END_OF_TEXT}The people{END_OF_TEXT}"
    assert bpe.token_bytes(0) == b""
    assert bpe.token_bytes(0, skip_special=False) == END_OF_TEXT.encode()


def test_tokens_that_are_no_text_are_shown_as_bytes(tokenizers):
    bpe = tokenizers["bpe"]
    [first, *rest] = bpe.encode("\U0001f600")
    assert bpe.token_text(first) == "bytes:\\xf0"
    assert b"".join(bpe.token_bytes(i) for i in [first, *rest]) == "\U0001f600".encode()
    assert bpe.decode([first]) == "\ufffd"
    texts = [bpe.token_text(token_id) for token_id in range(bpe.vocab_size)]
    assert len(set(texts)) == bpe.vocab_size


def test_words_keep_the_space_before_them(tokenizers):
    word = tokenizers["word"]
    text = "The people of Italy wasn't its capital; 1867.\n\n"
    assert [word.token_text(token_id) for token_id in word.encode(text)] == [
        *("The", " people", " of", " Italy", " wasn", "'t", " its", " capital", ";", " 1867", "."),
        *("\n", "\n"),
    ]


def test_words_and_characters_are_the_most_frequent():
    word = train_tokenizer("word", ["b a a\n", " a b c"], 5)
    assert [word.token_text(i) for i in range(word.vocab_size)] == [
        *(END_OF_TEXT, UNKNOWN),
        *(" a", "\n", " b"),
    ]
    char = train_tokenizer("char", ["aab", "bcc", "a"], 4)
    assert [char.token_text(i) for i in (2, 3)] == ["a", "b"]
    assert char.encode("abc") == [2, 3, 1]


def test_bpe_spends_one_token_on_a_frequent_word():
    bpe = train_tokenizer("bpe", ["the cat, the dog, the end"] * 5, 300)
    assert bpe.vocab_size <= 300
    assert [bpe.token_text(i) for i in bpe.encode("the end, the")] == ["the", " end", ",", " the"]


@pytest.mark.parametrize("kind", ["word", "bpe"])
@pytest.mark.parametrize(
    "run", ["a", " ", "\n", "-", "9", "\u0301", "é", "日", " a", "'s", "\t\xa0"]
)
def test_text_without_a_break_is_cut_into_short_pieces(kind, run):
    text = run * 100_000
    pieces = blank_tokenizer(kind, {}).pre_tokenizer.pre_tokenize_str(text)
    assert sum(end - start for _, (start, end) in pieces) == len(text)
    assert max(end - start for _, (start, end) in pieces) <= 65


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_pieces_cover_every_code_point(kind):
    text = "".join(chr(code) for code in range(0x20000) if not 0xD800 <= code < 0xE000)
    pieces = blank_tokenizer(kind, {}).pre_tokenizer.pre_tokenize_str(text)
    ends = [0, *(end for _, (_, end) in pieces)]
    assert [start for _, (start, _) in pieces] == ends[:-1]
    assert ends[-1] == len(text)


@pytest.mark.parametrize("kind", KINDS)
def test_ids_outside_the_vocabulary_are_refused(tokenizers, kind):
    tokenizer = tokenizers[kind]
    for token_id in (-1, tokenizer.vocab_size, 2**40):
        for ask in (
            tokenizer.token_bytes,
            tokenizer.token_text,
            lambda i: tokenizer.decode([2, i]),
        ):
            with pytest.raises(TokenizerError, match=f"token id {token_id} is outside"):
                ask(token_id)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_it_is_the_same(tokenizers, kind, tmp_path):
    tokenizer, path = tokenizers[kind], tmp_path / "tokenizer.json"
    tokenizer.save(path)
    loaded = Tokenizer.load(path)
    assert (loaded.kind, loaded.vocab_size) == (kind, tokenizer.vocab_size)
    assert loaded.digest == tokenizer.digest
    assert loaded.encode(PROSE) == tokenizer.encode(PROSE)
    assert loaded.document == tokenizer.document == path.read_bytes().decode()


def test_threads_share_one(tokenizers):
    tokenizer = tokenizers["bpe"]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(tokenizer.encode, [PROSE] * 64))
    assert all(answer == answers[0] for answer in answers)
    assert tokenizer.decode(answers[0]) == PROSE


TRAIN_IN_A_PROCESS = """
import sys
from model.tokenizers import train_tokenizer
texts = [line * (1 + number % 3) for number, line in enumerate(sys.argv[1].splitlines())]
print(*(train_tokenizer(kind, texts, 340).digest for kind in ("char", "word", "bpe")))
"""


def test_training_is_deterministic_across_processes_and_threads():
    digests = set()
    for seed, threads in (("1", "1"), ("2", "4"), ("3", "2")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": threads}
        command = [sys.executable, "-c", TRAIN_IN_A_PROCESS, PROSE * 20]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=120
        )
        digests.add(done.stdout)
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("kind", "vocab_size", "message"),
    [
        ("sentencepiece", 300, "tokenizer kind is 'sentencepiece'; it must be char, word or bpe"),
        ("bpe", 256, "vocab_size is 256; for bpe it must be from 257"),
        ("char", 2, "vocab_size is 2; for char it must be from 3"),
        ("word", 2_000_000, "it must be from 3 to 1000000"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(kind, vocab_size, message):
    with pytest.raises(ConfigurationError, match=message):
        train_tokenizer(kind, [PROSE], vocab_size)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_short_is_refused_by_name(tokenizers, kind, tmp_path):
    path = tmp_path / "tokenizer.json"
    content = tokenizers[kind].document.rstrip().encode()
    for length in [0, 1, len(content) // 3, len(content) // 2, len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(TokenizerError, match=re.escape(str(path))):
            Tokenizer.load(path)


def test_missing_binary_and_foreign_files_are_refused_by_name(tmp_path):
    path = tmp_path / "tokenizer.json"
    with pytest.raises(TokenizerError, match=re.escape(str(path))):
        Tokenizer.load(path)
    for content in (b"\x00\xff\xfe", b"{}", b"[]", b"null", b'"bpe"', b'{"model": 7}'):
        path.write_bytes(content)
        with pytest.raises(TokenizerError, match=re.escape(str(path))):
            Tokenizer.load(path)
    Library(models.Unigram([("a", 0.0)], unk_id=0)).save(str(path))
    with pytest.raises(TokenizerError, match="no char, word or bpe tokenizer"):
        Tokenizer.load(path)


def _rename(document, old, new):
    return document.replace(json.dumps(old), json.dumps(new))


def _with_library(document, change):
    library = Library.from_str(document)
    change(library)
    return library.to_str()


def _set_model(document, key, value):
    tree = json.loads(document)
    tree["model"][key] = value
    return json.dumps(tree)


@pytest.mark.parametrize(
    ("kind", "damage", "message"),
    [
        ("bpe", lambda d: _rename(d, END_OF_TEXT, "<s>"), r"id 0 is not the reserved token"),
        ("word", lambda d: _rename(d, UNKNOWN, "<unk>"), "unknown token is <unk>"),
        ("char", lambda d: _set_model(d, "unk_token", None), "unknown token is None"),
        ("char", lambda d: _set_model(d, "dropout", 0.5), "drops merges at random"),
        ("bpe", lambda d: _set_model(d, "dropout", 0.5), "drops merges at random"),
        ("bpe", lambda d: d.replace('"Ā": ', '"ĀĀĀ": '), "1 of the 256 bytes are missing"),
        ("bpe", lambda d: d.replace('"Ā": ', '"語": '), "not written in bytes"),
        ("word", lambda d: d.replace('" people": ', '" people": 9'), "not the whole numbers"),
        (
            "word",
            lambda d: _with_library(d, lambda t: setattr(t, "normalizer", normalizers.NFC())),
            "it has a normalizer",
        ),
        (
            "char",
            lambda d: _with_library(
                d, lambda t: setattr(t, "pre_tokenizer", pre_tokenizers.Whitespace())
            ),
            "no char, word or bpe tokenizer",
        ),
        ("bpe", lambda d: _with_library(d, lambda t: t.enable_truncation(5)), "has a truncation"),
    ],
)
def test_altered_files_are_refused(tokenizers, kind, damage, message, tmp_path):
    path = tmp_path / "tokenizer.json"
    altered = damage(tokenizers[kind].document)
    assert altered != tokenizers[kind].document
    path.write_text(altered, encoding="utf-8")
    with pytest.raises(TokenizerError, match=message):
        Tokenizer.load(path)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_a_file_with_a_changed_character_is_refused_or_works(tokenizers, kind, data):
    document = tokenizers[kind].document
    position = data.draw(st.integers(0, len(document) - 1))
    character = data.draw(st.sampled_from('"{}[]:,0a\\ n'))
    altered = document[:position] + character + document[position + 1 :]
    try:
        tokenizer = Tokenizer(altered)
    except TokenizerError:
        return
    token_ids = tokenizer.encode(PROSE + "\U0001f600 qqq")
    assert max(token_ids) < tokenizer.vocab_size
    tokenizer.decode(token_ids)
