"""Graphs of LiteRT operators, one method an operator. Knows tensors and nothing of networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

from model.network.litert_file import Constant, LiteRTFile

_TENSOR_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int8): schema.TensorType.INT8,
}


@dataclass(frozen=True)
class Tensor:
    """A value inside one graph: its number there, its shape and its type."""

    index: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Graph:
    """One graph of a file, run as signature ``name``. A method appends an operator."""

    def __init__(self, file: LiteRTFile, name: str) -> None:
        self._file = file
        self._subgraph = schema.SubGraphT()
        self._subgraph.name = name
        self._subgraph.tensors = []
        self._subgraph.operators = []
        self._subgraph.inputs = []
        self._subgraph.outputs = []
        self._signature = schema.SignatureDefT()
        self._signature.signatureKey = name
        self._signature.inputs = []
        self._signature.outputs = []
        self._constants: dict[Constant, Tensor] = {}

    def input(self, name: str, shape: tuple[int, ...], dtype: type[np.generic]) -> Tensor:
        """An input of the signature."""
        tensor = self._new_tensor(name, shape, np.dtype(dtype))
        self._subgraph.inputs.append(tensor.index)
        self._signature.inputs.append(_signature_entry(name, tensor))
        return tensor

    def finish(self, **outputs: Tensor) -> None:
        """Names the outputs of the signature and puts the graph into the file."""
        for name, tensor in outputs.items():
            self._subgraph.outputs.append(tensor.index)
            self._signature.outputs.append(_signature_entry(name, tensor))
        self._file.add_graph(self._subgraph, self._signature)

    def lookup(self, table: Constant, row_ids: Tensor) -> Tensor:
        """Rows ``row_ids`` [n] of ``table`` [rows, width]: [n, width] float32."""
        operator = schema.BuiltinOperator.EMBEDDING_LOOKUP
        shape = (row_ids.shape[0], table.values.shape[1])
        return self._append(operator, [row_ids, self._constant(table)], shape, np.float32)

    def fully_connected(self, x: Tensor, weights: Constant, bias: Constant | None) -> Tensor:
        """The product of x [n, in] and weights [out, in] transposed, plus bias [out]: [n, out].

        With int8 weights, the runtime rounds each row of ``x`` to int8 with a scale of its own and
        sums the products exactly.
        """
        options = schema.FullyConnectedOptionsT()
        options.asymmetricQuantizeInputs = weights.scales is not None
        inputs = [x, self._constant(weights)] + ([] if bias is None else [self._constant(bias)])
        shape = (x.shape[0], weights.values.shape[0])
        return self._append(schema.BuiltinOperator.FULLY_CONNECTED, inputs, shape, options=options)

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        """The sum a + b, of equal shapes."""
        operator = schema.BuiltinOperator.ADD
        return self._append(operator, [a, b], a.shape, options=schema.AddOptionsT())

    def subtract(self, a: Tensor, b: Tensor) -> Tensor:
        """The difference a - b, of equal shapes."""
        operator = schema.BuiltinOperator.SUB
        return self._append(operator, [a, b], a.shape, options=schema.SubOptionsT())

    def multiply(self, a: Tensor, b: Tensor) -> Tensor:
        """The product a * b element by element, of equal shapes."""
        operator = schema.BuiltinOperator.MUL
        return self._append(operator, [a, b], a.shape, options=schema.MulOptionsT())

    def sigmoid(self, x: Tensor) -> Tensor:
        """1 / (1 + exp(-x))."""
        return self._append(schema.BuiltinOperator.LOGISTIC, [x], x.shape)

    def tanh(self, x: Tensor) -> Tensor:
        """The hyperbolic tangent."""
        return self._append(schema.BuiltinOperator.TANH, [x], x.shape)

    def rows(self, x: Tensor, start: int, size: int) -> Tensor:
        """``size`` rows of ``x`` [a, b] from ``start`` on."""
        return self._part(x, (start, 0), (size, x.shape[1]))

    def columns(self, x: Tensor, start: int, size: int) -> Tensor:
        """``size`` columns of ``x`` [a, b] from ``start`` on."""
        return self._part(x, (0, start), (x.shape[0], size))

    def stack_rows(self, tensors: Sequence[Tensor]) -> Tensor:
        """``tensors`` [n, width], equally wide, one below the other."""
        shape = (sum(tensor.shape[0] for tensor in tensors), tensors[0].shape[1])
        return self._concatenated(tensors, 0, shape)

    def join_columns(self, tensors: Sequence[Tensor]) -> Tensor:
        """``tensors`` [n, width], equally high, side by side."""
        shape = (tensors[0].shape[0], sum(tensor.shape[1] for tensor in tensors))
        return self._concatenated(tensors, 1, shape)

    def column_by_column(self, x: Tensor) -> Tensor:
        """The entries of ``x`` [a, b], read column by column: [b * a]."""
        rows, columns = x.shape
        turned = self._append(
            schema.BuiltinOperator.TRANSPOSE,
            [x, self._constant(self._file.integers([1, 0]))],
            (columns, rows),
            options=schema.TransposeOptionsT(),
        )
        shape = (rows * columns,)
        options = schema.ReshapeOptionsT()
        options.newShape = list(shape)
        inputs = [turned, self._constant(self._file.integers(shape))]
        return self._append(schema.BuiltinOperator.RESHAPE, inputs, shape, options=options)

    def _part(self, x: Tensor, start: tuple[int, int], shape: tuple[int, int]) -> Tensor:
        if shape == x.shape:
            return x
        inputs = [x, *(self._constant(self._file.integers(numbers)) for numbers in (start, shape))]
        operator = schema.BuiltinOperator.SLICE
        return self._append(operator, inputs, shape, options=schema.SliceOptionsT())

    def _concatenated(self, tensors: Sequence[Tensor], axis: int, shape: tuple[int, int]) -> Tensor:
        if len(tensors) == 1:
            return tensors[0]
        options = schema.ConcatenationOptionsT()
        options.axis = axis
        operator = schema.BuiltinOperator.CONCATENATION
        return self._append(operator, tensors, shape, options=options)

    def _append(
        self,
        operator: int,
        inputs: Sequence[Tensor],
        shape: tuple[int, ...],
        dtype: type[np.generic] | None = None,
        *,
        options: object = None,
    ) -> Tensor:
        """Appends an operator; the result has the first input's type unless ``dtype`` is given."""
        result = self._new_tensor(
            f"value_{len(self._subgraph.operators)}",
            shape,
            inputs[0].dtype if dtype is None else np.dtype(dtype),
        )
        node = schema.OperatorT()
        node.opcodeIndex = self._file.opcode_of(operator)
        node.inputs = [tensor.index for tensor in inputs]
        node.outputs = [result.index]
        if options is not None:
            node.builtinOptions = options
            kind = type(options).__name__.removesuffix("T")
            node.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
        self._subgraph.operators.append(node)
        return result

    def _constant(self, constant: Constant) -> Tensor:
        """The tensor of this graph that stands for ``constant``."""
        if constant not in self._constants:
            tensor = self._new_tensor(constant.name, constant.values.shape, constant.values.dtype)
            entry = self._subgraph.tensors[tensor.index]
            entry.buffer = self._file.buffer_of(constant)
            if constant.scales is not None:
                entry.quantization = self._file.quantization_of(constant)
            self._constants[constant] = tensor
        return self._constants[constant]

    def _new_tensor(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Tensor:
        entry = schema.TensorT()
        entry.name = name
        entry.shape = list(shape)
        entry.type = _TENSOR_TYPES[dtype]
        entry.hasRank = True
        self._subgraph.tensors.append(entry)
        return Tensor(len(self._subgraph.tensors) - 1, shape, dtype)


def _signature_entry(name: str, tensor: Tensor) -> schema.TensorMapT:
    entry = schema.TensorMapT()
    entry.name = name
    entry.tensorIndex = tensor.index
    return entry
