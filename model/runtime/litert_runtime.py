"""Runs an exported network with LiteRT. The only file that knows LiteRT."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.environment import Environment, EnvironmentOptions
from ai_edge_litert.hardware_accelerator import HardwareAccelerator
from ai_edge_litert.options import CpuOptions, Options

from model.config import ModelConfig
from model.errors import BundleCorruptError
from model.state import FloatArray, IntArray

# The name under which XNNPACK keeps its packed weights in memory, once for all signatures.
_WEIGHT_CACHE_IN_MEMORY = ":memory"


class LiteRTRuntime:
    """A network in a LiteRT file, for any batch size and any number of tokens.

    Implements ``model.runtime.contract.Runtime``. The file holds the network for a few batch sizes
    and chunk lengths; other sizes are put together from those, which changes no bit of any row.
    Every array returned is the caller's own. To be used from one thread at a time.

    Args:
        network: the LiteRT file, as written by ``model.network.export.export_network``.
        config: sizes of the model in the file.
        num_threads: threads per matrix product; more than one seldom pays at these sizes.

    Raises:
        BundleCorruptError: the file is missing, no LiteRT file, or no network of these sizes.
    """

    def __init__(self, network: Path, config: ModelConfig, num_threads: int = 1) -> None:
        self._config = config
        self._model = _load(network, num_threads)
        self._steps: dict[int, _Signature] = {}
        self._logits: dict[int, _Signature] = {}
        self._prefills: dict[tuple[int, int], _Signature] = {}
        state, vocab = config.state_size, config.vocab_size
        for name in self._model.get_signature_list():
            sizes = [int(digits) for digits in re.findall(r"\d+", name)]
            if name.startswith("step_"):
                (batch,) = sizes
                outputs = {"logits": (batch, vocab), "state": (batch, state)}
                self._steps[batch] = _Signature(
                    self._model, name, {"ids": (batch,), "state": (batch, state)}, outputs
                )
            elif name.startswith("logits_"):
                (batch,) = sizes
                self._logits[batch] = _Signature(
                    self._model, name, {"state": (batch, state)}, {"logits": (batch, vocab)}
                )
            elif name.startswith("prefill_"):
                batch, time = sizes
                self._prefills[batch, time] = _Signature(
                    self._model,
                    name,
                    {"ids": (batch, time), "state": (batch, state)},
                    {"state": (batch, state)},
                )
        self._step_batches = sorted(self._steps, reverse=True)
        self._prefill_times = sorted({t for _, t in self._prefills}, reverse=True)
        self._prefill_batches = {
            t: sorted((b for b, u in self._prefills if u == t), reverse=True)
            for t in self._prefill_times
        }

    @property
    def config(self) -> ModelConfig:
        """The model's sizes."""
        return self._config

    def initial_state(self, batch_size: int) -> FloatArray:
        """State before any token: [batch, state_size] of zeros."""
        return np.zeros((batch_size, self._config.state_size), np.float32)

    def prefill(self, token_ids: IntArray, state: FloatArray) -> FloatArray:
        """Reads ``token_ids`` [batch, time] int32 from ``state``; returns the state after the last."""
        token_ids = np.asarray(token_ids, np.int32)
        state = np.array(state, np.float32)
        start = 0
        for time in _pieces(token_ids.shape[1], self._prefill_times):
            chunk = token_ids[:, start : start + time]
            row = 0
            for batch in _pieces(len(state), self._prefill_batches[time]):
                rows = slice(row, row + batch)
                (state[rows],) = self._prefills[batch, time](chunk[rows], state[rows])
                row += batch
            start += time
        return state

    def step(self, token_ids: IntArray, state: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Reads one token per row: logits [batch, vocab], and the state after the token."""
        signature = self._steps.get(len(token_ids))
        if signature is not None:
            return signature(token_ids, state)
        logits = np.empty((len(token_ids), self._config.vocab_size), np.float32)
        new_state = np.empty((len(token_ids), self._config.state_size), np.float32)
        row = 0
        for batch in _pieces(len(token_ids), self._step_batches):
            rows = slice(row, row + batch)
            logits[rows], new_state[rows] = self._steps[batch](token_ids[rows], state[rows])
            row += batch
        return logits, new_state

    def logits(self, state: FloatArray) -> FloatArray:
        """Logits [batch, vocab] of the next token, from the state alone."""
        logits = np.empty((len(state), self._config.vocab_size), np.float32)
        row = 0
        for batch in _pieces(len(state), sorted(self._logits, reverse=True)):
            rows = slice(row, row + batch)
            (logits[rows],) = self._logits[batch](state[rows])
            row += batch
        return logits


class _Signature:
    """One signature of the file, with its input and output buffers."""

    def __init__(self, model: CompiledModel, name: str, inputs, outputs) -> None:
        self._model = model
        self._index = model.get_signature_index(name)
        names = model.get_signature_list()[name]
        in_buffers = model.create_input_buffers(self._index)
        out_buffers = model.create_output_buffers(self._index)
        self._inputs = in_buffers
        self._outputs = out_buffers
        by_name = dict(zip(names["inputs"], in_buffers, strict=True))
        self._writers = [
            (by_name[n], np.int32 if n == "ids" else np.float32, shape)
            for n, shape in inputs.items()
        ]
        by_name = dict(zip(names["outputs"], out_buffers, strict=True))
        self._readers = [(by_name[n], shape, shape[0] * shape[1]) for n, shape in outputs.items()]

    def __call__(self, *inputs):
        for (buffer, dtype, shape), values in zip(self._writers, inputs, strict=True):
            values = np.ascontiguousarray(values, dtype)
            if values.shape != shape:
                raise ValueError(f"expected shape {shape}, got {values.shape}")
            buffer.write(values)
        self._model.run_by_index(self._index, self._inputs, self._outputs)
        return tuple(
            buffer.read(size, np.float32).reshape(shape) for buffer, shape, size in self._readers
        )


def _pieces(total: int, sizes: list[int]) -> Iterator[int]:
    """``total`` as a sum of ``sizes`` (descending, ending in 1), largest first."""
    for size in sizes:
        while total >= size:
            yield size
            total -= size
    assert total == 0


def _load(network: Path, num_threads: int) -> CompiledModel:
    options = Options(
        hardware_accelerators=HardwareAccelerator.CPU,
        cpu_options=CpuOptions(
            num_threads=num_threads, xnnpack_weight_cache_path=_WEIGHT_CACHE_IN_MEMORY
        ),
    )
    nowhere = str(Path(__file__).parent)
    with _native_stderr_silenced():
        try:
            environment = Environment.create(
                options=EnvironmentOptions(
                    runtime_path=nowhere,
                    compiler_plugin_path=nowhere,
                    dispatch_library_path=nowhere,
                )
            )
            return CompiledModel.from_file(str(network), environment=environment, options=options)
        except RuntimeError as error:
            raise BundleCorruptError(f"{network} is not a network that LiteRT can run: {error}") from error


@contextlib.contextmanager
def _native_stderr_silenced() -> Iterator[None]:
    """Drops what native code writes to standard error meanwhile."""
    sys.stderr.flush()
    original = os.dup(2)
    with Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(original, 2)
        os.close(original)
