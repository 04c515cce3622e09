"""Checkpoints: whole or not at all, the last two kept, damage noticed, a full disk told."""

import logging
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from model.errors import TrainingError
from training.checkpoint import (
    Checkpoint,
    has_checkpoint,
    newest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)

PROJECT = Path(__file__).parents[2]


def checkpoint(step: int) -> Checkpoint:
    random = np.random.default_rng(step)
    return Checkpoint(
        {
            "weights/layer_0/kernel": random.normal(size=(20, 30)).astype(np.float32),
            "weights/output/bias": np.zeros(0, np.float32),
            "state": np.full((2, 3), np.nan, np.float32),
        },
        {"step": step, "best_loss": float("inf"), "finished": False, "last_validation": None},
    )


def test_what_is_written_is_read_back_bit_for_bit(tmp_path):
    path = write_checkpoint(tmp_path / "new", checkpoint(7))
    found = read_checkpoint(path)
    assert found.meta == checkpoint(7).meta
    for name, value in checkpoint(7).arrays.items():
        assert found.arrays[name].tobytes() == value.tobytes()
        assert found.arrays[name].dtype == value.dtype
    assert list(found.group("weights")) == ["layer_0/kernel", "output/bias"]


def test_the_newest_two_are_kept_and_the_newest_is_found(tmp_path):
    for step in (3, 20, 100):
        write_checkpoint(tmp_path, checkpoint(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-0000000020.npz",
        "step-0000000100.npz",
    ]
    assert newest_checkpoint(tmp_path).meta["step"] == 100


def test_where_there_never_was_one_there_is_none(tmp_path):
    assert newest_checkpoint(tmp_path / "missing") is None
    assert not has_checkpoint(tmp_path / "missing")


def damage_by_cutting(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damage_by_emptying(path: Path) -> None:
    path.write_bytes(b"")


def damage_by_flipping_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(bytes(data))


def damage_by_other_content(path: Path) -> None:
    np.savez(path, something=np.arange(3))


@pytest.mark.parametrize(
    "damage",
    [
        damage_by_cutting,
        damage_by_emptying,
        damage_by_flipping_a_bit,
        damage_by_other_content,
    ],
)
def test_a_damaged_newest_is_passed_over_with_a_warning(tmp_path, damage, caplog):
    write_checkpoint(tmp_path, checkpoint(1))
    damage(write_checkpoint(tmp_path, checkpoint(2)))
    assert has_checkpoint(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert newest_checkpoint(tmp_path).meta["step"] == 1
    assert "step-0000000002.npz is damaged" in caplog.text


def test_all_damaged_is_an_error_that_says_what_to_do(tmp_path):
    damage_by_cutting(write_checkpoint(tmp_path, checkpoint(1)))
    with pytest.raises(TrainingError, match=r"every checkpoint .* is damaged; .*--restart"):
        newest_checkpoint(tmp_path)


def test_pickled_objects_are_not_read(tmp_path):
    path = tmp_path / "step-0000000001.npz"
    np.savez(path, meta=np.array([{"step": 1}], object))
    with pytest.raises(TrainingError, match="damaged"):
        read_checkpoint(path)


def test_no_room_is_a_clear_error_and_the_old_checkpoint_stays(tmp_path):
    write_checkpoint(tmp_path, checkpoint(1))
    limit = 1_000
    assert (tmp_path / "step-0000000001.npz").stat().st_size > limit
    code = f"""
        import resource, signal, sys
        from pathlib import Path
        sys.path[:0] = [{str(PROJECT)!r}, {str(Path(__file__).parent)!r}]
        from test_checkpoint import checkpoint
        from model.errors import TrainingError
        from training.checkpoint import write_checkpoint
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
        try:
            write_checkpoint(Path({str(tmp_path)!r}), checkpoint(2))
        except TrainingError as error:
            sys.exit(str(error))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "cannot write the checkpoint" in done.stderr
    assert "Free some space" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000000001.npz"]
    assert newest_checkpoint(tmp_path).meta["step"] == 1
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != limit
