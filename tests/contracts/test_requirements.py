"""What is installed: exact versions, within what pyproject.toml allows, and nothing undeclared."""

import ast
import functools
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

#: Imported under a name of its own, but part of what another distribution offers.
COMES_WITH = {
    "markupsafe": "jinja2",
    "packaging": "pytest",
    "pydantic-core": "pydantic",
    "werkzeug": "flask",
}

#: Imported not by us but by a library, when a setting asks for it.
USED_BY_LIBRARIES = {"redis": "limits"}

OWN = {"model", "service", "training", "tests", "benchmarks"}


packages_distributions = functools.cache(importlib.metadata.packages_distributions)


def pins(name: str) -> dict[str, str]:
    """Distribution to version, as pinned in ``requirements/<name>.txt`` itself."""
    found = {}
    for line in (ROOT / "requirements" / f"{name}.txt").read_text().splitlines():
        if line and not line.startswith(("#", "-r ")):
            distribution, version = re.fullmatch(r"([\w.-]+)==([\w.]+)(?:\s+#.*)?", line).groups()
            found[canonicalize_name(distribution)] = version
    return found


def declared(requirements: list[str]) -> dict[str, Requirement]:
    return {canonicalize_name(r.name): r for r in map(Requirement, requirements)}


def imported(*places: str, without: str = " ") -> set[str]:
    """Distributions that the files in ``places`` import."""
    known = packages_distributions()
    roots = set()
    for path in sorted(path for place in places for path in (ROOT / place).rglob("*.py")):
        if path.is_relative_to(ROOT / without):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                roots |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                roots.add(node.module.split(".")[0])
    roots -= OWN | set(sys.stdlib_module_names)
    roots -= {path.stem for path in (ROOT / "tests").rglob("*.py")}
    names = {canonicalize_name(known[root][0]) for root in roots}
    return {COMES_WITH.get(name, name) for name in names}


@pytest.mark.parametrize(
    ("file", "requirements"),
    [
        ("serve", PROJECT["dependencies"]),
        ("train", PROJECT["optional-dependencies"]["train"]),
    ],
)
def test_pins_lie_within_what_the_package_declares(file: str, requirements: list[str]) -> None:
    wanted = declared(requirements)
    assert pins(file).keys() == wanted.keys()
    for distribution, version in pins(file).items():
        assert version in wanted[distribution].specifier, distribution


def test_tensorflow_is_not_served() -> None:
    assert not {"tensorflow", "keras", "tensorboard", "torch"} & pins("serve").keys()


def test_everything_imported_is_declared() -> None:
    serving, training = set(pins("serve")), set(pins("train"))
    assert imported("service", "model", without="model/network") <= serving
    assert imported("training", "model/network") <= serving | training
    assert imported("tests") <= serving | training | set(pins("dev"))


def test_everything_declared_is_imported() -> None:
    used = imported("service", "model", without="model/network")
    used |= {name for name, library in USED_BY_LIBRARIES.items() if library in used}
    assert set(pins("serve")) - used == set()
