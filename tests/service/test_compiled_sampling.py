"""Who draws tokens: by the setting, and what has been compiled."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from compiled_kernel import compiled_kernel

from model.errors import ConfigurationError
from model.kernel import library
from service import compiled_sampling
from service.compiled_sampling import check_compiled, kernel_for
from service.engine_build import engine_build
from service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def nothing_compiled(monkeypatch):
    monkeypatch.setattr(library, "find_kernel", lambda: None)
    monkeypatch.setattr(compiled_sampling, "library_path", lambda: Path("/nowhere/kernel.so"))


def test_what_is_compiled_is_used_unless_told_otherwise(monkeypatch):
    kernel = compiled_kernel()
    monkeypatch.setattr(library, "find_kernel", lambda: kernel)
    assert kernel_for(Settings()) is kernel
    assert kernel_for(Settings(compiled_sampling="on")) is kernel
    assert kernel_for(Settings(compiled_sampling="off")) is None


@pytest.mark.usefixtures("nothing_compiled")
def test_where_nothing_is_compiled_numpy_draws():
    assert kernel_for(Settings()) is None
    assert kernel_for(Settings(compiled_sampling="off")) is None


@pytest.mark.usefixtures("nothing_compiled")
def test_asking_for_what_is_not_there_is_an_error():
    for asked in (check_compiled, kernel_for):
        asked(Settings())
        asked(Settings(compiled_sampling="off"))
        with pytest.raises(ConfigurationError) as caught:
            asked(Settings(compiled_sampling="on"))
        for word in ("--compiled-sampling", "FORETOKEN_COMPILED_SAMPLING", "model.kernel.build"):
            assert word in str(caught.value)


def test_the_service_says_so_and_does_not_start(tmp_path):
    for name in ("model", "service"):
        ignored = shutil.ignore_patterns("*.so", "__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    command = [sys.executable, "-B", "-m", "service", "--check", "--compiled-sampling", "on"]
    command += ["--bundles", str(ROOT / "bundles/travel")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "error: --compiled-sampling" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_library_that_cannot_be_loaded_is_none(monkeypatch, tmp_path, caplog):
    broken = tmp_path / "vocabulary.so"
    broken.write_bytes(b"\x7fELF" + bytes(40))
    monkeypatch.setattr(library, "library_path", lambda: broken)
    assert library.find_kernel.__wrapped__() is None
    assert "NumPy" in caplog.text


def test_the_fingerprint_tells_who_draws():
    kernel = compiled_kernel()
    assert engine_build(kernel) != engine_build()
    assert engine_build(kernel) == engine_build(compiled_kernel())
