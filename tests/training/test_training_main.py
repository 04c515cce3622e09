"""The command line: flags, variables, errors of one line, exit codes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from model.bundle.versions import read_current
from training.__main__ import STAGES, main
from training.publish import publish_run
from training.run_directory import RunDirectory, read_json
from training.settings import Settings, flag


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    """Runs a command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    return lambda *arguments, **options: runner.invoke(main, list(arguments), **options)


def one_error(result) -> str:
    assert result.exit_code == 2, result.output
    (line,) = [line for line in result.stderr.splitlines() if line]
    assert line.startswith("error: ")
    return line


def test_every_stage_offers_every_setting_and_says_what_it_does(invoke):
    for stage, (help_text, _) in STAGES.items():
        shown = invoke(stage, "--help").output
        assert help_text in shown
        for key in Settings.model_fields:
            assert flag(key) in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--name", "x"), "--corpus is missing"),
        (("run", "--name", "x", "--corpus", "nowhere"), "nowhere does not exist"),
        (("run", "--name", "../x"), "bundle name is '../x'"),
        (("run", "--name", "x", "--minutes", "-1"), "--minutes is '-1'; it should be greater"),
        (("run", "--name", "x", "--layers", "many"), "--layers is 'many'"),
        (("prepare", "--name", "x", "--corpus", "."), "holds no .txt"),
        (("train", "--name", "x"), "not prepared yet"),
        (("evaluate", "--name", "x"), "not trained yet"),
        (("export", "--name", "x"), "not trained yet"),
        (("publish", "--name", "x"), "not evaluated yet"),
        (("run", "--name", "x", "--corpus", ".", "--from", "gone"), "there is no bundle at gone"),
        (("rollback", "x"), "no version of x is published"),
    ],
)
def test_a_mistake_is_one_clear_line_and_exit_code_2(invoke, arguments, message):
    assert message in one_error(invoke(*arguments))


def test_a_mistaken_variable_is_named(invoke):
    result = invoke("train", "--name", "x", env={"FORETOKEN_SEED": "x"})
    assert "FORETOKEN_SEED is 'x'" in one_error(result)


@pytest.mark.parametrize(
    "arguments", [("run",), ("fly",), ("run", "--name", "x", "--speed", "3"), ("rollback",)]
)
def test_wrong_usage_is_told_with_exit_code_2(invoke, arguments):
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr


def test_settings_are_kept_with_the_run(invoke, tmp_path):
    invoke("train", "--name", "x", "--runs", "r", env={"FORETOKEN_WINDOW": "9"})
    saved = read_json(tmp_path / "r" / "x" / "settings.json")
    assert (saved["window"], saved["runs"]) == (9, "r")


def test_rollback_serves_the_version_before_or_the_one_named(invoke, finished, tmp_path):
    run = RunDirectory(tmp_path / "runs" / "tales")
    run.root.mkdir(parents=True)
    run.export.symlink_to(finished.run.export)
    for _ in range(3):
        run.published.unlink(missing_ok=True)
        publish_run(run, tmp_path / "bundles")
    assert "version 2" in invoke("rollback", "tales").output
    assert read_current(tmp_path / "bundles" / "tales") == 2
    assert "version 3" in invoke("rollback", "tales", "3").output
    assert "has no version 7" in one_error(invoke("rollback", "tales", "7"))


def test_where_only_the_serving_part_is_installed_the_rest_is_named(tmp_path):
    program = (
        "import runpy, sys; sys.modules['tensorflow'] = None; "
        "runpy.run_module('training', run_name='__main__')"
    )
    command = [sys.executable, "-c", program, "run", "--name", "x", "--corpus", str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(
        command, cwd=tmp_path, env=env, check=False, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: training needs tensorflow, which is not installed here")
    assert "pip install '.[train]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
