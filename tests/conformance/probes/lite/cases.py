"""Single operators: what their inputs are, and the smallest network that holds each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .net import Net, Op
from .style import STYLES, Style, quantize

IMAGE = (1, 8, 8, 4)


@dataclass(frozen=True)
class Slot:
    """One input: activation (x), weight (w), bias (b), operand (c), integers (int), a condition or indices as input (given), absent."""

    role: str
    shape: tuple[int, ...] = ()
    values: Any = None
    dtype: str = ""


def x(*shape: int) -> Slot:
    return Slot("x", shape or IMAGE)


def w(*shape: int) -> Slot:
    return Slot("w", shape)


def b(*shape: int) -> Slot:
    return Slot("b", shape)


def c(*shape: int) -> Slot:
    return Slot("c", shape)


def ints(*values: Any) -> Slot:
    return Slot("int", (), np.array(values), "int32")


def integer(value: int) -> Slot:
    return Slot("int", (), np.array(value), "int32")


def given(dtype: str, *shape: int) -> Slot:
    return Slot("given", shape, None, dtype)


NONE = Slot("absent")


@dataclass(frozen=True)
class Case:
    """A row of the table. `to`: shape of each output; `span` of the results; `result`: type of an output that is on no grid."""

    key: str
    kind: str
    slots: tuple[Slot, ...]
    to: tuple[tuple[int, ...], ...]
    options: dict[str, Any] = field(default_factory=dict)
    span: tuple[float, float] = (-2.3, 2.5)
    given: tuple[float, float] = (-2.1, 1.9)  # range of the activations that it reads
    result: str = ""
    core: bool = False  # gets every factor, not only the main ones
    version: int = 1

    def net(self, style: Style = STYLES["s8"]) -> Net:
        net, names = Net(), []
        for slot in self.slots:
            names.append(_fill(net, slot, self.given))
        outputs = []
        for shape in self.to:
            outputs.append(net.add("y", shape, span=self.span, dtype=self.result))
        net.ops.append(Op(self.kind, names, outputs, dict(self.options), self.version))
        if self.kind == "TOPK_V2":
            net.tensors[outputs[1]].dtype = "int32"
        net.outputs = list(outputs)
        quantize(net, style)
        return net


def _fill(net: Net, slot: Slot, span: tuple[float, float]) -> str:
    if slot.role == "absent":
        return ""
    if slot.role in ("x", "given"):
        return net.input(slot.role, slot.shape, dtype=slot.dtype, span=span)
    if slot.values is not None:
        return net.const(slot.role, slot.values, dtype=slot.dtype)
    return net.weight(slot.role, *slot.shape, size=0.5 if slot.role == "b" else 0.1)


def case(key: str, kind: str, *slots: Slot, to: Any = None, **more: Any) -> Case:
    """A row; keywords that are no field of :class:`Case` are options of the operator."""
    fields = {name: more.pop(name) for name in list(more) if name in Case.__dataclass_fields__}
    slots = slots or (x(),)
    shapes = ((slots[0].shape,) if to is None else (to,) if not to or isinstance(to[0], int) else tuple(to))
    return Case(key, kind, slots, shapes, more, **fields)


CONV = {"padding": "SAME", "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
DEPTHWISE = {**CONV, "depthMultiplier": 1}
DECONV = {"padding": "SAME", "strideH": 2, "strideW": 2}
POOL = {"padding": "VALID", "strideH": 2, "strideW": 2, "filterHeight": 2, "filterWidth": 2}

TABLE: tuple[Case, ...] = (
    case("conv", "CONV_2D", x(), w(6, 3, 3, 4), b(6), to=(1, 8, 8, 6), core=True, **CONV),
    case("conv-1x1-relu6", "CONV_2D", x(), w(6, 1, 1, 4), b(6), to=(1, 8, 8, 6), fusedActivationFunction="RELU6", **CONV),
    case("conv-no-bias", "CONV_2D", x(), w(6, 3, 3, 4), to=(1, 8, 8, 6), **CONV),
    case("conv-bias-absent", "CONV_2D", x(), w(6, 3, 3, 4), NONE, to=(1, 8, 8, 6), **CONV),
    case("conv-strided", "CONV_2D", x(), w(6, 3, 3, 4), b(6), to=(1, 4, 4, 6), **{**CONV, "strideH": 2, "strideW": 2}),
    case("conv-stride-4", "CONV_2D", x(), w(6, 3, 3, 4), b(6), to=(1, 2, 2, 6), **{**CONV, "strideH": 4, "strideW": 4}),
    case("conv-dilated", "CONV_2D", x(), w(6, 3, 3, 4), b(6), to=(1, 4, 4, 6), **{**CONV, "padding": "VALID", "dilationHFactor": 2, "dilationWFactor": 2}),
    case("conv-grouped", "CONV_2D", x(), w(6, 3, 3, 2), b(6), to=(1, 8, 8, 6), **CONV),
    case("conv-batch", "CONV_2D", x(2, 8, 8, 4), w(6, 3, 3, 4), b(6), to=(2, 8, 8, 6), **CONV),
    case("depthwise", "DEPTHWISE_CONV_2D", x(), w(1, 3, 3, 4), b(4), core=True, **DEPTHWISE),
    case("depthwise-multiplier", "DEPTHWISE_CONV_2D", x(), w(1, 3, 3, 8), b(8), to=(1, 8, 8, 8), **{**DEPTHWISE, "depthMultiplier": 2}),
    case("depthwise-dilated", "DEPTHWISE_CONV_2D", x(), w(1, 3, 3, 4), b(4), **{**DEPTHWISE, "dilationHFactor": 2, "dilationWFactor": 2}),
    case("linear", "FULLY_CONNECTED", x(2, 12), w(6, 12), b(6), to=(2, 6), core=True),
    case("linear-no-bias", "FULLY_CONNECTED", x(2, 12), w(6, 12), NONE, to=(2, 6)),
    case("linear-relu", "FULLY_CONNECTED", x(2, 12), w(6, 12), b(6), to=(2, 6), fusedActivationFunction="RELU"),
    case("linear-image", "FULLY_CONNECTED", x(1, 2, 2, 3), w(6, 12), b(6), to=(1, 6)),
    case("linear-keep-dims", "FULLY_CONNECTED", x(1, 3, 12), w(6, 12), b(6), to=(1, 3, 6), keepNumDims=True),
    case("deconv", "TRANSPOSE_CONV", ints(1, 16, 16, 6), w(6, 3, 3, 4), x(), b(6), to=(1, 16, 16, 6), core=True, **DECONV),
    case("deconv-no-bias", "TRANSPOSE_CONV", ints(1, 16, 16, 6), w(6, 2, 2, 4), x(), to=(1, 16, 16, 6), **DECONV),
    case("matmul", "BATCH_MATMUL", x(1, 2, 4, 6), x(1, 2, 6, 5), to=(1, 2, 4, 5), core=True),
    case("matmul-adjoint", "BATCH_MATMUL", x(1, 2, 4, 6), x(1, 2, 5, 6), to=(1, 2, 4, 5), adjY=True),
    case("matmul-constant", "BATCH_MATMUL", x(1, 4, 6), c(1, 6, 5), to=(1, 4, 5)),
    case("add", "ADD", x(), x(), core=True),
    case("add-relu", "ADD", x(), x(), fusedActivationFunction="RELU"),
    case("add-constant", "ADD", x(), c(4)),
    case("add-scalar", "ADD", x(), c(1)),
    case("add-broadcast", "ADD", x(), x(1, 1, 1, 4)),
    case("sub", "SUB", x(), x()),
    case("mul", "MUL", x(), x(), core=True),
    case("mul-constant", "MUL", x(), c(4)),
    case("div", "DIV", x(), x()),
    case("maximum", "MAXIMUM", x(), x(), core=True),
    case("minimum", "MINIMUM", x(), x()),
    case("maximum-constant", "MAXIMUM", x(), c(1)),
    case("squared-difference", "SQUARED_DIFFERENCE", x(), x(), span=(0.0, 4.0)),
    case("pow", "POW", x(), x()),
    case("average-pool", "AVERAGE_POOL_2D", x(), to=(1, 4, 4, 4), core=True, **POOL),
    case("average-pool-whole", "AVERAGE_POOL_2D", x(), to=(1, 1, 1, 4), padding="VALID", strideH=8, strideW=8, filterHeight=8, filterWidth=8),
    case("average-pool-relu", "AVERAGE_POOL_2D", x(), to=(1, 4, 4, 4), fusedActivationFunction="RELU", **POOL),
    case("max-pool", "MAX_POOL_2D", x(), to=(1, 4, 4, 4), core=True, **POOL),
    case("l2-pool", "L2_POOL_2D", x(), to=(1, 4, 4, 4), **POOL),
    case("mean", "MEAN", x(), ints(1, 2), to=(1, 1, 1, 4), keepDims=True, core=True),
    case("mean-flat", "MEAN", x(), ints(1, 2), to=(1, 4)),
    case("mean-channels", "MEAN", x(), ints(3), to=(1, 8, 8)),
    case("sum", "SUM", x(), ints(1, 2), to=(1, 4), span=(-9.0, 9.0)),
    case("reduce-max", "REDUCE_MAX", x(), ints(1, 2), to=(1, 4)),
    case("reduce-min", "REDUCE_MIN", x(), ints(1, 2), to=(1, 4)),
    case("reduce-prod", "REDUCE_PROD", x(), ints(1), to=(1, 8, 4)),
    case("softmax", "SOFTMAX", x(2, 10), beta=1.0, span=(0.0, 1.0), core=True),
    case("log-softmax", "LOG_SOFTMAX", x(2, 10), span=(-6.0, 0.0)),
    case("logistic", "LOGISTIC", x(), span=(0.0, 1.0), core=True),
    case("tanh", "TANH", x(), span=(-1.0, 1.0), core=True),
    case("relu", "RELU", x(), span=(0.0, 2.4), core=True),
    case("relu6", "RELU6", x(), span=(0.0, 2.4)),
    case("relu-n1-to-1", "RELU_N1_TO_1", x(), span=(-1.0, 1.0)),
    case("relu-0-to-1", "RELU_0_TO_1", x(), span=(0.0, 1.0)),
    case("leaky-relu", "LEAKY_RELU", x(), alpha=0.1, core=True),
    case("prelu", "PRELU", x(), c(1, 1, 4)),
    case("hard-swish", "HARD_SWISH", x(), core=True),
    case("elu", "ELU", x()),
    case("gelu", "GELU", x(), core=True),
    case("gelu-approximate", "GELU", x(), approximate=True),
    case("abs", "ABS", x(), span=(0.0, 2.4)),
    case("neg", "NEG", x()),
    case("exp", "EXP", x(), span=(0.0, 8.0)),
    case("log", "LOG", x(), given=(0.0, 4.0)),
    case("sqrt", "SQRT", x(), given=(0.0, 4.0)),
    case("rsqrt", "RSQRT", x(), given=(0.0, 4.0), span=(0.0, 8.0)),
    case("square", "SQUARE", x(), span=(0.0, 5.0)),
    case("sin", "SIN", x()),
    case("cos", "COS", x()),
    case("floor", "FLOOR", x()),
    case("ceil", "CEIL", x()),
    case("round", "ROUND", x()),
    case("sign", "SIGN", x()),
    case("l2-norm", "L2_NORMALIZATION", x(2, 12), span=(-1.0, 1.0)),
    case("local-response-norm", "LOCAL_RESPONSE_NORMALIZATION", x(), radius=2, bias=1.0, alpha=1.0, beta=0.5),
    case("reshape", "RESHAPE", x(), ints(1, 256), to=(1, 256), newShape=[1, 256], core=True),
    case("squeeze", "SQUEEZE", x(1, 1, 8, 4), to=(8, 4), squeezeDims=[0, 1]),
    case("expand-dims", "EXPAND_DIMS", x(), integer(0), to=(1, 1, 8, 8, 4)),
    case("transpose", "TRANSPOSE", x(), ints(0, 3, 1, 2), to=(1, 4, 8, 8), core=True),
    case("pad", "PAD", x(), ints([0, 0], [1, 1], [1, 1], [0, 0]), to=(1, 10, 10, 4), core=True),
    case("padv2", "PADV2", x(), ints([0, 0], [1, 1], [1, 1], [0, 0]), c(1), to=(1, 10, 10, 4)),
    case("mirror-pad", "MIRROR_PAD", x(), ints([0, 0], [1, 1], [1, 1], [0, 0]), to=(1, 10, 10, 4), mode="REFLECT"),
    case("concat", "CONCATENATION", x(), x(), to=(1, 8, 8, 8), axis=3, core=True),
    case("concat-constant", "CONCATENATION", x(), c(1, 8, 8, 2), to=(1, 8, 8, 6), axis=3),
    case("concat-five", "CONCATENATION", x(), x(), x(), x(), x(), to=(1, 8, 8, 20), axis=3),
    case("pack", "PACK", x(2, 4), x(2, 4), to=(2, 2, 4), axis=0, valuesCount=2),
    case("unpack", "UNPACK", x(2, 4), to=((4,), (4,)), axis=0, num=2),
    case("split", "SPLIT", integer(3), x(), to=((1, 8, 8, 2), (1, 8, 8, 2)), numSplits=2, core=True),
    case("split-v", "SPLIT_V", x(), ints(1, 3), integer(3), to=((1, 8, 8, 1), (1, 8, 8, 3)), numSplits=2),
    case("slice", "SLICE", x(), ints(0, 1, 1, 0), ints(1, 4, 4, 4), to=(1, 4, 4, 4)),
    case("strided-slice", "STRIDED_SLICE", x(), ints(0, 0, 0, 0), ints(1, 8, 8, 4), ints(1, 2, 2, 1), to=(1, 4, 4, 4), core=True),
    case("gather", "GATHER", x(), ints(1, 3, 5), to=(1, 3, 8, 4), axis=1),
    case("gather-nd", "GATHER_ND", x(4, 6), ints([0], [2]), to=(2, 6)),
    case("tile", "TILE", x(), ints(1, 1, 2, 1), to=(1, 8, 16, 4)),
    case("reverse", "REVERSE_V2", x(), ints(1)),
    case("broadcast-to", "BROADCAST_TO", x(1, 1, 1, 4), ints(1, 8, 8, 4), to=(1, 8, 8, 4), version=2),
    case("space-to-depth", "SPACE_TO_DEPTH", x(), to=(1, 4, 4, 16), blockSize=2),
    case("depth-to-space", "DEPTH_TO_SPACE", x(), to=(1, 16, 16, 1), blockSize=2),
    case("space-to-batch", "SPACE_TO_BATCH_ND", x(), ints(2, 2), ints([0, 0], [0, 0]), to=(4, 4, 4, 4)),
    case("batch-to-space", "BATCH_TO_SPACE_ND", x(4, 4, 4, 4), ints(2, 2), ints([0, 0], [0, 0]), to=(1, 8, 8, 4)),
    case("resize-bilinear", "RESIZE_BILINEAR", x(), ints(16, 16), to=(1, 16, 16, 4), halfPixelCenters=True, core=True),
    case("resize-bilinear-corners", "RESIZE_BILINEAR", x(), ints(15, 15), to=(1, 15, 15, 4), alignCorners=True),
    case("resize-nearest", "RESIZE_NEAREST_NEIGHBOR", x(), ints(16, 16), to=(1, 16, 16, 4), core=True),
    case("select", "SELECT_V2", given("bool", 1, 8, 8, 4), x(), x()),
    case("arg-max", "ARG_MAX", x(2, 10), integer(1), to=(2,), result="int32", outputType="INT32"),
    case("arg-min", "ARG_MIN", x(2, 10), integer(1), to=(2,), result="int32", outputType="INT32"),
    case("top-k", "TOPK_V2", x(2, 10), integer(3), to=((2, 3), (2, 3))),
    case("equal", "EQUAL", x(), x(), result="bool"),
    case("greater", "GREATER", x(), x(), result="bool"),
    case("less-equal", "LESS_EQUAL", x(), x(), result="bool"),
    case("cast", "CAST", x(), result="float32", inDataType="INT8", outDataType="FLOAT32"),
    case("cumsum", "CUMSUM", x(), integer(3)),
    case("zeros-like", "ZEROS_LIKE", x()),
    case("embedding", "EMBEDDING_LOOKUP", given("int32", 3), c(10, 6), to=(3, 6)),
    case("shape", "SHAPE", x(), to=(4,), result="int32", outType="INT32"),
    case("custom", "CUSTOM:MyOwn", x()),
)
