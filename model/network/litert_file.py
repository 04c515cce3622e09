"""Writes LiteRT (TensorFlow Lite) files: constants, graphs of operators, named signatures.

Knows the file format and nothing of networks. TensorFlow's converter would make such a file too,
but copies a matrix that is used both as a lookup table and as a factor, and takes seconds. Here a
constant is in the file once however many operators of however many graphs use it, behind the
header, at an address divisible by 64, so that a runtime can use it where it lies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from numpy.typing import NDArray
from tensorflow.lite.python import schema_py_generated as schema

_ALIGNMENT_BYTES = 64

_TENSOR_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int8): schema.TensorType.INT8,
}

# Versions of operators that take int8 rows with a scale each; all others are used at version 1.
_OPERATOR_VERSIONS = {
    schema.BuiltinOperator.EMBEDDING_LOOKUP: 4,
    schema.BuiltinOperator.FULLY_CONNECTED: 9,
}


@dataclass(frozen=True, eq=False)
class Constant:
    """An array in the file. int8 ``values`` stand for values * scales, one scale for each row."""

    name: str
    values: NDArray[Any]
    scales: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Tensor:
    """A value inside one graph: its number there, its shape and its type."""

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
        self._constants: dict[Constant, int] = {}
        self._integers: dict[tuple[int, ...], Constant] = {}
        self._quantizations: dict[Constant, _Quantization] = {}
        self._operators: dict[int, int] = {}

    def graph(self, name: str) -> Graph:
        """A new, empty graph, to be run as signature ``name``."""
        return Graph(self, name)

    def to_bytes(self) -> bytes:
        """The finished file: a header that names where each constant lies, then the constants."""
        header_bytes = len(self._header())
        for constant, start in self._places(header_bytes):
            self._model.buffers[self._constants[constant]].offset = start
        file = bytearray(self._header())
        assert len(file) == header_bytes
        for constant, start in self._places(header_bytes):
            file += bytes(start - len(file)) + constant.values.tobytes()
        return bytes(file)

    def add_graph(self, subgraph: schema.SubGraphT, signature: schema.SignatureDefT) -> None:
        """Puts a finished graph into the file."""
        signature.subgraphIndex = len(self._model.subgraphs)
        self._model.subgraphs.append(subgraph)
        self._model.signatureDefs.append(signature)

    def buffer_of(self, constant: Constant) -> int:
        """Number of the buffer for ``constant``, which goes into the file at its first use."""
        if constant not in self._constants:
            buffer = schema.BufferT()
            # Any offset above 1 means "behind the header". The true one follows in to_bytes; its
            # size in the header is the same.
            buffer.offset, buffer.size = 2, constant.values.nbytes
            self._constants[constant] = len(self._model.buffers)
            self._model.buffers.append(buffer)
        return self._constants[constant]

    def quantization_of(self, constant: Constant) -> _Quantization:
        """The entry for the scales of ``constant``, the same one for all graphs."""
        if constant not in self._quantizations:
            assert constant.scales is not None
            self._quantizations[constant] = _Quantization(constant.scales)
        return self._quantizations[constant]

    def integers(self, values: Sequence[int]) -> Constant:
        """The constant for a list of whole numbers, such as a shape."""
        key = tuple(values)
        if key not in self._integers:
            self._integers[key] = Constant(
                f"integers_{len(self._integers)}", np.array(key, np.int32)
            )
        return self._integers[key]

    def opcode_of(self, operator: int) -> int:
        """Number under which the file declares its use of ``operator``."""
        if operator not in self._operators:
            code = schema.OperatorCodeT()
            code.builtinCode = operator
            code.deprecatedBuiltinCode = min(operator, 127)
            code.version = _OPERATOR_VERSIONS.get(operator, 1)
            self._operators[operator] = len(self._model.operatorCodes)
            self._model.operatorCodes.append(code)
        return self._operators[operator]

    def _places(self, header_bytes: int) -> Iterator[tuple[Constant, int]]:
        """Each constant and where it starts in the file."""
        end = header_bytes
        for constant in self._constants:
            start = end + -end % _ALIGNMENT_BYTES
            yield constant, start
            end = start + constant.values.nbytes

    def _header(self) -> bytes:
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(self._model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())


class Graph:
    """One graph of operators. Methods append an operator and return its result."""

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


class _Quantization(schema.QuantizationParametersT):  # type: ignore[misc]
    """The scales of a constant. They are in the header once, however many graphs refer to them."""

    def __init__(self, scales: NDArray[np.float32]) -> None:
        super().__init__()
        self.scale = scales
        self.zeroPoint = np.zeros(len(scales), np.int64)
        self.quantizedDimension = 0
        self._packed: tuple[flatbuffers.Builder, int] | None = None

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802
        """Where this lies in the header; written there at the first call for each ``builder``."""
        if self._packed is None or self._packed[0] is not builder:
            self._packed = builder, super().Pack(builder)
        return self._packed[1]


def _signature_entry(name: str, tensor: Tensor) -> schema.TensorMapT:
    entry = schema.TensorMapT()
    entry.name = name
    entry.tensorIndex = tensor.index
    return entry
