"""HTML from the templates beside this file. A page is one file that loads nothing from elsewhere.

Templates extend ``base.html``, which owns the looks: light and dark, wide and narrow.
"""

from __future__ import annotations

from pathlib import Path

import jinja2

from model.bundle.durable_files import replace_file
from model.errors import TrainingError

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render_page(template: str, **values: object) -> str:
    """The page of ``template``, a file name; all text in ``values`` is escaped."""
    return _ENVIRONMENT.get_template(template).render(**values)


def write_page(path: Path, page: str) -> None:
    """Writes ``page``: the whole of it or nothing.

    Raises:
        TrainingError: the disk refuses.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, page.encode(), path.with_name(f".{path.name}.incoming"))
    except OSError as error:
        raise TrainingError(f"cannot write {path}: {error.strerror or error}") from error
