"""``RunRecord``: all that is shown of a run, whether trained here or published as a bundle.

A report page carries its record as JSON, so that a bundle is enough to be compared with others.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from model.bundle.manifest import Scores
from training.reach_curve import GradientReach
from training.samples import Sample

#: The id of the element of a report page that holds the record as JSON.
RECORD_ID = "run"

#: What the plan calls by another name than the settings do.
_PLAN_NAMES = {"layers": "num_layers"}

#: Settings that the pipeline chooses where they are not given.
_CHOSEN = frozenset(
    {"tokenizer", "vocab_size", "cell", "layers", "hidden_size", "embedding_size", "dropout"}
    | {"tie_embeddings", "batch_size", "window", "learning_rate", "validation_tokens"}
)

#: (x, y) in the order of x.
Points = list[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run as far as it has come; what there is not yet is empty or None.

    Attributes:
        name: of the run, or of the bundle and its version.
        status: how far it has come, for a person.
        facts: the model in a few lines, label to value.
        settings: as given; None where the pipeline was to choose.
        plan: what was chosen, as ``Plan.to_dict``.
        scores: on held-out text.
        log: records of ``log.jsonl``.
        train_tokens: of the training text.
        bytes_per_token: of the held-out text, else of the training text.
        samples: texts the network wrote.
        gradient_reach: of the float network.
        provenance: corpus, seed, machine, time; label to value.
    """

    name: str
    status: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)
    scores: Scores | None = None
    log: Sequence[Mapping[str, Any]] = ()
    train_tokens: int | None = None
    bytes_per_token: float | None = None
    samples: Sequence[Sample] = ()
    gradient_reach: GradientReach | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def points(self, key: str, *, by: str = "share") -> Points:
        """The values of ``key`` in the log.

        Args:
            key: ``loss``, ``validation_loss``, ``learning_rate`` and the like.
            by: ``share`` of the budget, or ``tokens`` read; without the size of the training text
                there are no points by tokens.
        """
        wanted = [record for record in self.log if key in record]
        steps = [record["step"] for record in wanted]
        places = self._places([*steps], by)
        return [(x, float(record[key])) for x, record in zip(places, wanted, strict=False)]

    def bits_per_byte(self, key: str, *, by: str = "share") -> Points:
        """As ``points``, for losses: nats per token as bits per byte of text."""
        if self.bytes_per_token is None:
            return []
        scale = 1.0 / (math.log(2.0) * self.bytes_per_token)
        return [(x, nats * scale) for x, nats in self.points(key, by=by)]

    def effective_settings(self) -> dict[str, str]:
        """Every setting as it took effect, for a person; what the pipeline chose is marked."""
        plan = {**self.plan, **self.plan.get("config", {})}
        shown = {}
        for key, value in self.settings.items():
            chosen = plan.get(_PLAN_NAMES.get(key, key))
            if isinstance(value, list | tuple):
                shown[key] = ", ".join(map(str, value)) or "none"
            elif value is not None:
                shown[key] = str(value)
            elif chosen is not None:
                shown[key] = f"{_short(chosen)} (chosen)"
            else:
                shown[key] = "chosen" if key in _CHOSEN else "none"
        return shown

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary; ``from_dict`` reads it back."""
        reach = self.gradient_reach
        return {
            **vars(self),
            "scores": None if self.scores is None else self.scores.model_dump(mode="json"),
            "samples": [vars(sample) for sample in self.samples],
            "gradient_reach": None if reach is None else reach.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunRecord:
        """What ``to_dict`` wrote.

        Raises:
            TypeError, KeyError, ValueError: it is something else.
        """
        scores, reach = values["scores"], values["gradient_reach"]
        return cls(
            **{
                **values,
                "scores": None if scores is None else Scores.model_validate(scores, strict=False),
                "log": tuple(values["log"]),
                "samples": tuple(Sample(**sample) for sample in values["samples"]),
                "gradient_reach": None if reach is None else GradientReach.from_dict(reach),
            }
        )

    def _places(self, steps: list[float], by: str) -> list[float]:
        """Where ``steps`` lie on the axis ``by``: between the records of training, which say it."""
        known = [record for record in self.log if "share" in record]
        if not known or (by == "tokens" and self.train_tokens is None):
            return []
        scale = 1.0 if by == "share" else float(self.train_tokens or 0)
        key = "share" if by == "share" else "epochs"
        at_steps = [record["step"] for record in known]
        at_places = [record[key] * scale for record in known]
        return [float(place) for place in np.interp(steps, at_steps, at_places)]


def embedded_record(page: Path) -> RunRecord | None:
    """The record that a report page carries; None where there is none, or an unknown one."""
    try:
        reader = _RecordReader()
        reader.feed(page.read_text(encoding="utf-8"))
        return RunRecord.from_dict(json.loads("".join(reader.parts)))
    except (OSError, ValueError, KeyError, TypeError):
        return None


class _RecordReader(HTMLParser):
    """Collects the JSON of the element whose id is ``RECORD_ID``."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag == "script" and ("id", RECORD_ID) in attrs

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.parts.append(data)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
