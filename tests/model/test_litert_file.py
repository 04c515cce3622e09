"""The LiteRT writer: what it writes is what LiteRT runs, each constant once."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.compiled_model import CompiledModel

from model.network.litert_file import Constant, LiteRTFile
from model.network.litert_graph import Graph, Tensor

RNG = np.random.default_rng(5)
A = RNG.normal(size=(3, 4)).astype(np.float32)
B = RNG.normal(size=(3, 4)).astype(np.float32)
WEIGHTS = RNG.normal(size=(5, 4)).astype(np.float32)
BIAS = RNG.normal(size=5).astype(np.float32)
INT8 = RNG.integers(-127, 128, (5, 4)).astype(np.int8)
SCALES = RNG.uniform(0.01, 0.1, 5).astype(np.float32)
IDS = np.array([4, 0, 3], np.int32)


def run(file: bytes, path: Path, signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    path.write_bytes(file)
    model = CompiledModel.from_file(str(path))
    index = model.get_signature_index(signature)
    names = model.get_signature_list()[signature]
    into, out = model.create_input_buffers(index), model.create_output_buffers(index)
    for name, buffer in zip(names["inputs"], into, strict=True):
        buffer.write(inputs[name])
    model.run_by_index(index, into, out)
    details = model.get_output_tensor_details(signature)
    shapes = {name: tuple(details[name]["shape"]) for name in names["outputs"]}
    return {
        name: buffer.read(int(np.prod(shapes[name])), np.float32).reshape(shapes[name])
        for name, buffer in zip(names["outputs"], out, strict=True)
    }


OPERATORS: dict[str, tuple[Callable[[Graph, Tensor, Tensor], Tensor], np.ndarray]] = {
    "add": (Graph.add, A + B),
    "subtract": (Graph.subtract, A - B),
    "multiply": (Graph.multiply, A * B),
    "sigmoid": (lambda g, a, b: g.sigmoid(a), 1 / (1 + np.exp(-A))),
    "tanh": (lambda g, a, b: g.tanh(a), np.tanh(A)),
    "rows": (lambda g, a, b: g.rows(a, 1, 2), A[1:]),
    "columns": (lambda g, a, b: g.columns(a, 1, 2), A[:, 1:3]),
    "stack_rows": (lambda g, a, b: g.stack_rows([a, b]), np.concatenate([A, B])),
    "join_columns": (lambda g, a, b: g.join_columns([a, b, a]), np.concatenate([A, B, A], axis=1)),
    "fully_connected": (
        lambda g, a, b: g.fully_connected(a, Constant("w", WEIGHTS), Constant("b", BIAS)),
        A @ WEIGHTS.T + BIAS,
    ),
    "no bias": (lambda g, a, b: g.fully_connected(a, Constant("w", WEIGHTS), None), A @ WEIGHTS.T),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_compute_what_numpy_does(name: str, tmp_path: Path) -> None:
    operator, expected = OPERATORS[name]
    file = LiteRTFile("test")
    graph = Graph(file, "main")
    a, b = (graph.input(n, A.shape, np.float32) for n in "ab")
    # The sum with b keeps an operand that the operator itself leaves out.
    graph.finish(result=operator(graph, a, b), unused=graph.add(a, b))
    result = run(file.to_bytes(), tmp_path / "file.tflite", "main", a=A, b=B)["result"]
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_int8_rows_have_a_scale_each(tmp_path: Path) -> None:
    file = LiteRTFile("test")
    graph = Graph(file, "main")
    ids = graph.input("ids", IDS.shape, np.int32)
    x = graph.input("x", A.shape, np.float32)
    weights = Constant("w", INT8, SCALES)
    graph.finish(rows=graph.lookup(weights, ids), product=graph.fully_connected(x, weights, None))
    content = file.to_bytes()
    result = run(content, tmp_path / "file.tflite", "main", ids=IDS, x=A)
    meant = INT8 * SCALES[:, np.newaxis]
    np.testing.assert_allclose(result["rows"], meant[IDS], rtol=1e-6)
    largest = np.abs(A).max(axis=1, keepdims=True) / 127 * np.abs(meant).sum(axis=1)
    assert (np.abs(result["product"] - A @ meant.T) <= largest).all()


def test_column_by_column_turns_a_batch_into_time_steps(tmp_path: Path) -> None:
    file = LiteRTFile("test")
    graph = Graph(file, "main")
    ids = graph.input("ids", (2, 2), np.int32)
    table = Constant("table", WEIGHTS)
    graph.finish(rows=graph.lookup(table, graph.column_by_column(ids)))
    token_ids = np.array([[4, 1], [2, 0]], np.int32)
    result = run(file.to_bytes(), tmp_path / "file.tflite", "main", ids=token_ids)
    np.testing.assert_array_equal(result["rows"], WEIGHTS[[4, 2, 1, 0]])


def test_a_constant_is_in_the_file_once_and_aligned() -> None:
    file = LiteRTFile("test")
    weights = Constant("w", INT8, SCALES)
    for name in ("one", "two"):
        graph = Graph(file, name)
        x = graph.input("x", A.shape, np.float32)
        ids = graph.input("ids", IDS.shape, np.int32)
        graph.finish(y=graph.fully_connected(x, weights, None), rows=graph.lookup(weights, ids))
    content = file.to_bytes()
    assert content.count(INT8.tobytes()) == 1
    assert content.index(INT8.tobytes()) % 64 == 0
    assert content.count(SCALES.tobytes()) == 1
