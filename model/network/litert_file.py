"""Writes LiteRT (TensorFlow Lite) files: constants, graphs of operators, named signatures.

Knows the file format and nothing of networks. A graph's constants are *shared*: an array asked for
twice, by whatever operators of whatever graphs, is in the file once, behind the header, at an
address divisible by 64, so that a runtime can use it in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from numpy.typing import NDArray
from tensorflow.lite.python import schema_py_generated as schema

_ALIGNMENT_BYTES = 64
_FILE_IDENTIFIER = b"TFL3"
_TENSOR_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int8): schema.TensorType.INT8,
}


@dataclass(frozen=True, eq=False)
class Constant:
    """An array of the file. int8 values may carry one float32 ``scales`` entry per row (axis 0)."""

    name: str
    values: NDArray[Any]
    scales: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Tensor:
    """A value inside one graph: its index there, its shape and its NumPy type."""

    index: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class LiteRTFile:
    """A file in the making: ``graph()`` as often as needed, then ``to_bytes()``."""

    def __init__(self, description: str) -> None:
        self._model = schema.ModelT()
        self._model.version = 3
        self._model.description = description
        self._model.buffers = [schema.BufferT()]  # the format keeps the first for "no data"
        self._model.operatorCodes = []
        self._model.subgraphs = []
        self._model.signatureDefs = []
        self._payloads: list[bytes] = [b""]
        self._buffer_of_constant: dict[Constant, int] = {}
        self._opcode_of_operator: dict[int, int] = {}
        self._shapes: dict[tuple[int, ...], Constant] = {}

    def graph(self, name: str) -> Graph:
        """A new, empty graph that will be run as signature ``name``."""
        return Graph(self, name)

    def to_bytes(self) -> bytes:
        """The finished file."""
        header_bytes = len(self._pack())
        position = header_bytes
        for buffer, payload in zip(self._model.buffers, self._payloads, strict=True):
            if payload:
                position += -position % _ALIGNMENT_BYTES
                buffer.offset = position
                position += len(payload)
        parts = [self._pack()]
        assert len(parts[0]) == header_bytes
        position = header_bytes
        for payload in self._payloads:
            if payload:
                padding = -position % _ALIGNMENT_BYTES
                parts += [bytes(padding), payload]
                position += padding + len(payload)
        return b"".join(parts)

    def _pack(self) -> bytes:
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(self._model.Pack(builder), file_identifier=_FILE_IDENTIFIER)
        return bytes(builder.Output())

    def _buffer_for(self, constant: Constant) -> int:
        """Index of the buffer that holds ``constant``; adds it at its first use."""
        if constant in self._buffer_of_constant:
            return self._buffer_of_constant[constant]
        payload = np.ascontiguousarray(constant.values).tobytes()
        buffer = schema.BufferT()
        buffer.offset, buffer.size = 2, len(payload)  # 0 and 1 mean "inside the header"
        self._model.buffers.append(buffer)
        self._payloads.append(payload)
        self._buffer_of_constant[constant] = len(self._payloads) - 1
        return self._buffer_of_constant[constant]

    def _integers(self, values: tuple[int, ...]) -> Constant:
        """A list of whole numbers that an operator takes as an input."""
        if values not in self._shapes:
            self._shapes[values] = Constant(f"integers_{len(self._shapes)}", np.int32(values))
        return self._shapes[values]

    def _opcode_for(self, operator: int) -> int:
        """Index of the entry that declares the use of ``operator``; adds it at its first use."""
        if operator not in self._opcode_of_operator:
            code = schema.OperatorCodeT()
            code.builtinCode = operator
            code.deprecatedBuiltinCode = min(operator, 127)
            code.version = _OPERATOR_VERSIONS.get(operator, 1)
            self._model.operatorCodes.append(code)
            self._opcode_of_operator[operator] = len(self._model.operatorCodes) - 1
        return self._opcode_of_operator[operator]

    def _add_graph(self, subgraph: Any, signature: Any) -> None:
        signature.subgraphIndex = len(self._model.subgraphs)
        self._model.subgraphs.append(subgraph)
        self._model.signatureDefs.append(signature)


_OPERATOR_VERSIONS = {
    schema.BuiltinOperator.FULLY_CONNECTED: 9,
    schema.BuiltinOperator.EMBEDDING_LOOKUP: 4,
}


class Graph:
    """One graph of operators, run as one signature. Methods append operators, in running order."""

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

    def input(self, name: str, shape: Sequence[int], dtype: type[np.generic]) -> Tensor:
        """An input of the signature."""
        tensor = self._tensor(name, tuple(shape), np.dtype(dtype))
        self._subgraph.inputs.append(tensor.index)
        self._signature.inputs.append(_named(name, tensor))
        return tensor

    def finish(self, **outputs: Tensor) -> None:
        """Names the outputs and puts the graph into the file."""
        for name, tensor in outputs.items():
            self._subgraph.outputs.append(tensor.index)
            self._signature.outputs.append(_named(name, tensor))
        self._file._add_graph(self._subgraph, self._signature)

    def lookup(self, table: Constant, row_ids: Tensor) -> Tensor:
        """Rows ``row_ids`` [n] of ``table`` [rows, width] as float32 [n, width]."""
        shape = (row_ids.shape[0], table.values.shape[1])
        return self._operator(
            schema.BuiltinOperator.EMBEDDING_LOOKUP, [row_ids, self._constant(table)], shape
        )

    def fully_connected(self, x: Tensor, weights: Constant, bias: Constant | None) -> Tensor:
        """x [n, in] · weightsᵀ [in, out] + bias [out]. With int8 weights, the runtime rounds each row.

        of ``x`` to int8 with a scale of its own, and sums the products exactly.
        """
        options = schema.FullyConnectedOptionsT()
        options.asymmetricQuantizeInputs = weights.scales is not None
        inputs = [x, self._constant(weights)] + ([] if bias is None else [self._constant(bias)])
        return self._operator(
            schema.BuiltinOperator.FULLY_CONNECTED,
            inputs,
            (x.shape[0], weights.values.shape[0]),
            (schema.BuiltinOptions.FullyConnectedOptions, options),
        )

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        """a + b, of equal shapes."""
        options = (schema.BuiltinOptions.AddOptions, schema.AddOptionsT())
        return self._operator(schema.BuiltinOperator.ADD, [a, b], a.shape, options)

    def subtract(self, a: Tensor, b: Tensor) -> Tensor:
        """a - b, of equal shapes."""
        options = (schema.BuiltinOptions.SubOptions, schema.SubOptionsT())
        return self._operator(schema.BuiltinOperator.SUB, [a, b], a.shape, options)

    def multiply(self, a: Tensor, b: Tensor) -> Tensor:
        """a * b element by element, of equal shapes."""
        options = (schema.BuiltinOptions.MulOptions, schema.MulOptionsT())
        return self._operator(schema.BuiltinOperator.MUL, [a, b], a.shape, options)

    def sigmoid(self, x: Tensor) -> Tensor:
        """1 / (1 + exp(-x))."""
        return self._operator(schema.BuiltinOperator.LOGISTIC, [x], x.shape)

    def tanh(self, x: Tensor) -> Tensor:
        """The hyperbolic tangent."""
        return self._operator(schema.BuiltinOperator.TANH, [x], x.shape)

    def part(self, x: Tensor, axis: int, start: int, size: int) -> Tensor:
        """``size`` entries of ``x`` [a, b] along ``axis``, from ``start`` on."""
        if size == x.shape[axis]:
            return x
        begin = [start if k == axis else 0 for k in range(2)]
        shape = tuple(size if k == axis else x.shape[k] for k in range(2))
        inputs = [x, self._numbers(begin), self._numbers(shape)]
        options = (schema.BuiltinOptions.SliceOptions, schema.SliceOptionsT())
        return self._operator(schema.BuiltinOperator.SLICE, inputs, shape, options)

    def concatenate(self, tensors: Sequence[Tensor], axis: int) -> Tensor:
        """The ``tensors`` [a, b] side by side along ``axis``."""
        if len(tensors) == 1:
            return tensors[0]
        options = schema.ConcatenationOptionsT()
        options.axis = axis
        shape = list(tensors[0].shape)
        shape[axis] = sum(tensor.shape[axis] for tensor in tensors)
        return self._operator(
            schema.BuiltinOperator.CONCATENATION,
            tensors,
            tuple(shape),
            (schema.BuiltinOptions.ConcatenationOptions, options),
        )

    def flatten_transposed(self, x: Tensor) -> Tensor:
        """``x`` [a, b] read column by column: [b * a]."""
        rows, columns = x.shape
        options = (schema.BuiltinOptions.TransposeOptions, schema.TransposeOptionsT())
        turned = self._operator(
            schema.BuiltinOperator.TRANSPOSE,
            [x, self._numbers([1, 0])],
            (columns, rows),
            options,
        )
        flat = schema.ReshapeOptionsT()
        flat.newShape = [rows * columns]
        return self._operator(
            schema.BuiltinOperator.RESHAPE,
            [turned, self._numbers([rows * columns])],
            (rows * columns,),
            (schema.BuiltinOptions.ReshapeOptions, flat),
        )

    def _operator(
        self,
        operator: int,
        inputs: Sequence[Tensor],
        shape: tuple[int, ...],
        options: tuple[int, Any] | None = None,
    ) -> Tensor:
        is_lookup = operator == schema.BuiltinOperator.EMBEDDING_LOOKUP
        dtype = np.dtype(np.float32) if is_lookup else inputs[0].dtype
        output = self._tensor(f"t{len(self._subgraph.tensors)}", shape, dtype)
        node = schema.OperatorT()
        node.opcodeIndex = self._file._opcode_for(operator)
        node.inputs = [tensor.index for tensor in inputs]
        node.outputs = [output.index]
        if options is not None:
            node.builtinOptionsType, node.builtinOptions = options
        self._subgraph.operators.append(node)
        return output

    def _numbers(self, values: Sequence[int]) -> Tensor:
        constant = self._file._integers(tuple(values))
        return self._constant(constant)

    def _constant(self, constant: Constant) -> Tensor:
        if constant in self._constants:
            return self._constants[constant]
        tensor = self._tensor(constant.name, constant.values.shape, constant.values.dtype)
        entry = self._subgraph.tensors[tensor.index]
        entry.buffer = self._file._buffer_for(constant)
        if constant.scales is not None:
            entry.quantization = schema.QuantizationParametersT()
            entry.quantization.scale = constant.scales
            entry.quantization.zeroPoint = np.zeros(len(constant.scales), np.int64)
            entry.quantization.quantizedDimension = 0
        self._constants[constant] = tensor
        return tensor

    def _tensor(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Tensor:
        entry = schema.TensorT()
        entry.name = name
        entry.shape = list(shape)
        entry.type = _TENSOR_TYPES[dtype]
        entry.buffer = 0
        entry.hasRank = True
        self._subgraph.tensors.append(entry)
        return Tensor(len(self._subgraph.tensors) - 1, shape, dtype)


def _named(name: str, tensor: Tensor) -> Any:
    entry = schema.TensorMapT()
    entry.name = name
    entry.tensorIndex = tensor.index
    return entry
