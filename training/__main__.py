"""The command line of the pipeline: ``python -m training COMMAND``.

python -m training run --corpus PATH --name NAME --minutes 10
python -m training train --name NAME          # goes on where it was killed
python -m training run --corpus PATH --name MINE --from bundles/travel --minutes 5
python -m training rollback NAME [VERSION]
python -m training fetch --to books --list training/lists/travel.txt
python -m training sentences --out FILE.jsonl --count 60000
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from model.bundle.publish import rollback
from model.errors import ConfigurationError, ForetokenError
from training.fetch.command import fetch_command
from training.language_sentences.documents import write_documents
from training.processor_cores import use_cores
from training.quiet_start import quiet_start
from training.run_directory import RunDirectory
from training.run_settings import resolve_settings
from training.settings import Settings, flag, given_settings

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
    for key, setting in reversed(Settings.model_fields.items()):
        default = "" if setting.default is None else f" [{setting.default}]"
        command = click.option(
            flag(key), key, metavar="VALUE", help=f"{setting.description}{default}"
        )(command)
    return command


def _add_stage(name: str, help_text: str, method: str) -> None:
    @main.command(name, help=help_text)
    @click.option("--name", required=True, help="name of the run, and of the bundle it becomes")
    @click.option("--restart", is_flag=True, help="discard what this run has trained so far")
    @_setting_options
    def stage(name: str, restart: bool, **flags: str | None) -> None:
        given = given_settings(flags, os.environ)
        run = RunDirectory.of(given.over({}).runs, name)
        settings = resolve_settings(run, given, restart=restart)
        use_cores()
        with quiet_start():
            # TensorFlow takes seconds to load: only once the settings are known to be sound.
            try:
                from training.pipeline import Pipeline  # noqa: PLC0415
            except ModuleNotFoundError as error:
                package = (error.name or "more packages").partition(".")[0]
                raise ConfigurationError(
                    f"training needs {package}, which is not installed here; "
                    "in Foretoken's folder: pip install '.[train]'"
                ) from error
        getattr(Pipeline(run, settings, click.echo), method)()


for _name, (_help_text, _method) in STAGES.items():
    _add_stage(_name, _help_text, _method)


main.add_command(fetch_command)


@main.command("rollback")
@click.argument("name")
@click.argument("version", type=int, required=False)
@click.option("--bundles", metavar="FOLDER", help="folder of published bundles  [bundles]")
def rollback_command(name: str, version: int | None, bundles: str | None) -> None:
    """Serve VERSION of NAME again, or the version before the current one."""
    folder = given_settings({"bundles": bundles}, os.environ).over({}).bundles
    click.echo(f"now served: {folder / name} version {rollback(folder, name, version)}")


@main.command("sentences")
@click.option("--out", "path", type=click.Path(path_type=Path), required=True, metavar="FILE")
@click.option("--count", type=int, default=60_000, help="passages in all  [60000]")
@click.option("--seed", type=int, default=1, help="the same seed gives the same file  [1]")
@click.option(
    "--prose",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="texts to take paragraphs from that stand between a country and its language",
)
def sentences_command(path: Path, count: int, seed: int, prose: Path | None) -> None:
    """Write made-up passages that teach which language is spoken where.

    FILE is a .jsonl file, one document per line, or a .txt file.
    """
    size = write_documents(path, count, seed, prose)
    click.echo(f"{path}: {count:,} passages, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    sys.exit(main(prog_name="python -m training"))
