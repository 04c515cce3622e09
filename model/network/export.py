"""From weights to the file a service runs: the network in LiteRT, with int8 or float32 weights.

Every signature is the same arithmetic in the same order, so a row's result is the same bits however
a prompt is cut and whatever the batch:

- the products of the inputs, x · kernel + bias, stand apart from those of the states. A chunk of
  several tokens makes the former for all its tokens at once, h · recurrent_kernel token by token;
- int8 weights have one scale per output (per token in the embedding, which, when tied, is one
  matrix for both uses); inputs of a product get one scale per row at run time; sums are exact;
- where the vocabulary is small, embedding · kernel + bias of the first layer is a float32 table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from model.config import NUM_STATE_TENSORS, ModelConfig
from model.errors import ConfigurationError
from model.network.litert_file import Constant, LiteRTFile
from model.network.litert_graph import Graph, Tensor
from model.runtime import network_file
from model.state import FloatArray

#: Batch sizes for one token per row.
STEP_BATCHES = (1, 4, 8, 16, 32, 64)

#: Batch sizes for logits from states: few rows end their prompt in the same step.
LOGITS_BATCHES = (1, 4, 16)

#: (batch, tokens) to read at once with the logits after each token, which scores prompts. Other
#: lengths are put together with steps.
SCORE_CHUNKS = ((1, 2), (1, 4), (1, 8), (4, 2), (4, 8))

#: (batch, tokens) to read at once without logits. All signatures share their weights, but LiteRT
#: keeps tables for each: 32 tokens of two layers would take 3 MB, and read a seventh faster.
PREFILL_CHUNKS = ((1, 1), (1, 2), (1, 4), (1, 8), (1, 16), (4, 1), (4, 8), (16, 1), (16, 8))

#: Vocabularies up to this size get the products of the first layer's inputs as a table: for
#: characters a fifth to a third less work in a step, for a few megabytes.
MAX_TABLE_ROWS = 512


def export_network(
    config: ModelConfig,
    weights: Mapping[str, FloatArray],
    *,
    quantise: bool,
    step_batches: Sequence[int] = STEP_BATCHES,
    logits_batches: Sequence[int] = LOGITS_BATCHES,
    prefill_chunks: Sequence[tuple[int, int]] = PREFILL_CHUNKS,
    score_chunks: Sequence[tuple[int, int]] = SCORE_CHUNKS,
) -> bytes:
    """The network as a LiteRT file with the signatures of ``model.runtime.network_file``.

    Args:
        config: sizes and kind of the network; dropout plays no part.
        weights: the arrays of ``config.weight_shapes()``.
        quantise: int8 matrices, a quarter of the size; else float32.
        step_batches: batch sizes for ``step``. A runtime puts other sizes together from these.
        logits_batches: batch sizes for ``logits``; each must be among ``step_batches``.
        prefill_chunks: (batch, tokens) for ``prefill``; each batch size must be among
            ``step_batches`` and have a chunk of one token.
        score_chunks: (batch, tokens) for ``score``; each batch size must be among
            ``step_batches``.

    Raises:
        ConfigurationError: an array is missing, unknown, of a wrong shape or not finite.
    """
    _check(config, weights)
    network = _Network(config, _constants(config, weights, quantise=quantise))
    file = LiteRTFile("foretoken recurrent language model")
    for batch in step_batches:
        network.add_step(Graph(file, network_file.step_name(batch)), batch)
    for batch in logits_batches:
        network.add_logits(Graph(file, network_file.logits_name(batch)), batch)
    for batch, num_tokens in prefill_chunks:
        graph = Graph(file, network_file.prefill_name(batch, num_tokens))
        network.add_prefill(graph, batch, num_tokens)
    for batch, num_tokens in score_chunks:
        graph = Graph(file, network_file.score_name(batch, num_tokens))
        network.add_score(graph, batch, num_tokens)
    return network_file.sealed(file.to_bytes())


def quantised_rows(name: str, values: FloatArray) -> Constant:
    """``values`` [rows, columns] rounded to int8, symmetrically, with one scale per row.

    The scale is max |row| / 127, so that the error is at most half a scale and zero stays zero.
    """
    scales = np.abs(values).max(axis=1) / np.float32(127)
    scales = np.maximum(scales, np.finfo(np.float32).tiny)
    rounded = np.rint(values / scales[:, np.newaxis]).clip(-127, 127)
    return Constant(name, rounded.astype(np.int8), scales)


@dataclass(frozen=True)
class _Layer:
    """A layer's arrays. ``table`` holds products of inputs ready-made, in place of ``kernel``."""

    kernel: Constant | None
    table: Constant | None
    input_bias: Constant
    recurrent_kernel: Constant
    recurrent_bias: Constant | None


