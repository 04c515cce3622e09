"""The command line of the pipeline: ``python -m training COMMAND``.

python -m training run --corpus PATH --name NAME --minutes 10
python -m training train --name NAME          # goes on where it was killed
python -m training run --corpus PATH --name MINE --from bundles/travel --minutes 5
python -m training rollback NAME [VERSION]
"""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from model.bundle.publish import rollback
from model.errors import ForetokenError
from training.run_directory import RunDirectory
from training.settings import Settings, flag, given_settings, variable

STAGES = {
    "run": ("All stages: prepare, train, evaluate, export, publish.", "run_all"),
    "prepare": ("Corpus to tokenizer and token ids.", "prepare"),
    "train": ("Token ids to weights; goes on where it was stopped.", "train"),
    "evaluate": ("Scores on held-out text: float, int8, n-grams.", "evaluate"),
    "export": ("A bundle's files, with report and model card.", "export"),
    "publish": ("The exported bundle becomes the version served.", "publish"),
}


class _ClearErrors(click.Group):
    """Shows an error of this project as one line, with exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - as in click
        try:
            return super().invoke(ctx)
        except ForetokenError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(2)


@click.group(cls=_ClearErrors, context_settings={"max_content_width": 100})
@click.option("--verbose", is_flag=True, help="Show what is decided on the way.")
def main(verbose: bool) -> None:
    """From your own text to a published language model.

    Every setting can also be given as a FORETOKEN_* variable; a flag wins over it.
    """
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
    )


def _setting_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds one option per setting. Values stay text: ``training.settings`` reads them."""
    for setting in reversed(dataclasses.fields(Settings)):
        default = "" if setting.default is None else f"  [{setting.default}]"
        command = click.option(
            flag(setting.name),
            setting.name,
            metavar="VALUE",
            help=f"{setting.metadata['help']}{default}  ({variable(setting.name)})",
        )(command)
    return command


def _add_stage(name: str, help_text: str, method: str) -> None:
    @main.command(name, help=help_text)
    @click.option("--name", required=True, help="name of the run, and of the bundle it becomes")
    @click.option("--restart", is_flag=True, help="discard what this run has trained so far")
    @_setting_options
    def stage(name: str, restart: bool, **flags: str | None) -> None:
        given = given_settings(flags, os.environ)
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        # TensorFlow takes seconds to load: only once the settings are known to be sound.
        from training.pipeline import Pipeline, resolve_settings  # noqa: PLC0415

        run = RunDirectory.of(given.get("runs", Settings().runs), name)
        settings = resolve_settings(run, given, restart=restart)
        getattr(Pipeline(run, settings, click.echo), method)()


for _name, (_help_text, _method) in STAGES.items():
    _add_stage(_name, _help_text, _method)


@main.command("rollback")
@click.argument("name")
@click.argument("version", type=int, required=False)
@click.option("--bundles", metavar="FOLDER", help="folder of published bundles  [bundles]")
def rollback_command(name: str, version: int | None, bundles: str | None) -> None:
    """Serve VERSION of NAME again, or the version before the current one."""
    given = given_settings({"bundles": bundles}, os.environ)
    folder: Path = given.get("bundles", Settings().bundles)
    click.echo(f"now served: {folder / name} version {rollback(folder, name, version)}")


if __name__ == "__main__":
    sys.exit(main(prog_name="python -m training"))
