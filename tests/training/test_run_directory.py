"""The run's directory: names that are safe, JSON that is whole."""

import pytest

from model.errors import ConfigurationError, TrainingError
from training.run_directory import RunDirectory, read_json, write_json


def test_everything_lies_inside_the_runs_own_folder(tmp_path):
    run = RunDirectory.of(tmp_path, "tales-2")
    assert run.name == "tales-2"
    paths = [
        getattr(run, name)
        for name, value in vars(RunDirectory).items()
        if isinstance(value, property) and name != "name"
    ]
    assert len(set(paths)) == len(paths) >= 10
    assert all(path.parent == tmp_path / "tales-2" for path in paths)


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a" * 65, "with space"])
def test_names_that_cannot_name_a_bundle_are_refused(tmp_path, name):
    with pytest.raises(ConfigurationError, match="name is"):
        RunDirectory.of(tmp_path, name)


def test_json_comes_back(tmp_path):
    write_json(tmp_path / "new" / "file.json", {"a": [1, 2.5, None, "ü"]})
    assert read_json(tmp_path / "new" / "file.json") == {"a": [1, 2.5, None, "ü"]}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file.json"]


@pytest.mark.parametrize("content", ["", '{"a": ', "[1]", "\x00"])
def test_damaged_json_is_a_clear_error(tmp_path, content):
    path = tmp_path / "file.json"
    path.write_text(content)
    with pytest.raises(TrainingError, match=r"file\.json"):
        read_json(path)


def test_a_missing_file_and_a_place_that_cannot_be_written_are_clear_errors(tmp_path):
    with pytest.raises(TrainingError, match="cannot read"):
        read_json(tmp_path / "missing.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="cannot write"):
        write_json(tmp_path / "file" / "x.json", {})
