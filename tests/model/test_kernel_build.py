"""Compiling the passes over the vocabulary: with and without a compiler, again and again."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def copy(tmp_path):
    """The package by itself, not yet compiled."""
    (tmp_path / "model").mkdir()
    for name in ("__init__.py", "errors.py"):
        shutil.copyfile(ROOT / "model" / name, tmp_path / "model" / name)
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(ROOT / "model/kernel", tmp_path / "model/kernel", ignore=ignored)
    return tmp_path


def build(folder, *arguments, **variables):
    return subprocess.run(
        [sys.executable, "-B", "-m", "model.kernel.build", *arguments],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def libraries(folder):
    return sorted(path.name for path in (folder / "model/kernel").iterdir() if path.suffix == ".so")


@pytest.fixture
def compiler():
    found = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not found:
        pytest.skip("no C compiler")
    return found


def test_it_compiles_once(copy, compiler):
    assert build(copy, CC=compiler).returncode == 0
    (name,) = libraries(copy)
    before = (copy / "model/kernel" / name).stat()
    done = build(copy, CC="no-compiler-needed-any-more")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (copy / "model/kernel" / name).stat() == before


def test_another_source_is_compiled_anew_and_the_old_one_goes(copy, compiler):
    build(copy, CC=compiler)
    before = libraries(copy)
    source = copy / "model/kernel/passes.h"
    source.write_text(source.read_text() + "\n/* changed */\n")
    assert build(copy, CC=compiler).returncode == 0
    after = libraries(copy)
    assert len(after) == 1
    assert after != before


def test_what_is_compiled_has_no_warnings(compiler, tmp_path):
    programs = [str(path) for path in (ROOT / "model/kernel").glob("*.c")]
    command = [compiler, "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "x.so"), *programs], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"CC": "", "PATH": "/nowhere"}, "no C compiler found"),
        ({"CC": "/nowhere/cc"}, "/nowhere/cc cannot be run"),
        ({"CC": "false"}, "false failed"),
    ],
)
def test_without_a_compiler(copy, variables, words):
    done = build(copy, **variables)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.startswith("error: ")
    optional = build(copy, "--optional", **variables)
    assert optional.returncode == 0
    assert "NumPy" in optional.stderr
    assert "Traceback" not in done.stderr + optional.stderr
    assert libraries(copy) == []
    assert not [path for path in (copy / "model/kernel").iterdir() if path.name.startswith(".")]
