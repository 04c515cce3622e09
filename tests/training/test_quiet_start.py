"""Native chatter is held back, and shown after all when loading fails."""

import os

import pytest

from training.quiet_start import quiet_start


def test_what_native_code_says_while_loading_is_not_shown(capfd):
    with quiet_start():
        os.write(2, b"could not find cuda\n")
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "afterwards\n"


def test_it_is_shown_when_loading_fails(capfd):
    with pytest.raises(ImportError), quiet_start():
        os.write(2, b"illegal instruction\n")
        raise ImportError("no")
    assert "illegal instruction" in capfd.readouterr().err
