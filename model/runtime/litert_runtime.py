"""Runs an exported network with LiteRT. The only file that knows LiteRT.

The network is loaded through ``CompiledModel`` with XNNPACK's weight cache, so that all signatures
share one packed copy of the weights. The older ``Interpreter`` packs them anew for every signature,
and for every token of a signature that reads several.
"""

from __future__ import annotations

import atexit
import functools
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.environment import Environment, EnvironmentOptions
from ai_edge_litert.hardware_accelerator import HardwareAccelerator
from ai_edge_litert.options import CpuOptions, Options
from ai_edge_litert.tensor_buffer import TensorBuffer
from numpy.typing import NDArray

from model.config import ModelConfig
from model.errors import BundleCorruptError
from model.runtime import network_file
from model.runtime.native_stderr import native_stderr_silenced, silence_native_stderr
from model.runtime.row_plan import RowPlan
from model.state import FloatArray, IntArray

_Number = TypeVar("_Number", np.float32, np.int32)

# The name by which XNNPACK is told to keep its packed weights in memory instead of in a file.
_WEIGHT_CACHE_IN_MEMORY = ":memory"

# Time for trying out each batch size at loading; two runs are timed even if they take longer.
_TRIAL_NANOSECONDS = 8_000_000

# LiteRT writes outputs straight into memory of ours that begins at a multiple of this.
_ALIGNMENT = 64

# From so many rows on, logits are written to memory that is the caller's from the start: a copy
# takes longer than getting memory and telling LiteRT of it.
_MANY_ROWS = 16


