"""``Tokenizer``: text to token ids and back, around one Hugging Face ``tokenizers`` object."""

from __future__ import annotations

import bisect
import hashlib
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer as Library

from model.errors import TokenizerError
from model.tokenizers.byte_alphabet import BYTE_OF_CHARACTER, token_to_bytes
from model.tokenizers.kinds import END_OF_TEXT, UNKNOWN, TokenizerKind, kind_of

_SURROGATE = re.compile("[\ud800-\udfff]")
_SEAM = re.compile(r"\w[ \n]")
_PART_CHARACTERS = 32_768
_MAX_PART_CHARACTERS = 40_960
#: Of what the kinds' patterns let be a piece of text, with the space before it.
_MAX_PIECE_CHARACTERS = 66


class Tokenizer:
    """A tokenizer of kind ``char``, ``word`` or ``bpe``; immutable, and safe to share by threads.

    Nothing is normalised: text comes back as it went in, wherever the vocabulary covers it
    (``bpe``: always). Only lone surrogates, which no UTF-8 can hold, become U+FFFD first.

    Attributes:
        kind: ``char``, ``word`` or ``bpe``.
        vocab_size: number of token ids, reserved ones included; ids are 0 to ``vocab_size`` - 1.
        document: the text of ``tokenizer.json``.
        digest: sha256 of ``tokenizer.json``, hexadecimal.
        end_of_text_id: id of ``<|endoftext|>``, which separates documents.
        unknown_id: id of ``<|unk|>``; None for ``bpe``. It is decoded as its name.
        special_ids: ids that stand for no text. ``<|endoftext|>`` alone.
    """

    kind: TokenizerKind
    vocab_size: int
    document: str
    digest: str
    end_of_text_id: int
    unknown_id: int | None
    special_ids: frozenset[int]

    def __init__(self, document: str) -> None:
        """Read the text of a ``tokenizer.json``.

        Raises:
            TokenizerError: it is damaged, or no tokenizer of this project.
        """
        self.document = document
        self._library = _read_library(document)
        kind = kind_of(self._library)
        if kind is None:
            raise TokenizerError("it is no char, word or bpe tokenizer of this project")
        _check_model(self._library, kind)
        self.kind = kind
        self.vocab_size = self._library.get_vocab_size()
        self.digest = hashlib.sha256(document.encode("utf-8")).hexdigest()
        self.end_of_text_id = _reserved_id(self._library, END_OF_TEXT, 0)
        self.unknown_id = None if kind == "bpe" else _reserved_id(self._library, UNKNOWN, 1)
        self.special_ids = frozenset([self.end_of_text_id])
        self._names = _token_names(self._library)
        self._bytes = self._token_table()

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Read ``tokenizer.json``.

        Raises:
            TokenizerError: the file is missing, damaged, or no tokenizer of this project; the
                message names it.
        """
        try:
            return cls(path.read_bytes().decode("utf-8"))
        except (OSError, UnicodeDecodeError, TokenizerError) as error:
            raise TokenizerError(f"{path} cannot be used as a tokenizer: {error}") from error

    def save(self, path: Path) -> None:
        """Write ``tokenizer.json``, byte for byte as it was read or trained."""
        path.write_bytes(self.document.encode("utf-8"))

    def encode(self, text: str, *, parse_special: bool = True) -> list[int]:
        """Token ids of ``text``.

        Long text is encoded in parts of about 32,768 characters, cut where the whole is cut, so
        that memory stays small and time linear: about 0.3 s for a megabyte of prose.

        Args:
            text: any string; lone surrogates count as U+FFFD.
            parse_special: whether the name of a reserved token, written out in the text, is that
                token; else it is plain text.
        """
        library = self._library if parse_special else self._plain_library
        text = replace_surrogates(text)
        token_ids: list[int] = []
        start = 0
        while len(text) - start > _MAX_PART_CHARACTERS:
            seam = _SEAM.search(text, start + _PART_CHARACTERS, start + _MAX_PART_CHARACTERS)
            if seam is None:
                part = text[start : start + _MAX_PART_CHARACTERS]
                part_ids, num_characters = self._encode_beginning(library, part)
                token_ids += part_ids
                start += num_characters
            else:
                token_ids += _encode_fast(library, text[start : seam.start() + 1])
                start = seam.start() + 1
        return token_ids + _encode_fast(library, text[start:])

    def _encode_beginning(self, library: Library, part: str) -> tuple[list[int], int]:
        """Token ids for a beginning of ``part`` that any more text would not change; its length.

        No piece and no name of a reserved token is longer than ``_MAX_PIECE_CHARACTERS``, and what
        is cut off between two pieces is encoded by itself as it is in the whole.
        """
        encoding = library.encode(part, add_special_tokens=False)
        pieces = encoding.word_ids
        index = bisect.bisect_right(encoding.offsets, (len(part) - 2 * _MAX_PIECE_CHARACTERS, 0))
        while self.kind != "char" and pieces[index] == pieces[index - 1]:
            index -= 1
        return encoding.ids[:index], encoding.offsets[index][0]

    def encode_batch(self, texts: Sequence[str], *, parse_special: bool = True) -> list[list[int]]:
        """Token ids of each of ``texts``, on all processor cores."""
        library = self._library if parse_special else self._plain_library
        clean = [replace_surrogates(text) for text in texts]
        encodings = library.encode_batch_fast(clean, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def decode(self, token_ids: Sequence[int], *, skip_special: bool = True) -> str:
        """The text of ``token_ids``; bytes that are no UTF-8 become U+FFFD, as Python's "replace".

        Args:
            token_ids: ids within the vocabulary.
            skip_special: whether ``<|endoftext|>`` contributes nothing; else its name.

        Raises:
            TokenizerError: an id lies outside the vocabulary.
        """
        parts = [self.token_bytes(token_id, skip_special=skip_special) for token_id in token_ids]
        return b"".join(parts).decode("utf-8", "replace")

    def token_bytes(self, token_id: int, *, skip_special: bool = True) -> bytes:
        """The UTF-8 bytes that ``token_id`` contributes to a text.

        Joined over any ids and decoded with "replace" they are ``decode`` of those ids.

        Raises:
            TokenizerError: the id lies outside the vocabulary.
        """
        self._check(token_id)
        if skip_special or token_id not in self.special_ids:
            return self._bytes[token_id]
        return self._names[token_id].encode("utf-8")

    def token_text(self, token_id: int) -> str:
        r"""``token_id`` as shown in lists of tokens.

        Its text; ``bytes:\xe2\x80`` for a token that is no UTF-8 by itself; the name of a reserved
        token.

        Raises:
            TokenizerError: the id lies outside the vocabulary.
        """
        self._check(token_id)
        if token_id in self.special_ids:
            return self._names[token_id]
        raw = self._bytes[token_id]
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)

    def _check(self, token_id: int) -> None:
        if not 0 <= token_id < self.vocab_size:
            raise TokenizerError(
                f"token id {token_id} is outside the vocabulary; ids are 0 to {self.vocab_size - 1}"
            )

    def _token_table(self) -> list[bytes]:
        """Bytes of every token, by id; empty for special ones."""
        table = []
        for token_id, name in enumerate(self._names):
            if token_id in self.special_ids:
                table.append(b"")
            elif self.kind != "bpe":
                table.append(name.encode("utf-8"))
            else:
                try:
                    table.append(token_to_bytes(name))
                except KeyError as error:
                    raise TokenizerError(f"token {name!r} is not written in bytes") from error
        missing = [] if self.kind != "bpe" else set(BYTE_OF_CHARACTER) - set(self._names)
        if missing:
            raise TokenizerError(f"{len(missing)} of the 256 bytes are missing from the vocabulary")
        return table

    @cached_property
    def _plain_library(self) -> Library:
        """The same tokenizer, reading the names of reserved tokens as plain text."""
        library = Library.from_str(self.document)
        library.encode_special_tokens = True
        return library


def replace_surrogates(text: str) -> str:
    """``text`` with every lone surrogate, which UTF-8 cannot hold, as U+FFFD."""
    return _SURROGATE.sub("\ufffd", text)


def _read_library(document: str) -> Library:
    try:
        library = Library.from_str(document)
    except Exception as error:  # the library raises nothing more specific
        raise TokenizerError(f"it is damaged or no tokenizer.json ({error})") from error
    altering = [
        name
        for name in ("normalizer", "post_processor", "truncation", "padding")
        if getattr(library, name) is not None
    ]
    if altering:
        raise TokenizerError(f"it has a {altering[0]}; tokenizers here leave text as it is")
    return library


def _check_model(library: Library, kind: TokenizerKind) -> None:
    """Refuse a model that would fail, or answer at random, when it meets an unknown token."""
    expected = None if kind == "bpe" else UNKNOWN
    if library.model.unk_token != expected:
        raise TokenizerError(f"its unknown token is {library.model.unk_token}, not {expected}")
    if kind != "word" and library.model.dropout:
        raise TokenizerError("it drops merges at random; tokenizers here always answer the same")


def _reserved_id(library: Library, name: str, expected: int) -> int:
    added = library.get_added_tokens_decoder().get(expected)
    if added is None or added.content != name or not added.special:
        raise TokenizerError(f"id {expected} is not the reserved token {name}")
    return expected


def _token_names(library: Library) -> list[str]:
    """The tokens as written in the vocabulary, by id."""
    vocab: dict[str, int] = library.get_vocab()
    names = sorted(vocab, key=vocab.__getitem__)
    if [vocab[name] for name in names] != list(range(library.get_vocab_size())):
        raise TokenizerError("its token ids are not the whole numbers from 0 on")
    return names


def _encode_fast(library: Library, text: str) -> list[int]:
    token_ids: list[int] = library.encode_batch_fast([text], add_special_tokens=False)[0].ids
    return token_ids
