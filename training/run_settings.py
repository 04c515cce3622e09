"""The settings of a run: kept with it, so that it can go on, and guarded against contradiction."""

from __future__ import annotations

import shutil

from model.errors import ConfigurationError
from training.checkpoint import has_checkpoint
from training.run_directory import RunDirectory, read_json, write_json
from training.settings import GivenSettings, Settings, flag, stage_of


def resolve_settings(
    run: RunDirectory, given: GivenSettings, *, restart: bool, is_chief: bool = True
) -> Settings:
    """What is given now over what the run was started with over the defaults; saved with the run.

    With ``restart`` all that was trained so far is discarded (published versions stay). Of several
    processes that train together only the chief changes the directory.

    Raises:
        ConfigurationError: a value is out of bounds, or contradicts work already done.
        TrainingError: the run's directory cannot be read or written.
    """
    saved = read_json(run.settings) if run.settings.exists() else {}
    settings = given.over(saved)
    if not is_chief:
        return settings
    if restart:
        discard_training(run)
    elif has_checkpoint(run.checkpoints):
        _refuse_changes(run, GivenSettings({}, {}).over(saved), settings)
    write_json(run.settings, settings.model_dump(mode="json"))
    return settings


def _refuse_changes(run: RunDirectory, before: Settings, now: Settings) -> None:
    for key in Settings.model_fields:
        was, wanted = getattr(before, key), getattr(now, key)
        if was != wanted and stage_of(key) != "any":
            raise ConfigurationError(
                f"{flag(key)} is {wanted}, but run {run.name} was started with "
                f"{'none' if was is None else was}; give --restart to train it anew, or choose "
                "another --name"
            )


def discard_training(run: RunDirectory) -> None:
    """Removes all that came after ``prepare``; what was published stays published."""
    for folder in (run.checkpoints, run.events, run.export):
        shutil.rmtree(folder, ignore_errors=True)
    for file in (run.plan, run.log, run.evaluation, run.network, run.exported):
        file.unlink(missing_ok=True)
