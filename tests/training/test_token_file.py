"""Ids on disk: written, mapped, and checked."""

import numpy as np
import pytest

from model.errors import CorpusError
from training.token_file import TokenFile, TokenFileWriter, token_dtype


@pytest.mark.parametrize(
    ("vocab_size", "dtype"), [(300, "<u2"), (65_536, "<u2"), (65_537, "<u4"), (200_000, "<u4")]
)
def test_ids_come_back_in_the_smallest_type(tmp_path, vocab_size, dtype):
    path = tmp_path / "train.bin"
    largest = vocab_size - 1
    with TokenFileWriter(path, vocab_size) as writer:
        writer.append([0, 5])
        writer.append(np.array([largest], token_dtype(vocab_size)))
        writer.append([])
        assert writer.num_tokens == 3
    file = TokenFile(path, vocab_size)
    ids = file.ids()
    assert ids.dtype == np.dtype(dtype)
    assert ids.tolist() == [0, 5, largest]
    assert isinstance(ids, np.memmap)
    assert not ids.flags.writeable
    assert path.read_bytes() == np.array([0, 5, largest], dtype).tobytes()


def test_an_empty_file_has_no_ids(tmp_path):
    with TokenFileWriter(tmp_path / "a.bin", 300):
        pass
    assert len(TokenFile(tmp_path / "a.bin", 300).ids()) == 0


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"xx")
    with pytest.raises(FileExistsError):
        TokenFileWriter(tmp_path / "a.bin", 300)


def test_damaged_and_missing_files_are_refused_by_name(tmp_path):
    path = tmp_path / "a.bin"
    with pytest.raises(CorpusError, match=r"a\.bin cannot be read"):
        TokenFile(path, 300).ids()
    path.write_bytes(b"xxx")
    with pytest.raises(CorpusError, match=r"a\.bin is damaged"):
        TokenFile(path, 300).ids()