@dataclass(frozen=True)
class _Constants:
    """The arrays of a network, each [out, in] as the file's products take them."""

    embedding: Constant
    layers: tuple[_Layer, ...]
    projection: Constant | None
    output: Constant
    output_bias: Constant


def _check(config: ModelConfig, weights: Mapping[str, FloatArray]) -> None:
    shapes = {name: np.shape(values) for name, values in weights.items()}
    expected = config.weight_shapes()
    wrong = sorted(name for name in {*shapes, *expected} if shapes.get(name) != expected.get(name))
    if wrong:
        raise ConfigurationError(
            "these weights do not fit the model: "
            + "; ".join(f"{n} has {shapes.get(n)}, needs {expected.get(n)}" for n in wrong)
        )
    for name, values in weights.items():
        if not np.isfinite(values).all():
            raise ConfigurationError(f"weight {name} holds values that are not finite numbers")


def _constants(
    config: ModelConfig, weights: Mapping[str, FloatArray], *, quantise: bool
) -> _Constants:
    def floats(name: str, values: FloatArray) -> Constant:
        return Constant(name, np.ascontiguousarray(values, np.float32))

    def matrix(name: str, values: FloatArray) -> Constant:
        constant = floats(name, values)
        return quantised_rows(name, constant.values) if quantise else constant

    layers = []
    for k in range(config.num_layers):
        kernel, recurrent_kernel, bias = (
            np.asarray(weights[f"layer_{k}/{part}"], np.float32)
            for part in ("kernel", "recurrent_kernel", "bias")
        )
        input_bias, *recurrent_bias = np.atleast_2d(bias)
        has_table = k == 0 and config.vocab_size <= MAX_TABLE_ROWS
        layers.append(
            _Layer(
                kernel=None if has_table else matrix(f"layer_{k}/kernel", kernel.T),
                table=floats(f"layer_{k}/table", weights["embedding"] @ kernel + input_bias)
                if has_table
                else None,
                input_bias=floats(f"layer_{k}/input_bias", input_bias),
                recurrent_kernel=matrix(f"layer_{k}/recurrent_kernel", recurrent_kernel.T),
                recurrent_bias=floats(f"layer_{k}/recurrent_bias", recurrent_bias[0])
                if recurrent_bias
                else None,
            )
        )
    embedding = matrix("embedding", weights["embedding"])
    return _Constants(
        embedding=embedding,
        layers=tuple(layers),
        projection=matrix("projection/kernel", weights["projection/kernel"].T)
        if config.has_projection
        else None,
        output=embedding
        if config.tie_embeddings
        else matrix("output/kernel", weights["output/kernel"].T),
        output_bias=floats("output/bias", weights["output/bias"]),
    )


