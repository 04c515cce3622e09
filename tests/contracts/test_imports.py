"""Who may import whom: ``service -> model <- training``, and the service without TensorFlow."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("model", "service", "training")
FILES = sorted(path.relative_to(ROOT) for part in PARTS for path in (ROOT / part).rglob("*.py"))

#: What only the pipeline may need; the service must run where none of it is installed.
TRAINING_ONLY = ("tensorflow", "keras", "h5py", "matplotlib", "tensorboard")

#: What no ``__init__.py`` may load: each takes long or much memory.
HEAVY = (*TRAINING_ONLY, "ai_edge_litert", "flask", "gunicorn", "scipy")

#: What is imported -> the folders and files that may import it.
ONLY_IN = {
    "tensorflow": ("model/network", "training"),
    "keras": ("model/network", "training"),
    "h5py": ("model/network", "training"),
    "matplotlib": ("training",),
    "ai_edge_litert": ("model/runtime/litert_runtime.py",),
    "flask": ("service",),
    "greenlet": ("service/fibres.py",),
    "gunicorn": ("service",),
    "zmq": ("service",),
    "model.network": ("model/network", "training"),
    "service": ("service",),
    "training": ("training",),
    "tests": (),
    "benchmarks": (),
    "pickle": (),
    "shelve": (),
    "marshal": (),
    "joblib": (),
}

#: A folder -> what may not be imported in it, though its surroundings may.
NEVER_IN = {
    "service/engine": ("flask", "werkzeug", "gunicorn", "prometheus_client"),
    "service/engine_client": ("flask", "werkzeug", "gunicorn"),
    "service/api": ("service.engine.loop", "model.runtime", "zmq"),
}


def imports_of(file: Path) -> Iterator[str]:
    """Dotted names of every module ``file`` imports, wherever in it; ``from a import b`` is a.b."""
    package = list(file.with_suffix("").parts[:-1])
    for node in ast.walk(ast.parse((ROOT / file).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{source}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and isinstance(
            node.args[0] if node.args else None, ast.Constant
        ):
            called = (
                node.func.attr
                if isinstance(node.func, ast.Attribute)
                else getattr(node.func, "id", "")
            )
            if called in ("import_module", "__import__"):
                yield str(node.args[0].value)


def is_inside(name: str, module: str) -> bool:
    return name == module or name.startswith(module + ".")


def lies_in(file: Path, place: str) -> bool:
    return file.as_posix() == place or file.as_posix().startswith(place + "/")


def modules(*parts: str, without: tuple[str, ...] = ()) -> list[str]:
    """Dotted names of the modules in ``parts``, but for those in ``without`` and programs."""
    names = []
    for file in FILES:
        if file.stem == "__main__":
            continue
        dotted = file.parent if file.stem == "__init__" else file.with_suffix("")
        name = ".".join(dotted.parts)
        if any(is_inside(name, part) for part in parts):
            names.append(name)
    return [name for name in names if not any(is_inside(name, left) for left in without)]


def run(script: str, *arguments: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("file", FILES, ids=str)
def test_imports_keep_to_the_layers(file: Path) -> None:
    for name in imports_of(file):
        for module, places in ONLY_IN.items():
            if is_inside(name, module):
                assert any(lies_in(file, place) for place in places), f"{file} imports {name}"
        for place, unwelcome in NEVER_IN.items():
            if lies_in(file, place):
                assert not any(is_inside(name, module) for module in unwelcome), (
                    f"{file} imports {name}"
                )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("import keras.layers as k", "keras.layers"),
        ("from tensorflow import nn", "tensorflow.nn"),
        ("def f():\n    from training.batches import Batches", "training.batches.Batches"),
        ("if TYPE_CHECKING:\n    import flask", "flask"),
        ("import importlib\nimportlib.import_module('keras')", "keras"),
    ],
)
def test_every_way_to_import_is_seen(tmp_path: Path, line: str, expected: str) -> None:
    path = tmp_path / "module.py"
    path.write_text(line)
    assert expected in list(imports_of(path))


def test_no_request_that_shares_a_thread_sleeps() -> None:
    """A fibre pauses (``service/fibres.py``); what sleeps keeps all others waiting."""
    sleepers = {
        str(file)
        for file in FILES
        if lies_in(file, "service")
        and re.search(r"\bsleep\(|\bsleep\b.*import|import.*\bsleep\b", (ROOT / file).read_text())
    }
    assert sleepers == {
        "service/fibres.py",
        # In threads or processes of their own.
        "service/api/admin.py",
        "service/engine_client/client.py",
        "service/model_switch.py",
        "service/supervisor.py",
    }


def test_files_are_named_for_what_they_own() -> None:
    assert not [
        file
        for file in FILES
        if file.stem in ("utils", "util", "helpers", "helper", "misc", "common")
    ]


def test_the_service_runs_where_nothing_of_the_pipeline_is_installed() -> None:
    run(
        """
import importlib, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

blocked, names = sys.argv[1].split(","), sys.argv[2].split(",")
sys.meta_path.insert(0, Blocker())
for name in names:
    importlib.import_module(name)
""",
        ",".join([*TRAINING_ONLY, "training"]),
        ",".join(modules("model", "service", without=("model.network",))),
    )


#: Imports the modules in its second argument, one by one, and names the first that loads one of
#: those in its first.
LOADS = """
import importlib, sys
unwelcome, names = sys.argv[1].split(","), sys.argv[2].split(",")
for name in names:
    importlib.import_module(name)
    loaded = sorted(set(unwelcome) & set(sys.modules))
    assert not loaded, f"importing {name} loads {loaded}"
"""


def test_packages_load_nothing_heavy() -> None:
    packages = [".".join(file.parent.parts) for file in FILES if file.stem == "__init__"]
    run(LOADS, ",".join(HEAVY), ",".join(packages))


def test_the_engine_process_never_loads_flask() -> None:
    run(LOADS, "flask,werkzeug,gunicorn", ",".join(modules("service.engine")))


def test_http_workers_never_load_a_network_runtime() -> None:
    run(
        LOADS,
        "ai_edge_litert,service.engine.loop",
        ",".join(modules("service.api", "service.protocol")),
    )


def test_runs_are_compared_without_tensorflow() -> None:
    run(
        LOADS,
        "tensorflow,keras",
        "training.find_run,training.pages.comparison,training.pages.page,training.quiet_start",
    )
