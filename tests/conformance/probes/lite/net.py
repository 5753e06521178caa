"""TFLite networks as data, and the writer: the same bytes on every run and machine.

In a TFLite file the grid belongs to the tensor, so a network is its tensors and operators; a factor edits them in place.
Images are NHWC, weights as the format wants them: OHWI, depthwise 1HWO, fully connected OI.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any
from zlib import crc32

import flatbuffers
import ml_dtypes
import numpy as np
from ai_edge_litert import schema_py_generated as schema

Array = np.ndarray[Any, Any]
INTEGERS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767), "int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1), "int4": (-8, 7), "int2": (-2, 1)}
_ALIGNED = 16


@dataclass(frozen=True)
class Grid:
    """`real = scale * (q - zero)`; per channel of `axis` if the parameters are tuples. No scale: integers that say nothing."""

    dtype: str = "int8"
    scale: float | tuple[float, ...] | None = 0.02
    zero: int | tuple[int, ...] = 0
    axis: int = 0

    def but(self, **changes: Any) -> Grid:
        return replace(self, **changes)

    def times(self, factor: float) -> Grid:
        scale = self.scale
        return self.but(scale=tuple(s * factor for s in scale) if isinstance(scale, tuple) else (scale or 0) * factor)

    @property
    def scales(self) -> tuple[float, ...]:
        return self.scale if isinstance(self.scale, tuple) else () if self.scale is None else (self.scale,)

    @property
    def zeros(self) -> tuple[int, ...]:
        if isinstance(self.zero, tuple):
            return self.zero[: len(self.scales)]
        return (self.zero,) * len(self.scales)

    def store(self, values: Array) -> Array:
        """`values` on this grid, as integers in a container of at least 8 bits."""
        low, high = INTEGERS[self.dtype]
        scale, zero = np.array(self.scales or (0.02,)), np.array(self.zeros or (0,))
        if scale.size > 1:
            onto = [1] * values.ndim
            onto[self.axis] = -1
            fits = self.axis < values.ndim and values.shape[self.axis] == scale.size
            scale, zero = (scale.reshape(onto), zero.reshape(onto)) if fits else (scale[:1], zero[:1])
        levels = np.rint(values / np.where(scale == 0, 1, scale) + zero)
        kind = {"int4": "int8", "int2": "int8"}.get(self.dtype, self.dtype)
        return np.clip(levels, max(low, -(2**53)), min(high, 2**53)).astype(kind)


@dataclass
class Tensor:
    """A tensor; floats if it has no grid. `values` of a constant are real numbers, or integers where `dtype` says so."""

    name: str
    shape: tuple[int, ...]
    grid: Grid | None = None
    dtype: str = ""  # of what is not quantized; float32 if nothing is said
    values: Array | None = None
    span: tuple[float, float] = (-2.1, 1.9)  # what a calibration would have seen
    dynamic: bool = False  # the first dimension is not known

    @property
    def type(self) -> str:
        return self.dtype or (self.grid.dtype if self.grid else "float32")


@dataclass
class Op:
    """One operator; `inputs` name tensors, "" is an absent optional input."""

    kind: str
    inputs: list[str]
    outputs: list[str]
    options: dict[str, Any] = field(default_factory=dict)
    version: int = 1


class Net:
    """Operators in order, over named tensors."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.ops: list[Op] = []
        self.inputs: list[str] = []
        self.outputs: list[str] = []

    def add(self, stem: str, shape: tuple[int, ...], **more: Any) -> str:
        name, n = stem, 1
        while name in self.tensors:
            n += 1
            name = f"{stem}{n}"
        self.tensors[name] = Tensor(name, tuple(shape), **more)
        return name

    def input(self, stem: str, shape: tuple[int, ...], **more: Any) -> str:
        name = self.add(stem, shape, **more)
        self.inputs.append(name)
        return name

    def const(self, stem: str, values: Any, **more: Any) -> str:
        values = np.asarray(values)
        return self.add(stem, values.shape, values=values, **more)

    def weight(self, stem: str, *shape: int, size: float = 0.1, **more: Any) -> str:
        """A constant of even noise in [-size, size], the same on every machine."""
        return self.const(stem, noise(stem, shape) * (size / 127), **more)

    def op(self, kind: str, inputs: list[str], shape: tuple[int, ...] | None = None, stem: str = "", **options: Any) -> str:
        """Append an operator with one output, of the shape of its first input if nothing is said."""
        name = stem or f"{kind.lower()}{len(self.ops)}"
        out = self.add(name, self.tensors[inputs[0]].shape if shape is None else shape)
        self.ops.append(Op(kind, inputs, [out], options))
        return out

    def bytes(self) -> bytes:
        return write(self)


@cache
def noise(name: str, shape: tuple[int, ...]) -> Array:
    return np.random.RandomState(crc32(name.encode())).randint(-127, 128, shape)


# -- writing --------------------------------------------------------------------------------------

