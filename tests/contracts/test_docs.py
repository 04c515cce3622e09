"""The documentation speaks of what is there: files, verbs, endpoints, errors, examples."""

import ast
import json
import re
import subprocess
from pathlib import Path
from unittest.mock import Mock

import pytest

from model import errors
from service.app import create_app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROSE = "\n".join(page.read_text("utf-8") for page in PAGES)
MAKEFILE = (ROOT / "Makefile").read_text()

page_by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of ``page`` in ``language``."""
    return re.findall(
        rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )


@page_by_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@page_by_page
def test_every_page_can_be_reached_from_the_readme(page: Path) -> None:
    readme = PAGES[0].read_text("utf-8")
    assert page == PAGES[0] or f"](docs/{page.name})" in readme


@page_by_page
def test_python_examples_parse(page: Path) -> None:
    if page.name == "architecture.md":
        pytest.skip("shows signatures, which are no programs")
    for block in blocks(page, "python"):
        try:
            ast.parse(block)
        except SyntaxError as error:
            pytest.fail(f"{page.name}: {error}\n{block}")


@page_by_page
def test_shell_examples_parse_and_send_json(page: Path) -> None:
    for block in blocks(page, "sh"):
        subprocess.run(["sh", "-n"], input=block, text=True, check=True)
        for body in re.findall(r"-d '([^']*)'", block):
            json.loads(body)


def test_every_verb_of_the_makefile_is_explained_and_every_verb_in_use_is_there() -> None:
    verbs = set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[1].split())
    explained = set(re.findall(r"^([a-z-]+):.*## \w", MAKEFILE, re.MULTILINE))
    assert verbs == explained
    assert set(re.findall(r"`make ([a-z-]+)", PROSE)) <= verbs
    shell = "\n".join(block for page in PAGES for block in blocks(page, "sh"))
    assert set(re.findall(r"^make ([a-z-]+)", shell, re.MULTILINE)) <= verbs


def test_every_endpoint_is_documented() -> None:
    for rule in create_app(Mock()).url_map.iter_rules():
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        assert re.search(rf"[\s`:0-9]{re.escape(path)}[\s`?]", PROSE), f"{path} is in no page"


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    drawn = re.findall(r"^[│├└─ ]*(\w+Error)\b", errors.__doc__, re.MULTILINE)
    defined = [
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.ForetokenError)
    ]
    assert drawn == defined
