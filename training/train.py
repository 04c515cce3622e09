"""The stage ``train``: truncated back-propagation through time, until the budget is spent.

The budget is minutes or steps; the learning rate, the validations and the log follow the share of
it that is spent. The moving average of the weights is what is validated and kept, at its best.
Killed at any moment, the stage goes on from its last checkpoint; with a budget in steps the
weights are then bit for bit those of a run that was never interrupted.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from model.errors import TrainingError
from model.state import FloatArray
from training.batches import StreamBatches, Window, validation_rows
from training.checkpoint import Checkpoint, newest_checkpoint, write_checkpoint
from training.data_parallel import ALONE, Workers
from training.log import Log, SilentLog, TrainingLog
from training.optimizer import Schedule
from training.plan import Plan
from training.progress import Show, TrainingStatus
from training.run_directory import RunDirectory
from training.token_file import TokenArray
from training.training_step import TrainingStep

logger = logging.getLogger(__name__)

NUM_VALIDATIONS = 40
NUM_RECORDS = 400
MAX_RESTARTS = 4

#: The share of the budget after which windows are as long as ``Plan.late_window`` says.
LATE = 0.75

#: A loss this many times that of guessing evenly means that training has diverged.
DIVERGED = 1.5


@dataclass
class _Progress:
    """Where training stands; saved with every checkpoint."""

    step: int = 0
    late_from: int | None = None
    seconds: float = 0.0
    best_loss: float = math.inf
    best_step: int = 0
    without_gain: int = 0
    next_validation: int = 1
    last_validation: float | None = None
    learning_rate_scale: float = 1.0
    num_restarts: int = 0
    finished: bool = False


@dataclass
class _Lately:
    """Sums since the last record of the log."""

    loss: float = 0.0
    norm: float = 0.0
    steps: int = 0
    tokens: int = 0
    since: float = field(default_factory=time.monotonic)


class Trainer:
    """Trains by ``plan`` on the given token ids, in the run's directory.

    Args:
        plan: what to train.
        run: where checkpoints and logs go, and are looked for.
        train_ids: [tokens], memory-mapped.
        validation_ids: [tokens], memory-mapped.
        end_of_text_id: starts every document.
        initial_weights: to fine-tune from; None draws them by the seed.
        started: ``time.monotonic()`` when the budget began to run.
        checkpoint_seconds: between checkpoints.
        show: is told the status after every step.
        should_stop: asked after every step; once true, a checkpoint is written and training ends.
        workers: with whom this process trains; the chief alone writes, and keeps the time.

    Raises:
        TrainingError: the corpus is too small, checkpoints are damaged, or the disk refuses.
    """

    def __init__(
        self,
        plan: Plan,
        run: RunDirectory,
        *,
        train_ids: TokenArray,
        validation_ids: TokenArray,
        end_of_text_id: int,
        initial_weights: dict[str, FloatArray] | None,
        started: float,
        checkpoint_seconds: float,
        show: Show,
        should_stop: Callable[[], bool],
        workers: Workers = ALONE,
    ) -> None:
        self._plan = plan
        self._run = run
        self._batches = StreamBatches(
            train_ids, plan.batch_size, plan.window, end_of_text_id, plan.seed
        )
        # Begins anew, at another place of the text.
        self._late_batches = StreamBatches(
            train_ids,
            plan.batch_size,
            plan.late_window or plan.window,
            end_of_text_id,
            plan.seed + 1,
        )
        self._validation, self._validation_window = validation_rows(
            validation_ids, plan.validation_tokens, plan.window
        )
        self._end_of_text_id = end_of_text_id
        self._checkpoint_seconds = workers.as_chief(checkpoint_seconds)
        self._show = show
        self._should_stop = should_stop
        self._schedule = Schedule(plan.learning_rate)
        self._workers = workers
        self._step = TrainingStep(plan, workers)
        if initial_weights is not None:
            self._step.start_from(initial_weights)
        self._fresh = self._step.arrays()
        self._best: dict[str, FloatArray] = {}
        self._reserve_seconds = 0.01 * plan.minutes * 60.0
        self._at = _Progress()
        self._resume()
        self._started = workers.as_chief(started) - self._at.seconds
        self._last_checkpoint = workers.monotonic()
        self._lately = _Lately()

    def run(self) -> None:
        """Trains until the budget is spent or nothing is gained any more.

        Raises:
            TrainingError: training diverges again and again, or it was told to stop.
        """
        if self._at.finished:
            return
        log = self._open_log()
        try:
            if self._at.step == 0:
                self._save()
            while not self._is_over():
                self._train_once(log)
                if self._workers.any(self._should_stop()):
                    self._save()
                    raise TrainingError(
                        f"training was stopped at {self._share():.0%} of its budget; start the "
                        "same command again to go on"
                    )
            self._validate(log)
            self._at.finished = True
            self._save()
        finally:
            log.close()

    def _open_log(self) -> Log:
        if not self._workers.cluster.is_chief:
            return SilentLog()
        return TrainingLog(self._run.log, self._run.events, step=self._at.step)

    def _train_once(self, log: Log) -> None:
        share = self._share()
        learning_rate = self._schedule.at(share, self._at.step) * self._at.learning_rate_scale
        window = self._read(share)
        loss, norm = self._step.train(window, self._at.step, learning_rate)
        if not self._is_sound(loss, norm):
            self._restart(loss)
            return
        self._at.step += 1
        self._lately.loss += loss
        self._lately.norm += norm
        self._lately.steps += 1
        self._lately.tokens += window.inputs.size
        after = self._share()
        if int(after * NUM_RECORDS) > int(share * NUM_RECORDS) or self._lately.steps >= 100:
            self._record(log, learning_rate)
        if after * NUM_VALIDATIONS >= self._at.next_validation and after < 1.0:
            self._validate(log)
        if self._workers.monotonic() - self._last_checkpoint >= self._checkpoint_seconds:
            self._save()

    def _read(self, share: float) -> Window:
        """What the next step reads."""
        at = self._at
        if at.late_from is None and self._plan.late_window is not None and share >= LATE:
            at.late_from = at.step
        if at.late_from is None:
            return self._batches.read(at.step)
        return self._late_batches.read(at.step - at.late_from)

    def _epochs(self) -> float:
        """Passes over the corpus made."""
        at = self._at
        if at.late_from is None:
            return self._batches.epochs(at.step)
        late = self._late_batches.epochs(at.step - at.late_from)
        return self._batches.epochs(at.late_from) + late

    def _share(self) -> float:
        """How much of the budget is spent, 0 to 1."""
        if self._plan.steps is not None:
            return self._at.step / self._plan.steps
        budget = self._plan.minutes * 60.0 - self._reserve_seconds
        return min(1.0, self._seconds() / max(budget, 1e-3))

    def _seconds(self) -> float:
        return self._workers.monotonic() - self._started

    def _is_over(self) -> bool:
        return self._share() >= 1.0 or self._at.without_gain >= self._plan.patience

    def _is_sound(self, loss: float, norm: float) -> bool:
        worst = DIVERGED * math.log(self._plan.config.vocab_size) + 1.0
        return math.isfinite(loss) and math.isfinite(norm) and loss < worst

    def _restart(self, loss: float) -> None:
        """Goes back to the last checkpoint with half the learning rate."""
        at = self._at
        restarts, scale = at.num_restarts + 1, at.learning_rate_scale / 2.0
        if restarts > MAX_RESTARTS:
            raise TrainingError(
                f"training diverged (loss {loss:g} at step {at.step}) in spite of {MAX_RESTARTS} "
                f"restarts at ever lower learning rates; start again with --restart and "
                f"--learning-rate below {self._plan.learning_rate * scale:.1g}"
            )
        logger.warning(
            "training diverged at step %d (loss %g): going back to the last checkpoint with half "
            "the learning rate",
            at.step,
            loss,
        )
        self._resume()
        self._at.num_restarts, self._at.learning_rate_scale = restarts, scale
        self._lately = _Lately()

    def _record(self, log: Log, learning_rate: float) -> None:
        now = time.monotonic()
        lately, self._lately = self._lately, _Lately(since=now)
        seconds = max(now - lately.since, 1e-6)
        speed = lately.tokens / seconds
        share = self._share()
        log.write(
            {
                "step": self._at.step,
                "seconds": round(self._seconds(), 3),
                "share": share,
                "epochs": self._epochs(),
                "loss": lately.loss / lately.steps,
                "gradient_norm": lately.norm / lately.steps,
                "learning_rate": learning_rate,
                "tokens_per_second": speed,
            }
        )
        self._show(
            TrainingStatus(
                share=share,
                step=self._at.step,
                tokens_per_second=speed,
                loss=lately.loss / lately.steps,
                validation_loss=self._at.last_validation,
                seconds_left=self._seconds_left(seconds / lately.steps),
            )
        )

    def _seconds_left(self, seconds_per_step: float) -> float:
        if self._plan.steps is None:
            return self._plan.minutes * 60.0 - self._seconds()
        return (self._plan.steps - self._at.step) * seconds_per_step

    def _validate(self, log: Log) -> None:
        """Scores the averaged weights and keeps them where they are the best so far."""
        started = self._workers.monotonic()
        loss = self._workers.as_chief(
            self._step.validate(self._validation, self._validation_window, self._end_of_text_id)
        )
        at = self._at
        at.next_validation = int(self._share() * NUM_VALIDATIONS) + 1
        at.last_validation = loss
        at.without_gain += 1
        if loss < at.best_loss:
            at.best_loss, at.best_step, at.without_gain = loss, at.step, 0
            self._best = self._step.averaged_weights()
        log.write({"step": at.step, "seconds": round(self._seconds(), 3), "validation_loss": loss})
        taken = self._workers.monotonic() - started
        self._reserve_seconds = 2.0 * taken
        self._lately.since += taken

    def _save(self) -> None:
        self._at.seconds = self._seconds()
        best = {f"best/{name}": value for name, value in self._best.items()}
        checkpoint = Checkpoint({**self._step.arrays(), **best}, vars(self._at).copy())
        if self._workers.cluster.is_chief:
            write_checkpoint(self._run.checkpoints, checkpoint)
        self._last_checkpoint = self._workers.monotonic()

    def _resume(self) -> None:
        """Takes up the chief's newest checkpoint, or the start where there is none."""
        newest = (
            newest_checkpoint(self._run.checkpoints) if self._workers.cluster.is_chief else None
        )
        checkpoint = self._workers.chiefs_checkpoint(newest or Checkpoint(self._fresh, {}))
        self._at = _Progress(**checkpoint.meta)
        self._best = checkpoint.group("best")
        self._step.assign(checkpoint.arrays)


def trained_weights(run: RunDirectory) -> tuple[dict[str, FloatArray], dict[str, Any]]:
    """The best weights of a finished training, by canonical name, and where they were found.

    Raises:
        TrainingError: the run is not trained to its end.
    """
    checkpoint = newest_checkpoint(run.checkpoints)
    if checkpoint is None or not checkpoint.meta["finished"]:
        raise TrainingError(
            f"run {run.name} is not trained yet; start: python -m training train --name {run.name}"
        )
    return checkpoint.group("best"), dict(checkpoint.meta)
