"""How the three kinds of cell remember, trained alike: two measurements, for ``remember``.

The reach of the gradient on a text (``training.gradient_reach``), and how far back each recalls a
word (``training.recall_task``), beside an n-gram model. Everything done is kept in the folder of
the measurement: stopped and started again, it goes on.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from model.config import Cell
from training.evaluate import held_out_text, network_nats
from training.gradient_reach import measure_gradient_reach
from training.ngram import MAX_ORDER, NgramModel
from training.pipeline import Pipeline, Say
from training.plan import Plan
from training.prepared_corpus import PreparedCorpus
from training.progress import shown_progress
from training.reach_curve import GradientReach
from training.recall_task import OVERHEAD, WORDS, RecallSequences, draw_sequences
from training.recall_training import RecallRecipe, RecallTrainer
from training.run_directory import RunDirectory, read_json, write_json
from training.run_settings import resolve_settings
from training.settings import REMEMBER_DEFAULTS, GivenSettings
from training.train import trained_weights

CELLS: tuple[Cell, ...] = get_args(Cell)

#: Steps from the key to the answer; the first lies within what a 5-gram sees.
DISTANCES = (3, 5, 10, 20, 50, 100, 200)
NUM_TESTS = 1000

#: For each distance, sequences that the n-gram model counts.
NGRAM_SEQUENCES = 6000

#: Sets the seed of test sequences apart from that of training.
_TEST_SEED = 1_000_003


@dataclass(frozen=True, kw_only=True)
class TextResult:
    """A cell trained on the text.

    Attributes:
        cell: kind of cell.
        num_weights: trainable numbers.
        minutes: of training.
        bits_per_byte: of held-out text.
        reach: of the gradient there.
    """

    cell: Cell
    num_weights: int
    minutes: float
    bits_per_byte: float
    reach: GradientReach


@dataclass(frozen=True, kw_only=True)
class RecallResult:
    """What one model recalls.

    Attributes:
        model: kind of cell, or "5-gram".
        distances: steps from the key to the answer.
        accuracies: one row for each repeat with another seed, one column for each distance.
        mastered: for each repeat, the distance that training had come to; empty for n-grams.
        minutes: of training, all repeats together; 0 for n-grams.
    """

    model: str
    distances: tuple[int, ...]
    accuracies: tuple[tuple[float, ...], ...]
    mastered: tuple[int, ...]
    minutes: float

    def means(self) -> list[float]:
        """The mean accuracy at each distance."""
        return [float(mean) for mean in np.mean(self.accuracies, axis=0)]

    def bounds(self) -> list[tuple[float, float]]:
        """The worst and the best repeat at each distance."""
        columns = list(zip(*self.accuracies, strict=True))
        return [(min(column), max(column)) for column in columns]


def measure_text(
    folder: Path, given: GivenSettings, say: Say, *, restart: bool = False
) -> list[TextResult]:
    """Trains the three cells alike on the text and measures the reach of each.

    Each is a run of the pipeline in ``folder/runs``; one that is there already goes on.

    Args:
        folder: of the measurement.
        given: the settings that all three share, over ``REMEMBER_DEFAULTS``.
        say: is told what is done.
        restart: discard what was trained so far.

    Raises:
        ForetokenError: the text cannot be used, or a run was trained otherwise before.
    """
    return [_measure_cell(cell, folder, given, say, restart=restart) for cell in CELLS]


def _measure_cell(
    cell: Cell, folder: Path, given: GivenSettings, say: Say, *, restart: bool
) -> TextResult:
    run = RunDirectory.of(folder / "runs", cell)
    values = {**REMEMBER_DEFAULTS, **given.values, "cell": cell, "runs": str(folder / "runs")}
    settings = resolve_settings(run, GivenSettings(values, given.names), restart=restart)
    say(f"{cell}: training on the text")
    pipeline = Pipeline(run, settings, say)
    pipeline.prepare()
    pipeline.train()
    weights, meta = trained_weights(run)
    config = Plan.from_dict(read_json(run.plan)["plan"]).config
    prepared = PreparedCorpus.load(run.prepared)
    tokenizer, test_ids = prepared.tokenizer(), prepared.token_file("test").ids()
    text = held_out_text(test_ids, tokenizer, settings.evaluation_tokens)
    result = TextResult(
        cell=cell,
        num_weights=config.num_weights(),
        minutes=meta["seconds"] / 60.0,
        bits_per_byte=text.score(network_nats(config, weights, text)).bits_per_byte,
        reach=measure_gradient_reach(config, weights, test_ids, tokenizer.end_of_text_id),
    )
    say(
        f"{cell}: {result.bits_per_byte:.3f} bits per byte; a hundredth of the gradient is left "
        f"after {result.reach.steps_above(0.01)} steps"
    )
    return result


def measure_recall(
    folder: Path, recipe: RecallRecipe, num_repeats: int, say: Say
) -> list[RecallResult]:
    """Counts n-grams of the recall task, and trains the three cells alike on it; tests them all.

    Args:
        folder: of the measurement; what was finished there before by the same recipe is kept.
        recipe: of all; its seed is the first repeat's.
        num_repeats: trainings of each cell, each with a seed of its own.
        say: is told what is done.
    """
    random = np.random.default_rng(recipe.seed + _TEST_SEED)
    num_steps = max(DISTANCES) + OVERHEAD
    tests = [
        draw_sequences(np.full(NUM_TESTS, distance), num_steps, random) for distance in DISTANCES
    ]
    results = [_recall_of_ngrams(tests, recipe.seed)]
    for cell in CELLS:
        repeats = [
            _repeat(cell, replace(recipe, seed=recipe.seed + number), tests, folder / "recall")
            for number in range(num_repeats)
        ]
        results.append(
            RecallResult(
                model=cell,
                distances=DISTANCES,
                accuracies=tuple(tuple(repeat["accuracies"]) for repeat in repeats),
                mastered=tuple(repeat["distance"] for repeat in repeats),
                minutes=sum(repeat["minutes"] for repeat in repeats),
            )
        )
        say(f"{cell}: recalls {_percentages(results[-1])}")
    return results


def _recall_of_ngrams(tests: Sequence[RecallSequences], seed: int) -> RecallResult:
    """Kneser-Ney n-grams of the longest order, counted on sequences of all distances."""
    random = np.random.default_rng(seed)
    seen = []
    for distance in DISTANCES:
        distances = np.full(NGRAM_SEQUENCES, distance)
        inputs, answers = draw_sequences(distances, distance + OVERHEAD, random)
        seen.append(np.column_stack([inputs, answers]).ravel())
    ngram = NgramModel(np.concatenate(seen).astype(np.uint16), len(WORDS))
    accuracies = [
        float(
            np.mean(
                [
                    ngram.distribution(row[-MAX_ORDER:].astype(np.uint16)).argmax() == answer
                    for row, answer in zip(test.inputs, test.answers, strict=True)
                ]
            )
        )
        for test in tests
    ]
    return RecallResult(
        model=f"{MAX_ORDER}-gram",
        distances=DISTANCES,
        accuracies=(tuple(accuracies),),
        mastered=(),
        minutes=0.0,
    )


def _repeat(
    cell: Cell, recipe: RecallRecipe, tests: Sequence[RecallSequences], folder: Path
) -> dict[str, Any]:
    """One training of one cell: its accuracy at each distance, how far it came, and minutes."""
    path = folder / f"{cell}-{recipe.seed}.json"
    if path.exists() and read_json(path)["recipe"] == asdict(recipe):
        return read_json(path)
    started = time.monotonic()
    trainer = RecallTrainer(cell, recipe)
    with shown_progress(sys.stderr, f"recall, {cell}, seed {recipe.seed}") as show:
        status = trainer.train(
            lambda status: show(status.update / recipe.num_updates, status.line())
        )
    result = {
        "recipe": asdict(recipe),
        "minutes": (time.monotonic() - started) / 60.0,
        "distance": status.distance,
        "accuracies": [trainer.accuracy(test) for test in tests],
    }
    write_json(path, result)
    return result


def _percentages(result: RecallResult) -> str:
    return ", ".join(
        f"{mean:.0%} at {distance}"
        for distance, mean in zip(result.distances, result.means(), strict=True)
    )
