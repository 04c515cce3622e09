"""A run remembers its settings, and refuses those that contradict what it has done."""

from pathlib import Path

import pytest

from model.errors import ConfigurationError
from training.checkpoint import Checkpoint, write_checkpoint
from training.run_directory import RunDirectory, write_json
from training.run_settings import resolve_settings
from training.settings import given_settings


@pytest.fixture
def run(tmp_path) -> RunDirectory:
    return RunDirectory(tmp_path / "tales")


def resolve(run, restart=False, environ=None, **flags):
    return resolve_settings(run, given_settings(flags, environ or {}), restart=restart)


def begin_training(run) -> None:
    write_checkpoint(run.checkpoints, Checkpoint({}, {"step": 1}))
    write_json(run.plan, {})
    run.log.write_text("{}")


def test_later_stages_know_what_the_first_was_given(run):
    resolve(run, corpus="texts", minutes="3")
    later = resolve(run)
    assert (later.corpus, later.minutes) == (Path("texts"), 3.0)


def test_before_training_begins_settings_may_change(run):
    resolve(run, minutes="3")
    assert resolve(run, minutes="4").minutes == 4.0
    assert resolve(run).minutes == 4.0


@pytest.mark.parametrize(
    ("key", "value", "flag"),
    [("minutes", "4", "--minutes"), ("corpus", "other", "--corpus"), ("layers", "2", "--layers")],
)
def test_once_it_has_begun_they_may_not(run, key, value, flag):
    resolve(run, corpus="texts", minutes="3")
    begin_training(run)
    with pytest.raises(ConfigurationError, match=f"{flag} is {value}.*, but run tales .*--restart"):
        resolve(run, **{key: value})
    assert resolve(run).minutes == 3.0


def test_a_variable_that_contradicts_is_refused_too(run):
    resolve(run, minutes="3")
    begin_training(run)
    with pytest.raises(ConfigurationError, match="--window is 7"):
        resolve(run, environ={"FORETOKEN_WINDOW": "7"})


def test_the_same_value_again_and_settings_that_change_no_result_are_fine(run):
    resolve(run, minutes="3")
    begin_training(run)
    assert resolve(run, minutes="3.0", evaluation_tokens="10").evaluation_tokens == 10


def test_restart_discards_the_training_and_takes_the_new_settings(run):
    resolve(run, corpus="texts", minutes="3")
    begin_training(run)
    write_json(run.published, {"version": 1})
    settings = resolve(run, restart=True, minutes="4")
    assert (settings.corpus, settings.minutes) == (Path("texts"), 4.0)
    left = {path.name for path in run.root.iterdir()}
    assert left == {"settings.json", "published.json"}


def test_a_bad_value_discards_nothing(run):
    begin_training(run)
    with pytest.raises(ConfigurationError):
        resolve(run, restart=True, minutes="-1")
    assert run.checkpoints.exists()
    assert not run.settings.exists()
