"""The command ``remember``: measures how the three kinds of cell remember, and writes the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from training.memory_measurements import (
    NUM_TESTS,
    RecallResult,
    TextResult,
    measure_recall,
    measure_text,
)
from training.pages.memory import reach_chart, recall_chart, render_memory
from training.pages.page import write_page
from training.pipeline import Say
from training.plan import Plan
from training.provenance import machine_description
from training.recall_task import draw_sequences
from training.recall_training import RecallRecipe
from training.run_directory import RunDirectory, read_json, write_json
from training.settings import GivenSettings


def remember(
    folder: Path,
    given: GivenSettings,
    say: Say,
    *,
    num_updates: int,
    num_repeats: int,
    restart: bool = False,
) -> None:
    """Both measurements into ``folder``: ``memory.html``, its pictures, ``memory.json``.

    Args:
        folder: what is finished in it is not done again.
        given: settings of the training on the text.
        say: is told what is done.
        num_updates: of the weights, on the recall task.
        num_repeats: trainings of each cell on the recall task.
        restart: discard what was trained on the text so far.

    Raises:
        ForetokenError: the text cannot be used, a run there was trained otherwise, or the disk
            refuses.
    """
    recipe = RecallRecipe(num_updates=num_updates, seed=given.over({}).seed)
    texts = measure_text(folder, given, say, restart=restart)
    recalls = measure_recall(folder, recipe, num_repeats, say)
    example = draw_sequences(np.array([8]), 14, np.random.default_rng(recipe.seed))
    facts = _facts(folder, texts, recipe, num_repeats)
    write_page(folder / "gradient-reach.svg", reach_chart(texts).picture())
    write_page(folder / "accuracy-by-distance.svg", recall_chart(recalls).picture())
    write_page(folder / "memory.html", render_memory(texts, recalls, example=example, facts=facts))
    write_json(folder / "memory.json", _as_json(texts, recalls, facts))


def _facts(
    folder: Path, texts: Sequence[TextResult], recipe: RecallRecipe, num_repeats: int
) -> dict[str, object]:
    """How all were trained, label to value."""
    run = RunDirectory.of(folder / "runs", texts[0].cell)
    plan = Plan.from_dict(read_json(run.plan)["plan"])
    return {
        "on the text": f"{plan.config.num_layers} x {plan.config.hidden_size}, {plan.steps:,} "
        f"updates of {plan.batch_size} x {plan.window} tokens, learning rate "
        f"{plan.learning_rate:.2g}",
        "on the recall task": f"1 x {recipe.hidden_size}, {recipe.num_updates:,} updates of "
        f"{recipe.batch_size} sequences, learning rate {recipe.learning_rate:g}, gradients "
        f"clipped at {recipe.clip_norm:g}; trainings of each cell: {num_repeats}",
        "tests": f"{NUM_TESTS:,} fresh sequences at each distance",
        "machine": machine_description(),
    }


def _as_json(
    texts: Sequence[TextResult], recalls: Sequence[RecallResult], facts: dict[str, object]
) -> dict[str, object]:
    return {
        "facts": facts,
        "text": [asdict(text) for text in texts],
        "recall": [asdict(recall) for recall in recalls],
    }