class LiteRTRuntime:
    """A network in a LiteRT file, for any batch size and any number of tokens.

    Implements ``model.runtime.contract.Runtime``. The file holds the network for a few batch sizes
    and chunk lengths; other sizes are put together from those, which changes no bit of any row:
    int8 products are summed exactly, and each row of activations has a scale of its own. (Another
    kind of processor may round float32 operations differently.)

    Arguments are copied in and results copied out: inputs are never modified, and every array
    returned is the caller's own. To be used from one thread at a time.

    Args:
        network: the LiteRT file, as written by ``model.network.export.export_network``.
        config: sizes of the model in the file.
        num_threads: threads per matrix product; more than one pay for few rows, where there is
            nothing else for the other cores to do.
        most_rows: what the file holds for larger batches is not made ready, which saves memory;
            none: all is. More rows are put together from smaller batches.

    Raises:
        BundleCorruptError: the file is missing, cut short, no LiteRT file, or not of these sizes.
    """

    def __init__(
        self,
        network: Path,
        config: ModelConfig,
        num_threads: int = 1,
        *,
        most_rows: int | None = None,
    ) -> None:
        self._config = config
        network_file.check_sealed(network)
        with native_stderr_silenced():
            try:
                self._open(_load(network, num_threads), most_rows)
            except (RuntimeError, ValueError) as error:
                reason = str(error).partition("\n")[0]
                raise BundleCorruptError(
                    f"{network} is not the network its bundle describes: {reason}"
                ) from error
            costs = {batch: _nanoseconds_per_run(step) for batch, step in self._steps.items()}
        self._step_plan = RowPlan(costs)
        self._logits_plan = RowPlan({batch: costs[batch] for batch in self._logits})
        self._prefill_plan = RowPlan({batch: costs[batch] for batch in self._prefill_times})
        # A file without chunks for this reads step by step.
        batches = self._score_times or self._steps
        self._score_plan = RowPlan({batch: costs[batch] for batch in batches})

    @property
    def config(self) -> ModelConfig:
        """The model's sizes."""
        return self._config

    @property
    def step_batches(self) -> tuple[int, ...]:
        """Batch sizes, ascending, that ``step`` runs as they are, without cutting or padding."""
        return tuple(self._steps)

    @property
    def prefill_chunks(self) -> tuple[tuple[int, int], ...]:
        """(batch, time), ascending, that ``prefill`` runs as they are."""
        return tuple(self._prefills)

    @property
    def score_chunks(self) -> tuple[tuple[int, int], ...]:
        """(batch, time), ascending, that ``score`` runs as they are."""
        return tuple(self._scores)

    def initial_state(self, batch_size: int) -> FloatArray:
        """State before any token: [batch, state_size] of zeros."""
        return np.zeros((batch_size, self._config.state_size), np.float32)

    def step(self, token_ids: IntArray, state: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Reads one token per row, [batch] int32.

        Returns logits [batch, vocab] of the token that follows, and the state after the token.

        Raises:
            ValueError: shapes do not fit, or a token id is outside the vocabulary.
        """
        batch = len(token_ids)
        signature = self._steps.get(batch)
        if signature is not None:
            signature.set_ids(token_ids)
            signature.set_state(state)
            return signature.run_for_logits(), signature.output("state").copy()
        _check_shape("token_ids", np.shape(token_ids), (batch,))
        _check_shape("state", np.shape(state), (batch, self._config.state_size))
        logits = np.empty((batch, self._config.vocab_size), np.float32)
        new_state = np.empty((batch, self._config.state_size), np.float32)
        for rows, size in _cut(batch, self._step_plan):
            piece = self.step(_padded(token_ids[rows], size), _padded(state[rows], size))
            count = rows.stop - rows.start
            logits[rows], new_state[rows] = piece[0][:count], piece[1][:count]
        return logits, new_state

    def prefill(self, token_ids: IntArray, state: FloatArray) -> FloatArray:
        """Reads ``token_ids`` [batch, time] int32 from ``state``; returns the state after the last.

        Computes no logits. ``time`` may be 0, which returns a copy of ``state``.

        Raises:
            ValueError: shapes do not fit, or a token id is outside the vocabulary.
        """
        batch, num_tokens = self._check_sequences(token_ids, state)
        new_state = np.array(state, np.float32)
        if num_tokens:
            for rows, size in _cut(batch, self._prefill_plan):
                piece = self._prefill_in_chunks(
                    _padded(token_ids[rows], size), _padded(new_state[rows], size)
                )
                new_state[rows] = piece[: rows.stop - rows.start]
        return new_state

    def score(self, token_ids: IntArray, state: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Reads ``token_ids`` [batch, time] int32 from ``state``, with the logits after each token.

        Returns logits [batch, time, vocab] and the state after the last token, equal to what
        ``step`` returns token by token. ``time`` may be 0. In memory the logits after the same
        token of all rows lie together.

        Raises:
            ValueError: shapes do not fit, or a token id is outside the vocabulary.
        """
        batch, num_tokens = self._check_sequences(token_ids, state)
        logits = np.empty((num_tokens, batch, self._config.vocab_size), np.float32)
        new_state = np.array(state, np.float32)
        for rows, size in _cut(batch, self._score_plan):
            after = self._score_in_chunks(
                _padded(token_ids[rows], size), _padded(new_state[rows], size), logits[:, rows]
            )
            new_state[rows] = after[: rows.stop - rows.start]
        return logits.swapaxes(0, 1), new_state

    def logits(self, state: FloatArray) -> FloatArray:
        """Logits [batch, vocab] of the next token, from the state alone.

        Equal to what ``step`` returned when it made this state.

        Raises:
            ValueError: the shape does not fit.
        """
        batch = len(state)
        _check_shape("state", np.shape(state), (batch, self._config.state_size))
        logits = np.empty((batch, self._config.vocab_size), np.float32)
        for rows, size in _cut(batch, self._logits_plan):
            signature = self._logits[size]
            signature.set_state(_padded(state[rows], size))
            signature.run()
            logits[rows] = signature.output("logits")[: rows.stop - rows.start]
        return logits

    def _check_sequences(self, token_ids: IntArray, state: FloatArray) -> tuple[int, int]:
        """Batch and time of ``token_ids``."""
        if np.ndim(token_ids) != 2:
            raise ValueError(f"token_ids has shape {list(np.shape(token_ids))}; it needs two axes")
        batch, num_tokens = np.shape(token_ids)
        _check_shape("state", np.shape(state), (batch, self._config.state_size))
        return batch, num_tokens

    def _prefill_in_chunks(self, token_ids: IntArray, state: FloatArray) -> FloatArray:
        """``prefill`` for a batch size that the file has: the longest chunks first.

        The states returned are to be copied before anything else is run.
        """
        batch, num_tokens = token_ids.shape
        start = 0
        for chunk_tokens in self._prefill_times[batch]:
            signature = self._prefills[batch, chunk_tokens]
            while num_tokens - start >= chunk_tokens:
                signature.set_ids(token_ids[:, start : start + chunk_tokens])
                signature.set_state(state)
                signature.run()
                state = signature.output("state")
                start += chunk_tokens
        return state

    def _score_in_chunks(
        self, token_ids: IntArray, state: FloatArray, logits: FloatArray
    ) -> FloatArray:
        """``score`` for a batch size that the file has: the longest chunks first, then steps.

        Fills in ``logits`` [time, rows, vocab], of the first rows; returns the states, which are
        to be copied before anything else is run.
        """
        batch, num_tokens = token_ids.shape
        count = logits.shape[1]
        start = 0
        for chunk_tokens in self._score_times.get(batch, ()):
            signature = self._scores[batch, chunk_tokens]
            while num_tokens - start >= chunk_tokens:
                stop = start + chunk_tokens
                signature.set_ids(token_ids[:, start:stop])
                signature.set_state(state)
                signature.run()
                by_time = signature.output("logits").reshape(chunk_tokens, batch, -1)
                logits[start:stop] = by_time[:, :count]
                state = signature.output("state")
                start = stop
        for place in range(start, num_tokens):
            following, state = self.step(token_ids[:, place], state)
            logits[place] = following[:count]
        return state

    def _open(self, model: CompiledModel, most_rows: int | None) -> None:
        """Makes the signatures of ``model`` ready to run, those of at most ``most_rows`` rows.

        Raises:
            ValueError: one is missing or has other sizes; the message says which.
        """
        names = list(model.get_signature_list())
        if most_rows is not None:
            names = network_file.of_at_most(names, most_rows)
        memory = _OutputMemory(self._config, names)
        opened = functools.partial(_Signature, model, self._config, memory)
        self._steps = {
            batch: opened(network_file.step_name(batch), batch, ids=(batch,))
            for batch in network_file.step_batches(names)
        }
        self._logits = {
            batch: opened(network_file.logits_name(batch), batch, outputs=("logits",))
            for batch in network_file.logits_batches(names)
        }
        self._prefills = {
            (batch, num_tokens): opened(
                network_file.prefill_name(batch, num_tokens),
                batch,
                ids=(batch, num_tokens),
                outputs=("state",),
            )
            for batch, num_tokens in network_file.prefill_chunks(names)
        }
        self._scores = {
            (batch, num_tokens): opened(
                network_file.score_name(batch, num_tokens),
                batch,
                ids=(batch, num_tokens),
                num_logits=batch * num_tokens,
            )
            for batch, num_tokens in network_file.score_chunks(names)
        }
        self._prefill_times = _times_by_batch(self._prefills)
        self._score_times = _times_by_batch(self._scores)
        self._check_complete()

    def _check_complete(self) -> None:
        """Raises ``ValueError`` unless the signatures add up to any batch and any length."""
        batches = (*self._logits, *self._prefill_times, *self._score_times)
        needed = {network_file.step_name(batch) for batch in batches}
        missing = needed - {network_file.step_name(batch) for batch in self._steps}
        missing |= {
            network_file.prefill_name(batch, 1)
            for batch, times in self._prefill_times.items()
            if 1 not in times
        }
        if missing:
            raise ValueError(f"it has no signature {', '.join(sorted(missing))}")
        if not (self._steps and self._logits and self._prefills):
            raise ValueError("it lacks step, logits or prefill signatures")


class _OutputMemory:
    """What all signatures of a file write to: room for the largest of them.

    One signature runs at a time, and what it has written is copied before the next one runs. With
    memory of their own they would hold five times as much together.
    """

    def __init__(self, config: ModelConfig, names: Sequence[str]) -> None:
        scored = network_file.score_chunks(names)
        chunks = network_file.prefill_chunks(names) + scored
        batches = [
            *network_file.step_batches(names),
            *network_file.logits_batches(names),
            *(batch for batch, _ in chunks),
        ]
        most_rows = max(batches, default=0)
        most_logits = max([most_rows, *(batch * num_tokens for batch, num_tokens in scored)])
        self._floats = {
            "state": _aligned_floats(most_rows * config.state_size),
            "logits": _aligned_floats(most_logits * config.vocab_size),
        }

    def room_for(self, name: str, shape: tuple[int, ...]) -> FloatArray:
        """Where the output of that name and shape is written: ``logits`` or ``state``."""
        return self._floats[name][: math.prod(shape)].reshape(shape)


class _Signature:
    """One signature of the file, with the memory it reads and writes.

    Raises:
        ValueError: its tensors have other names or shapes than a model of ``config`` needs.
    """

    def __init__(
        self,
        model: CompiledModel,
        config: ModelConfig,
        memory: _OutputMemory,
        name: str,
        batch: int,
        *,
        ids: tuple[int, ...] | None = None,
        outputs: Sequence[str] = ("logits", "state"),
        num_logits: int | None = None,
    ) -> None:
        self._vocab_size = config.vocab_size
        self._shapes = {
            "state": (batch, config.state_size),
            "logits": (num_logits or batch, config.vocab_size),
        }
        inputs: dict[str, tuple[int, ...]] = {"state": self._shapes["state"]}
        if ids is not None:
            self._ids_shape = inputs["ids"] = ids
        _check_tensors(name, model.get_input_tensor_details(name), inputs)
        outputs_expected = {output: self._shapes[output] for output in outputs}
        _check_tensors(name, model.get_output_tensor_details(name), outputs_expected)
        self._model = model
        self._index = model.get_signature_index(name)
        self._input_buffers = model.create_input_buffers(self._index)
        order = model.get_signature_list()[name]
        self._inputs = dict(zip(order["inputs"], self._input_buffers, strict=True))
        self._outputs = {
            output: memory.room_for(output, self._shapes[output]) for output in outputs
        }
        self._output_buffers = [
            TensorBuffer.create_from_host_memory(self._outputs[output])
            for output in order["outputs"]
        ]
        if "logits" in outputs:
            self._place_of_logits = list(order["outputs"]).index("logits")
        self._ids: IntArray | None = None
        if ids is not None:
            self.set_ids(np.zeros(ids, np.int32))
        self.set_state(np.zeros(inputs["state"], np.float32))

    def set_ids(self, token_ids: IntArray) -> None:
        """Copies the token ids in."""
        self._ids = token_ids = np.asarray(token_ids, np.int32)
        _check_shape("token_ids", token_ids.shape, self._ids_shape)
        self._inputs["ids"].write(token_ids)

    def set_state(self, state: FloatArray) -> None:
        """Copies the state in."""
        state = np.asarray(state, np.float32)
        _check_shape("state", state.shape, self._shapes["state"])
        self._inputs["state"].write(state)

    def run(self) -> None:
        """Computes the outputs.

        Raises:
            ValueError: a token id is outside the vocabulary.
        """
        try:
            self._model.run_by_index(self._index, self._input_buffers, self._output_buffers)
        except RuntimeError as error:
            ids = self._ids
            if ids is None or (ids.min() >= 0 and ids.max() < self._vocab_size):
                raise
            raise ValueError(
                f"token ids run from {ids.min()} to {ids.max()}; "
                f"the vocabulary has {self._vocab_size}"
            ) from error

    def run_for_logits(self) -> FloatArray:
        """Computes the outputs; returns the logits, in memory that no other run writes to."""
        shape = self._shapes["logits"]
        if shape[0] < _MANY_ROWS:
            self.run()
            return self._outputs["logits"].copy()
        logits = _aligned_floats(math.prod(shape)).reshape(shape)
        usual = self._output_buffers[self._place_of_logits]
        self._output_buffers[self._place_of_logits] = TensorBuffer.create_from_host_memory(logits)
        try:
            self.run()
        finally:
            self._output_buffers[self._place_of_logits] = usual
        return logits

    def output(self, name: str) -> FloatArray:
        """An output, in the memory that the next run of any signature writes to."""
        return self._outputs[name]


def _aligned_floats(count: int) -> FloatArray:
    """Memory where LiteRT can write to, with whatever is in there."""
    memory = np.empty(4 * count + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    floats: FloatArray = memory[start : start + 4 * count].view(np.float32)
    return floats


def _times_by_batch(chunks: Iterable[tuple[int, int]]) -> dict[int, list[int]]:
    """The lengths of the chunks of each batch size, longest first."""
    times: dict[int, list[int]] = {}
    for batch, num_tokens in sorted(chunks, reverse=True):
        times.setdefault(batch, []).append(num_tokens)
    return times


def _cut(batch: int, plan: RowPlan) -> Iterator[tuple[slice, int]]:
    """The pieces of a batch: which rows, and at which batch size to run them."""
    start = 0
    for size in plan.pieces(batch):
        stop = min(start + size, batch)
        yield slice(start, stop), size
        start = stop


def _padded(rows: NDArray[_Number], batch: int) -> NDArray[_Number]:
    """``rows`` [n, ...] with rows of zeros behind them: [batch, ...]."""
    if len(rows) == batch:
        return rows
    padded = np.zeros((batch, *rows.shape[1:]), rows.dtype)
    padded[: len(rows)] = rows
    return padded


def _check_shape(name: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if shape != expected:
        raise ValueError(f"{name} has shape {list(shape)}; expected {list(expected)}")


def _check_tensors(
    signature: str, details: Mapping[str, Any], expected: Mapping[str, tuple[int, ...]]
) -> None:
    shapes = {name: tuple(tensor["shape"]) for name, tensor in details.items()}
    if shapes != expected:
        raise ValueError(f"signature {signature} has tensors {shapes}; expected {expected}")


def _nanoseconds_per_run(signature: _Signature) -> int:
    """How long one run takes on this processor: the best of several, after one that warms up."""
    signature.run()
    durations: list[int] = []
    while len(durations) < 2 or (len(durations) < 10 and sum(durations) < _TRIAL_NANOSECONDS):
        start = time.perf_counter_ns()
        signature.run()
        durations.append(time.perf_counter_ns() - start)
    return min(durations)


def _load(network: Path, num_threads: int) -> CompiledModel:
    """Raises ``RuntimeError`` when LiteRT refuses the file."""
    cpu_options = CpuOptions(
        num_threads=num_threads, xnnpack_weight_cache_path=_WEIGHT_CACHE_IN_MEMORY
    )
    return CompiledModel.from_file(
        str(network),
        environment=_environment(),
        options=Options(hardware_accelerators=HardwareAccelerator.CPU, cpu_options=cpu_options),
    )


@functools.cache
def _environment() -> Environment:
    """LiteRT's surroundings, once per process, without looking for graphics and neural processors.

    It would search these folders for their drivers, at a cost in time and memory; there are none
    beside this file.
    """
    atexit.register(silence_native_stderr)  # LiteRT reports all it lets go of then
    nowhere = str(Path(__file__).parent)
    return Environment.create(
        options=EnvironmentOptions(
            runtime_path=nowhere, compiler_plugin_path=nowhere, dispatch_library_path=nowhere
        )
    )
