"""What supervisor and HTTP workers write for each other in the runtime directory.

The table of models served, from the supervisor; the order to reload one, from a worker; and the
answer to it. Whole files only: each is written beside its place and then put there.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

_TABLE = "models.json"
_ORDER = "reload-order.json"


@dataclass(frozen=True)
class TableEntry:
    """A model served: the directory of its version, and where its engines listen."""

    directory: str
    addresses: list[str]


@dataclass(frozen=True)
class ModelTable:
    """The models served from a generation on.

    Attributes:
        generation: grows with every change.
        models: in order; the first is the default.
        draining: directories of versions that still finish what they have.
    """

    generation: int
    models: list[TableEntry]
    draining: list[str]


@dataclass(frozen=True)
class ReloadOrder:
    """What a worker asks the supervisor for: another version of the model of that name."""

    id: str
    model: str
    directory: str


def write_table(runtime_directory: Path, table: ModelTable) -> None:
    """Replaces the table."""
    temporary = _write_beside(runtime_directory / _TABLE, json.dumps(asdict(table)))
    temporary.replace(runtime_directory / _TABLE)


def read_table(runtime_directory: Path) -> ModelTable | None:
    """The table; None before the first reload."""
    try:
        fields = json.loads((runtime_directory / _TABLE).read_text("utf-8"))
    except FileNotFoundError:
        return None
    models = [TableEntry(**entry) for entry in fields.pop("models")]
    return ModelTable(models=models, **fields)


def place_order(runtime_directory: Path, model: str, directory: Path) -> ReloadOrder | None:
    """Orders a reload; None: one is going on already."""
    order = ReloadOrder(uuid.uuid4().hex, model, str(directory))
    temporary = _write_beside(runtime_directory / _ORDER, json.dumps(asdict(order)))
    try:
        os.link(temporary, runtime_directory / _ORDER)
    except FileExistsError:
        return None
    finally:
        temporary.unlink()
    return order


def read_order(runtime_directory: Path) -> ReloadOrder | None:
    """The order at hand, if there is one."""
    try:
        return ReloadOrder(**json.loads((runtime_directory / _ORDER).read_text("utf-8")))
    except FileNotFoundError:
        return None


def answer_order(runtime_directory: Path, order: ReloadOrder, failure: str | None) -> None:
    """The order has been carried out, or has failed for the reason given; the next may come."""
    place = _answer_path(runtime_directory, order)
    _write_beside(place, json.dumps({"failure": failure})).replace(place)
    (runtime_directory / _ORDER).unlink()


def take_answer(runtime_directory: Path, order: ReloadOrder) -> tuple[str | None] | None:
    """Why the order failed, or (None,) where it was carried out; None: it is not answered yet."""
    place = _answer_path(runtime_directory, order)
    try:
        failure = json.loads(place.read_text("utf-8"))["failure"]
    except FileNotFoundError:
        return None
    place.unlink()
    return (failure,)


def _answer_path(runtime_directory: Path, order: ReloadOrder) -> Path:
    return runtime_directory / f"reload-answer-{order.id}.json"


def _write_beside(path: Path, text: str) -> Path:
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    temporary.write_text(text, "utf-8")
    return temporary