class _Network:
    """Writes graphs of one network, each for one batch size."""

    def __init__(self, config: ModelConfig, constants: _Constants) -> None:
        self._config = config
        self._constants = constants

    def add_step(self, graph: Graph, batch: int) -> None:
        """One token per row: logits and new state."""
        ids = graph.input("ids", (batch,), np.int32)
        state = graph.input("state", (batch, self._config.state_size), np.float32)
        (hidden,), new_state = self._run_layers(graph, ids, state, num_tokens=1)
        graph.finish(logits=self._logits(graph, hidden), state=new_state)

    def add_logits(self, graph: Graph, batch: int) -> None:
        """From the last layer's hidden state, which is the output of the network's last step."""
        config = self._config
        state = graph.input("state", (batch, config.state_size), np.float32)
        layer_size = config.state_size // config.num_layers
        hidden = graph.columns(state, config.state_size - layer_size, config.hidden_size)
        graph.finish(logits=self._logits(graph, hidden))

    def add_prefill(self, graph: Graph, batch: int, num_tokens: int) -> None:
        """Several tokens per row, one after the other: the new state."""
        _, new_state = self._read_chunk(graph, batch, num_tokens)
        graph.finish(state=new_state)

    def add_score(self, graph: Graph, batch: int, num_tokens: int) -> None:
        """Several tokens per row, one after the other: the logits after each, the new state."""
        hiddens, new_state = self._read_chunk(graph, batch, num_tokens)
        graph.finish(logits=self._logits(graph, graph.stack_rows(hiddens)), state=new_state)

    def _read_chunk(self, graph: Graph, batch: int, num_tokens: int) -> tuple[list[Tensor], Tensor]:
        """Inputs for several tokens per row, and all layers over them, as ``_run_layers``."""
        ids = graph.input("ids", (batch, num_tokens), np.int32)
        state = graph.input("state", (batch, self._config.state_size), np.float32)
        by_time = graph.column_by_column(ids)
        return self._run_layers(graph, by_time, state, num_tokens=num_tokens)

    def _run_layers(
        self, graph: Graph, ids: Tensor, state: Tensor, *, num_tokens: int
    ) -> tuple[list[Tensor], Tensor]:
        """All layers over ``ids`` [num_tokens * batch]: the last hidden states, the new state."""
        batch = state.shape[0]
        size = self._config.hidden_size
        num_carried = NUM_STATE_TENSORS[self._config.cell]
        inputs: Tensor | None = None
        outputs: list[Tensor] = []
        new_state: list[Tensor] = []
        for k, layer in enumerate(self._constants.layers):
            products = self._input_products(graph, layer, ids, inputs)
            start = k * num_carried * size
            carried = [graph.columns(state, start + j * size, size) for j in range(num_carried)]
            outputs = []
            for t in range(num_tokens):
                now = graph.rows(products, t * batch, batch)
                carried = self._run_cell(graph, layer, now, carried)
                outputs.append(carried[0])
            new_state += carried
            if k + 1 < len(self._constants.layers):
                inputs = graph.stack_rows(outputs)
        return outputs, graph.join_columns(new_state)

    def _input_products(
        self, graph: Graph, layer: _Layer, ids: Tensor, inputs: Tensor | None
    ) -> Tensor:
        """The products x · kernel + bias of all tokens: [num_tokens * batch, gates * hidden]."""
        if layer.table is not None:
            return graph.lookup(layer.table, ids)
        assert layer.kernel is not None
        if inputs is None:
            inputs = graph.lookup(self._constants.embedding, ids)
        return graph.fully_connected(inputs, layer.kernel, layer.input_bias)

    def _run_cell(
        self, graph: Graph, layer: _Layer, products: Tensor, carried: list[Tensor]
    ) -> list[Tensor]:
        """One step of one layer: hidden state h, and for an LSTM cell state c behind it."""
        h = carried[0]
        recurrent = graph.fully_connected(h, layer.recurrent_kernel, layer.recurrent_bias)
        if self._config.cell == "simple_rnn":
            return [graph.tanh(graph.add(products, recurrent))]
        if self._config.cell == "gru":
            return [_gru(graph, products, recurrent, h)]
        return _lstm(graph, graph.add(products, recurrent), carried[1])

    def _logits(self, graph: Graph, hidden: Tensor) -> Tensor:
        constants = self._constants
        if constants.projection is not None:
            hidden = graph.fully_connected(hidden, constants.projection, None)
        return graph.fully_connected(hidden, constants.output, constants.output_bias)


def _lstm(graph: Graph, sums: Tensor, c: Tensor) -> list[Tensor]:
    """Hochreiter & Schmidhuber 1997, forget gate after Gers et al. 2000.

    c' = σ(f) c + σ(i) tanh(g); h' = σ(o) tanh(c').
    """
    i, f, g, o = _blocks(graph, sums, 4)
    kept = graph.multiply(graph.sigmoid(f), c)
    c = graph.add(kept, graph.multiply(graph.sigmoid(i), graph.tanh(g)))
    return [graph.multiply(graph.sigmoid(o), graph.tanh(c)), c]


def _gru(graph: Graph, products: Tensor, recurrent: Tensor, h: Tensor) -> Tensor:
    """Cho et al. 2014, with the reset after the product (Keras' ``reset_after``).

    z, r = σ(x + h); n = tanh(x_n + r h_n); h' = n + z (h - n).
    """
    x_z, x_r, x_n = _blocks(graph, products, 3)
    h_z, h_r, h_n = _blocks(graph, recurrent, 3)
    z = graph.sigmoid(graph.add(x_z, h_z))
    r = graph.sigmoid(graph.add(x_r, h_r))
    n = graph.tanh(graph.add(x_n, graph.multiply(r, h_n)))
    return graph.add(n, graph.multiply(z, graph.subtract(h, n)))


def _blocks(graph: Graph, x: Tensor, count: int) -> list[Tensor]:
    """``x`` [n, count * size] as blocks of columns [n, size], one for each gate."""
    size = x.shape[1] // count
    return [graph.columns(x, k * size, size) for k in range(count)]