# The table of options that an operator has, where it is not its own name in camel case.
_OPTIONS = {
    "CONV_2D": "Conv2DOptions", "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions", "AVERAGE_POOL_2D": "Pool2DOptions", "MAX_POOL_2D": "Pool2DOptions",
    "L2_POOL_2D": "Pool2DOptions", "MEAN": "ReducerOptions", "SUM": "ReducerOptions", "REDUCE_MAX": "ReducerOptions", "REDUCE_MIN": "ReducerOptions",
    "REDUCE_PROD": "ReducerOptions", "BATCH_MATMUL": "BatchMatMulOptions", "MAXIMUM": "MaximumMinimumOptions", "MINIMUM": "MaximumMinimumOptions",
    "SPACE_TO_BATCH_ND": "SpaceToBatchNDOptions", "BATCH_TO_SPACE_ND": "BatchToSpaceNDOptions", "L2_NORMALIZATION": "L2NormOptions", "PADV2": "PadV2Options",
    "TOPK_V2": "TopKV2Options", "SELECT_V2": "SelectV2Options", "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTMOptions",
    "LOCAL_RESPONSE_NORMALIZATION": "LocalResponseNormalizationOptions",
}  # fmt: skip
_NO_OPTIONS = frozenset("RELU RELU6 RELU_N1_TO_1 RELU_0_TO_1 LOGISTIC TANH ELU PRELU LOG SIN CEIL FLOOR ROUND".split())
ENUMS = {
    "fusedActivationFunction": schema.ActivationFunctionType, "padding": schema.Padding, "mode": schema.MirrorPadMode,
    "inDataType": schema.TensorType, "outDataType": schema.TensorType, "outputType": schema.TensorType, "outType": schema.TensorType, "quantizedBiasType": schema.TensorType, "weightsFormat": schema.FullyConnectedOptionsWeightsFormat,
}  # fmt: skip


def _options(op: Op) -> tuple[int, Any]:
    if op.kind in _NO_OPTIONS:
        return 0, None
    name = _OPTIONS.get(op.kind) or "".join(part.capitalize() for part in op.kind.split("_")) + "Options"
    if not hasattr(schema, f"{name}T"):
        return 0, None
    table = getattr(schema, f"{name}T")()
    for key, value in op.options.items():
        if not hasattr(table, key):
            raise AttributeError(f"{name} has no {key}")
        setattr(table, key, getattr(ENUMS[key], value) if isinstance(value, str) else value)
    return getattr(schema.BuiltinOptions, name), table


def _packed(tensor: Tensor) -> bytes:
    assert tensor.values is not None
    if tensor.type == "bfloat16":
        return tensor.values.astype(ml_dtypes.bfloat16).tobytes()
    if tensor.grid is None or tensor.type not in INTEGERS or tensor.dtype:
        return np.asarray(tensor.values, tensor.type, order="C").tobytes()
    stored = np.ascontiguousarray(tensor.grid.store(tensor.values))
    if tensor.type not in ("int4", "int2"):
        return stored.tobytes()
    bits = int(tensor.type[3:])
    each, flat = 8 // bits, stored.ravel().astype(np.uint8) & (2**bits - 1)
    flat = np.concatenate([flat, np.zeros(-flat.size % each, np.uint8)]).reshape(-1, each)
    return bytes(np.bitwise_or.reduce(flat << (np.arange(each, dtype=np.uint8) * bits), axis=1).astype(np.uint8))


def write(net: Net) -> bytes:
    """The network as a .tflite file."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.description = 3, "qlint-probes"
    model.buffers, model.operatorCodes = [schema.BufferT()], []
    index = {name: n for n, name in enumerate(net.tensors)}
    graph.tensors = [_tensor(tensor, model) for tensor in net.tensors.values()]
    graph.inputs, graph.outputs = [index[name] for name in net.inputs], [index[name] for name in net.outputs]
    codes: dict[tuple[str, int], int] = {}
    graph.operators = []
    for op in net.ops:
        code = (op.kind, op.version)
        if code not in codes:
            codes[code] = len(codes)
            model.operatorCodes.append(_code(op))
        written = schema.OperatorT()
        written.opcodeIndex = codes[code]
        written.inputs = [index[name] if name else -1 for name in op.inputs]
        written.outputs = [index[name] for name in op.outputs]
        if not op.kind.startswith("CUSTOM"):
            written.builtinOptionsType, written.builtinOptions = _options(op)
        graph.operators.append(written)
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _code(op: Op) -> Any:
    code = schema.OperatorCodeT()
    code.version = op.version
    if op.kind.startswith("CUSTOM:"):
        code.builtinCode, code.customCode = schema.BuiltinOperator.CUSTOM, op.kind[7:]
    else:
        code.builtinCode = getattr(schema.BuiltinOperator, op.kind)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    return code


def _tensor(tensor: Tensor, model: Any) -> Any:
    written = schema.TensorT()
    written.name, written.shape = tensor.name, list(tensor.shape)
    written.type = getattr(schema.TensorType, tensor.type.upper())
    written.hasRank = True
    written.buffer = 0
    if tensor.dynamic:
        written.shapeSignature = [-1, *tensor.shape[1:]]
    if tensor.values is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(_packed(tensor), np.uint8)
        written.buffer = len(model.buffers)
        model.buffers.append(buffer)
    if tensor.grid is not None and tensor.grid.scale is not None:
        parameters = schema.QuantizationParametersT()
        parameters.scale, parameters.zeroPoint = list(tensor.grid.scales), list(tensor.grid.zeros)
        parameters.quantizedDimension = tensor.grid.axis
        written.quantization = parameters
    return written
