"""TFLite files for oracles: operators by key, one operator as a model of its own, and the same in floats.

Both kinds of TFLite runtime and the compiler for Ethos-U are asked through these. Keys are `OPNAME:index`,
over the operators of the main subgraph.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_OPERATORS = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
_TYPES = {value: name.lower() for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
GRIDS = frozenset({"int2", "int4", "int8", "uint8", "int16", "int32", "int64"})
FLOATS = frozenset({"float32", "float16", "float64", "bfloat16"})
QUANTIZERS = frozenset({"QUANTIZE", "DEQUANTIZE", "FAKE_QUANT"})
BOUNDS = {"int4": (-8, 7), "int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767), "int32": (-(2**31), 2**31 - 1)}
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Tensor:
    """What a tensor of the file says about itself."""

    index: int
    name: str
    type: str
    shape: tuple[int, ...]
    constant: bool
    scales: tuple[float, ...]
    zeros: tuple[int, ...]
    axis: int

    @property
    def quantized(self) -> bool:
        return bool(self.scales) and self.type in GRIDS

    def real(self, stored: Array) -> Array:
        """Integers of this tensor as the numbers that they stand for."""
        scale, zero = self._parameters(stored.ndim)
        real: Array = ((stored.astype(np.float64) - zero) * scale).astype(np.float32)
        return real

    def stored(self, real: Array) -> Array:
        """Numbers on the grid of this tensor, as integers of 64 bits."""
        low, high = BOUNDS[self.type]
        scale, zero = self._parameters(real.ndim)
        with np.errstate(all="ignore"):
            levels: Array = np.clip(np.rint(np.nan_to_num(real.astype(np.float64) / scale)) + zero, low, high).astype(np.int64)
        return levels

    def _parameters(self, rank: int) -> tuple[Array, Array]:
        """Scale and zero point, in a shape that goes with values of that rank."""
        onto = [1] * rank
        if len(self.scales) > 1:
            onto[self.axis] = -1
        scale, zero = (np.array(values, np.float64).reshape(onto if len(values) > 1 else ()) for values in (self.scales, self.zeros or (0,)))
        return scale, zero


@dataclass(frozen=True)
class Op:
    """An operator of the main subgraph."""

    key: str
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class Graph:
    """The main subgraph of a file."""

    def __init__(self, data: bytes) -> None:
        if len(data) < 8 or data[4:8] != b"TFL3":
            raise ValueError("not a TFLite file")
        self.model = schema.ModelT.InitFromPackedBuf(data, 0)
        self.main = self.model.subgraphs[0]
        self.tensors = [self._tensor(n, tensor) for n, tensor in enumerate(self.main.tensors)]
        self._alone: dict[tuple[int, bool], bytes] = {}
        self.ops = [self._op(n, op) for n, op in enumerate(_list(self.main.operators))]

    @classmethod
    def read(cls, path: str) -> Graph:
        return cls(Path(path).read_bytes())

    def _op(self, number: int, op: Any) -> Op:
        code = self.model.operatorCodes[op.opcodeIndex]
        kind = _OPERATORS.get(max(code.builtinCode, code.deprecatedBuiltinCode), "UNKNOWN")
        return Op(f"{kind}:{number}", kind, tuple(int(i) for i in _list(op.inputs)), tuple(int(i) for i in _list(op.outputs)))

    def _tensor(self, number: int, tensor: Any) -> Tensor:
        grid = tensor.quantization
        buffer = self.model.buffers[tensor.buffer] if tensor.buffer < len(self.model.buffers) else None
        constant = buffer is not None and (buffer.data is not None or bool(buffer.offset)) and not tensor.isVariable
        name = tensor.name.decode() if tensor.name is not None else f"tensor{number}"
        return Tensor(
            number, name, _TYPES.get(tensor.type, str(tensor.type)), tuple(int(d) for d in _list(tensor.shape)), constant,
            tuple(float(s) for s in _list(grid.scale)) if grid else (), tuple(int(z) for z in _list(grid.zeroPoint)) if grid else (),
            int(grid.quantizedDimension) if grid else 0,
        )  # fmt: skip

    @cached_property
    def folded(self) -> frozenset[int]:
        """Tensors that are computed from constants alone."""
        found = {t.index for t in self.tensors if t.constant}
        for op in self.ops:
            inputs = [i for i in op.inputs if i >= 0]
            if inputs and found.issuperset(inputs):
                found.update(op.outputs)
        return frozenset(found)

    def data(self, op: Op) -> list[Tensor]:
        """The activations that an operator reads."""
        return [self.tensors[i] for i in op.inputs if i >= 0 and i not in self.folded]

    def weights(self, op: Op) -> list[Tensor]:
        return [self.tensors[i] for i in op.inputs if i >= 0 and i in self.folded]

    # -- one operator alone ------------------------------------------------------------------------

    def alone(self, number: int, floating: bool = False) -> bytes:
        """Operator `number` as a model of its own: what it computes from are inputs, constants stay.

        `floating`: every quantized tensor in float32, constants as the numbers that they stand for; a convolution without a
        bias gets one of zeros, since float kernels want one.
        """
        if (number, floating) not in self._alone:
            self._alone[number, floating] = self._write(number, floating)
        return self._alone[number, floating]

    def _write(self, number: int, floating: bool) -> bytes:
        op = self.main.operators[number]
        used = list(dict.fromkeys(int(i) for i in [*_list(op.inputs), *_list(op.outputs)] if i >= 0))
        place = {old: new for new, old in enumerate(used)}
        model, graph, node = schema.ModelT(), schema.SubGraphT(), schema.OperatorT()
        model.version, model.buffers = 3, [schema.BufferT()]
        model.operatorCodes = [self.model.operatorCodes[op.opcodeIndex]]
        graph.tensors = [self._copy(self.tensors[old], model.buffers, floating) for old in used]
        node.opcodeIndex, node.builtinOptionsType, node.builtinOptions = 0, op.builtinOptionsType, op.builtinOptions
        node.customOptions, node.builtinOptions2Type, node.builtinOptions2 = op.customOptions, op.builtinOptions2Type, op.builtinOptions2
        node.inputs = [place.get(int(i), -1) for i in _list(op.inputs)]
        node.outputs = [place[int(i)] for i in _list(op.outputs)]
        if floating and self.ops[number].kind in _CHANNELS and (len(node.inputs) < 3 or node.inputs[2] < 0):
            node.inputs = [*node.inputs[:2], len(graph.tensors)]
            graph.tensors.append(_zeros(self.tensors[int(op.inputs[1])].shape[_CHANNELS[self.ops[number].kind]], model.buffers))
        graph.operators = [node]
        graph.inputs = [place[i] for i in dict.fromkeys(int(i) for i in _list(op.inputs)) if i >= 0 and not self.tensors[i].constant]
        graph.outputs = node.outputs
        model.subgraphs = [graph]
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _copy(self, tensor: Tensor, buffers: list[Any], floating: bool) -> Any:
        source, copy = self.main.tensors[tensor.index], schema.TensorT()
        copy.name, copy.shape, copy.shapeSignature, copy.hasRank = source.name, source.shape, source.shapeSignature, source.hasRank
        as_float = floating and tensor.quantized
        copy.type = schema.TensorType.FLOAT32 if as_float else source.type
        copy.quantization = None if as_float else source.quantization
        copy.buffer = 0
        if tensor.constant:
            buffer = schema.BufferT()
            data = np.asarray(self.model.buffers[source.buffer].data, np.uint8)
            buffer.data = np.frombuffer(tensor.real(self._values(tensor, data)).astype(np.float32).tobytes(), np.uint8) if as_float else data
            copy.buffer = len(buffers)
            buffers.append(buffer)
        return copy

    def _values(self, tensor: Tensor, data: Array) -> Array:
        if tensor.type == "int4":
            low = np.stack([data & 15, data >> 4], 1).ravel()[: int(np.prod(tensor.shape, dtype=np.int64))].astype(np.int8)
            return np.where(low > 7, low - 16, low).reshape(tensor.shape)
        values: Array = np.frombuffer(data.tobytes(), tensor.type).reshape(tensor.shape)
        return values


_CHANNELS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3}  # the axis of the weights that is the outputs'


def _zeros(size: int, buffers: list[Any]) -> Any:
    """A constant of zeros in float32."""
    tensor, buffer = schema.TensorT(), schema.BufferT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = b"zeros", [size], schema.TensorType.FLOAT32, len(buffers)
    buffer.data = np.zeros(4 * size, np.uint8)
    buffers.append(buffer)
    return tensor


def _list(values: Any) -> list[Any]:
    return [] if values is None else list(values)
