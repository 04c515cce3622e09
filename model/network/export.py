"""Turns weights into the LiteRT file that a service runs: int8 or float32, no Keras needed to run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from model.config import ModelConfig
from model.errors import ConfigurationError
from model.network.litert_file import Constant, Graph, LiteRTFile, Tensor
from model.state import FloatArray

STEP_BATCHES: Sequence[int] = (1, 2, 4, 8, 16, 32, 64)
PREFILL_CHUNKS: Sequence[tuple[int, int]] = tuple((b, t) for b in (1, 2, 4, 8, 16, 32) for t in (1, 8))


def export_network(
    config: ModelConfig,
    weights: Mapping[str, FloatArray],
    *,
    quantise: bool,
    step_batches: Sequence[int] = STEP_BATCHES,
    prefill_chunks: Sequence[tuple[int, int]] = PREFILL_CHUNKS,
) -> bytes:
    constants = _constants(config, weights, quantise)
    file = LiteRTFile("foretoken recurrent language model")
    for batch in step_batches:
        _add_step(file, config, constants, batch)
        _add_logits(file, config, constants, batch)
    for batch, time in prefill_chunks:
        _add_prefill(file, config, constants, batch, time)
    return file.to_bytes()


@dataclass(frozen=True)
class _Layer:
    kernel: Constant
    input_bias: Constant
    recurrent_kernel: Constant
    recurrent_bias: Constant | None


@dataclass(frozen=True)
class _Constants:
    embedding: Constant
    layers: tuple[_Layer, ...]
    projection: Constant | None
    output: Constant
    output_bias: Constant


def _constants(config, weights, quantise) -> _Constants:
    def matrix(name: str, values) -> Constant:
        values = np.ascontiguousarray(values, np.float32)
        return quantised_rows(name, values) if quantise else Constant(name, values)

    layers = []
    for k in range(config.num_layers):
        bias = np.atleast_2d(np.asarray(weights[f"layer_{k}/bias"], np.float32))
        layers.append(
            _Layer(
                kernel=matrix(f"layer_{k}/kernel", weights[f"layer_{k}/kernel"].T),
                input_bias=Constant(f"layer_{k}/input_bias", bias[0]),
                recurrent_kernel=matrix(
                    f"layer_{k}/recurrent_kernel", weights[f"layer_{k}/recurrent_kernel"].T
                ),
                recurrent_bias=Constant(f"layer_{k}/recurrent_bias", bias[1])
                if len(bias) == 2
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
        output_bias=Constant("output/bias", np.asarray(weights["output/bias"], np.float32)),
    )


def quantised_rows(name: str, values: FloatArray) -> Constant:
    scales = np.maximum(np.abs(values).max(axis=1), 1e-30) / np.float32(127)
    scales = scales.astype(np.float32)
    rounded = np.clip(np.rint(values / scales[:, None]), -127, 127).astype(np.int8)
    return Constant(name, rounded, scales)


def _add_step(file, config, constants, batch):
    graph = file.graph(f"step_{batch}")
    ids = graph.input("ids", (batch,), np.int32)
    state = graph.input("state", (batch, config.state_size), np.float32)
    x, new_state = _layers(graph, config, constants, ids, state, batch, 1)
    graph.finish(logits=_output(graph, constants, x), state=new_state)


def _add_logits(file, config, constants, batch):
    graph = file.graph(f"logits_{batch}")
    state = graph.input("state", (batch, config.state_size), np.float32)
    per_layer = config.state_size // config.num_layers
    x = graph.part(state, 1, (config.num_layers - 1) * per_layer, config.hidden_size)
    graph.finish(logits=_output(graph, constants, x))


def _add_prefill(file, config, constants, batch, time):
    graph = file.graph(f"prefill_{batch}x{time}")
    ids = graph.input("ids", (batch, time), np.int32)
    state = graph.input("state", (batch, config.state_size), np.float32)
    flat = graph.flatten_transposed(ids)
    _, new_state = _layers(graph, config, constants, flat, state, batch, time)
    graph.finish(state=new_state)


def _layers(graph, config, constants, ids, state, batch, time):
    x = graph.lookup(constants.embedding, ids)
    size = config.hidden_size
    tensors = config.state_size // config.num_layers // size
    new_state = []
    for k, layer in enumerate(constants.layers):
        carried = [graph.part(state, 1, (k * tensors + j) * size, size) for j in range(tensors)]
        products = graph.fully_connected(x, layer.kernel, layer.input_bias)
        hidden = []
        for t in range(time):
            product = graph.part(products, 0, t * batch, batch)
            carried = _CELLS[config.cell](graph, layer, size, product, carried)
            hidden.append(carried[0])
        new_state += carried
        if k + 1 < config.num_layers:
            x = graph.concatenate(hidden, 0)
    return carried[0], graph.concatenate(new_state, 1)


def _gates(graph, z, size):
    return [graph.part(z, 1, k * size, size) for k in range(z.shape[1] // size)]


def _simple_rnn(graph, layer, size, product, carried):
    recurrent = graph.fully_connected(carried[0], layer.recurrent_kernel, None)
    return [graph.tanh(graph.add(product, recurrent))]


def _lstm(graph, layer, size, product, carried):
    h, c = carried
    recurrent = graph.fully_connected(h, layer.recurrent_kernel, None)
    i, f, g, o = _gates(graph, graph.add(product, recurrent), size)
    c = graph.add(
        graph.multiply(graph.sigmoid(f), c), graph.multiply(graph.sigmoid(i), graph.tanh(g))
    )
    return [graph.multiply(graph.sigmoid(o), graph.tanh(c)), c]


def _gru(graph, layer, size, product, carried):
    (h,) = carried
    recurrent = graph.fully_connected(h, layer.recurrent_kernel, layer.recurrent_bias)
    xz, xr, xn = _gates(graph, product, size)
    hz, hr, hn = _gates(graph, recurrent, size)
    z = graph.sigmoid(graph.add(xz, hz))
    r = graph.sigmoid(graph.add(xr, hr))
    n = graph.tanh(graph.add(xn, graph.multiply(r, hn)))
    return [graph.add(n, graph.multiply(z, graph.subtract(h, n)))]


_CELLS = {"simple_rnn": _simple_rnn, "gru": _gru, "lstm": _lstm}


def _output(graph, constants, x):
    if constants.projection is not None:
        x = graph.fully_connected(x, constants.projection, None)
    return graph.fully_connected(x, constants.output, constants.output_bias)
