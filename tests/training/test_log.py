"""log.jsonl and TensorBoard events: what is written, and what a killed run leaves."""

import json

import pytest

from model.errors import TrainingError
from training.log import TrainingLog
from training.log_records import read_log


def test_records_are_appended_and_read_back(tmp_path):
    log = TrainingLog(tmp_path / "log.jsonl", tmp_path / "events", step=0)
    log.write({"step": 1, "loss": 2.5})
    log.write({"step": 2, "loss": 2.25})
    log.close()
    assert read_log(tmp_path / "log.jsonl") == [{"step": 1, "loss": 2.5}, {"step": 2, "loss": 2.25}]


def test_tensorboard_gets_the_same_numbers(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    log = TrainingLog(tmp_path / "log.jsonl", tmp_path / "events", step=0)
    log.write({"step": 5, "loss": 1.5})
    log.close()
    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    (event,) = events.Tensors("loss")
    assert (event.step, float(make_ndarray(event.tensor_proto))) == (5, 1.5)


def test_records_behind_the_checkpoint_are_dropped_on_going_on(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in (1, 5, 9)))
    log = TrainingLog(path, tmp_path / "events", step=5)
    log.write({"step": 6})
    log.close()
    assert [record["step"] for record in read_log(path)] == [1, 5, 6]


def test_a_half_written_last_line_is_left_out(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"step": 2, "lo')
    assert read_log(path) == [{"step": 1}]


def test_what_training_went_back_behind_is_left_out(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(f'{{"step": {step}, "n": {n}}}\n' for n, step in enumerate([1, 7, 3])))
    assert [record["n"] for record in read_log(path)] == [0, 2]


def test_no_file_is_no_record(tmp_path):
    assert read_log(tmp_path / "log.jsonl") == []


def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="cannot write"):
        TrainingLog(tmp_path / "file" / "log.jsonl", tmp_path / "events", step=0)
