"""The fingerprint changes when what decides results does."""

import shutil
from pathlib import Path

import pytest

from service import engine_build
from service.engine_build import LIBRARIES, SOURCES, source_digest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def copy(tmp_path):
    """The sources, to be changed."""
    for source in SOURCES:
        copy_of = shutil.copytree if (ROOT / source).is_dir() else shutil.copyfile
        (tmp_path / source).parent.mkdir(parents=True, exist_ok=True)
        copy_of(ROOT / source, tmp_path / source)
    return tmp_path


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_counts(copy, source):
    before = source_digest(copy)
    assert before == source_digest(ROOT)
    path = copy / source
    changed = path if path.is_file() else next(path.rglob("*.py"))
    changed.write_text(changed.read_text("utf-8") + "\nEVEN = True\n", "utf-8")
    assert source_digest(copy) != before


def test_bytecode_and_pages_do_not_count(copy):
    before = source_digest(copy)
    (copy / "model/runtime/x.pyc").write_bytes(b"bytecode")
    (copy / "service/another.py").write_text("")
    assert source_digest(copy) == before


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_library_counts(monkeypatch, library):
    fresh = engine_build.engine_build.__wrapped__
    before = fresh()
    assert fresh() == before
    version = engine_build.importlib.metadata.version
    monkeypatch.setattr(
        engine_build.importlib.metadata,
        "version",
        lambda name: version(name) + (".post1" if name == library else ""),
    )
    assert fresh() != before
