"""``python -m training fetch``: its options, and what it says at the end."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import click

from model.errors import FetchError
from training.fetch.fetch import FetchSettings, fetch
from training.fetch.progress import fetch_progress
from training.fetch.sources import GUTENBERG, find_sources


def _finite(ctx: click.Context, param: click.Parameter, value: float) -> float:
    """``value``; NaN lies within all bounds."""
    if math.isnan(value):
        raise click.BadParameter("nan is no number of seconds", ctx, param)
    return value


@click.command("fetch", context_settings={"auto_envvar_prefix": "FORETOKEN_FETCH"})
@click.argument("sources", nargs=-1)
@click.option(
    "--to",
    "folder",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="folder for the texts; made where there is none",
)
@click.option(
    "--list",
    "lists",
    multiple=True,
    type=click.Path(path_type=Path),
    help="file with a source per line, and maybe sha256=... name=...; can be given again",
)
@click.option("--mirror", default=GUTENBERG, show_default=True, help="where the books are")
@click.option(
    "--pause",
    default=2.0,
    show_default=True,
    type=click.FloatRange(0.0, 3600.0),
    callback=_finite,
    help="seconds between two requests",
)
@click.option(
    "--timeout",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0.1, 3600.0),
    callback=_finite,
    help="seconds that a server may be silent",
)
@click.option(
    "--attempts",
    default=5,
    show_default=True,
    type=click.IntRange(1, 100),
    help="in a row that bring nothing before a server is given up",
)
def fetch_command(
    *,
    sources: tuple[str, ...],
    folder: Path,
    lists: tuple[Path, ...],
    mirror: str,
    pause: float,
    timeout: float,
    attempts: int,
) -> None:
    """Public-domain books into a folder: texts to train on.

    SOURCES are numbers of Project Gutenberg (1342) and addresses (https://host/file.txt). Headers,
    licence and makers' notes are cut away; all becomes UTF-8. What is there already is not fetched
    again. The options can also be given as FORETOKEN_FETCH_* variables.

    Project Gutenberg's own site is meant for people: for more than some books choose a --mirror
    near you, from https://www.gutenberg.org/MIRRORS.ALL.
    """
    wanted = find_sources(sources, lists, mirror)
    settings = FetchSettings(folder, pause, timeout, attempts)
    with fetch_progress(sys.stderr, len(wanted)) as progress:
        try:
            fetch(wanted, settings, progress)
        except KeyboardInterrupt as error:
            raise FetchError("stopped; start the same command again to go on") from error
    there = f", {progress.num_there} were there before" if progress.num_there else ""
    click.echo(f"fetched {progress.num_fetched} of {len(wanted)} into {folder}{there}")
