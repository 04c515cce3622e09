"""Writes LiteRT (TensorFlow Lite) files: constants, and graphs of operators over them.

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


class LiteRTFile:
    """A file in the making: ``add_graph`` as often as needed, then ``to_bytes``."""

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
