"""The command line of the pipeline: ``python -m training COMMAND``.

python -m training run --corpus PATH --name NAME --minutes 10
python -m training train --name NAME          # goes on where it was killed
python -m training run --corpus PATH --name MINE --from bundles/travel --minutes 5
python -m training rollback NAME [VERSION]
python -m training fetch --to books --list training/lists/travel.txt
python -m training sentences --out FILE.jsonl --count 60000
python -m training report NAME OTHER --output comparison.html
python -m training remember --corpus PATH --output memory
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from model.bundle.publish import rollback
from model.errors import ConfigurationError, ForetokenError
from training.cluster import cluster_of
from training.fetch.command import fetch_command
from training.language_sentences.documents import write_documents
from training.processor_cores import use_cores
from training.quiet_start import quiet_start
from training.run_directory import RunDirectory
from training.run_settings import resolve_settings
from training.settings import REMEMBER_DEFAULTS, Settings, flag, given_settings

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


def _setting_options(
    keys: Iterable[str], defaults: Mapping[str, str]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds one option for each of ``keys``. Values stay text: ``training.settings`` reads them."""

    def add(command: Callable[..., None]) -> Callable[..., None]:
        for key in reversed([*keys]):
            setting = Settings.model_fields[key]
            description = setting.description or ""
            if key in defaults:
                description = f"{description.partition(' [')[0]} [{defaults[key]}]"
            elif setting.default is not None:
                description += f" [{setting.default}]"
            command = click.option(flag(key), key, metavar="VALUE", help=description)(command)
        return command

    return add


def _add_stage(name: str, help_text: str, method: str) -> None:
    @main.command(name, help=help_text)
    @click.option("--name", required=True, help="name of the run, and of the bundle it becomes")
    @click.option("--restart", is_flag=True, help="discard what this run has trained so far")
    @_setting_options(Settings.model_fields, {})
    def stage(name: str, restart: bool, **flags: str | None) -> None:
        given = given_settings(flags, os.environ)
        run = RunDirectory.of(given.over({}).runs, name)
        cluster = cluster_of(os.environ)
        settings = resolve_settings(run, given, restart=restart, is_chief=cluster.is_chief)
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
        getattr(Pipeline(run, settings, click.echo, cluster), method)()


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
@click.option("--max-words", type=int, help="leave longer passages out, for a first lesson  [all]")
def sentences_command(
    path: Path, count: int, seed: int, prose: Path | None, max_words: int | None
) -> None:
    """Write made-up passages that teach which language is spoken where.

    FILE is a .jsonl file, one document per line, or a .txt file.
    """
    size = write_documents(path, count, seed, prose, max_words)
    click.echo(f"{path}: {count:,} passages, {size / 1e6:.1f} MB")


@main.command("report")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--output", type=Path, default="comparison.html", help="the page  [comparison.html]")
@click.option("--runs", metavar="FOLDER", help="folder of training runs  [runs]")
@click.option("--bundles", metavar="FOLDER", help="folder of published bundles  [bundles]")
def report_command(
    names: tuple[str, ...], output: Path, runs: str | None, bundles: str | None
) -> None:
    """Compare runs and published bundles (NAME or NAME/VERSION) on one HTML page."""
    folders = given_settings({"runs": runs, "bundles": bundles}, os.environ).over({})
    with quiet_start():
        from training.find_run import find_run  # noqa: PLC0415
        from training.pages.comparison import render_comparison  # noqa: PLC0415
        from training.pages.page import write_page  # noqa: PLC0415
    records = [find_run(name, folders.runs, folders.bundles) for name in dict.fromkeys(names)]
    write_page(output, render_comparison(records))
    click.echo(f"wrote {output}")


@main.command("remember")
@click.option("--output", type=Path, default="memory", help="folder of all results  [memory]")
@click.option("--restart", is_flag=True, help="discard what was trained on the text so far")
@click.option(
    "--updates",
    type=click.IntRange(1),
    default=600,
    show_default=True,
    help="updates of the weights on the recall task",
)
@click.option(
    "--repeats",
    type=click.IntRange(1, 100),
    default=3,
    show_default=True,
    help="trainings of each cell on the recall task",
)
@_setting_options(
    ("corpus", "field", "column", "test_share", *REMEMBER_DEFAULTS, "seed"), REMEMBER_DEFAULTS
)
def remember_command(
    output: Path, restart: bool, updates: int, repeats: int, **flags: str | None
) -> None:
    """See how SimpleRNN, GRU and LSTM remember, trained alike on a text and on a recall task."""
    given = given_settings(flags, os.environ)
    with quiet_start():
        from training.remember import remember  # noqa: PLC0415
    remember(output, given, click.echo, num_updates=updates, num_repeats=repeats, restart=restart)
    click.echo(f"wrote {output / 'memory.html'}")


if __name__ == "__main__":
    sys.exit(main(prog_name="python -m training"))
