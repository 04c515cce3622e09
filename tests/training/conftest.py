"""One small run through all stages, shared by the tests of the stages."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny_text import tiny_text

from training.run_directory import RunDirectory
from training.settings import GivenSettings, Settings


@dataclass(frozen=True)
class FinishedRun:
    """A run that went through all stages."""

    run: RunDirectory
    settings: Settings
    bundles: Path
    said: list[str]


def tiny_settings(**values: object) -> Settings:
    """Settings of a run that takes a second or two."""
    tiny = {"steps": 60, "hidden_size": 48, "vocab_size": 300, "batch_size": 8, "window": 16}
    return GivenSettings({}, {}).over({**tiny, **values})


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text file of 200 kB."""
    path = tmp_path_factory.mktemp("corpus") / "tales.txt"
    path.write_text(tiny_text(200_000), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> FinishedRun:
    """The run. Tests must not change it."""
    from training.pipeline import Pipeline

    home = tmp_path_factory.mktemp("home")
    run = RunDirectory.of(home / "runs", "tales")
    settings = tiny_settings(corpus=corpus, runs=home / "runs", bundles=home / "bundles", steps=400)
    said: list[str] = []
    Pipeline(run, settings, said.append).run_all()
    return FinishedRun(run, settings, home / "bundles", said)
