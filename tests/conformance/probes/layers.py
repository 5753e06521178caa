"""Layers as an exporter writes them: each appends operators to a network and knows their shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .net import Net

SIGNED = (-2.3, 2.5)
POSITIVE = (0.0, 2.4)
UNIT = (0.0, 1.0)


class Layers:
    """Appends to `net`. `at` is a module path (`layer1/conv1`): it names nodes (`/layer1/conv1/Conv`), their
    tensors and their weights (`layer1.conv1.weight`). `norm`: a batch-norm behind each convolution."""

    def __init__(self, net: Net, norm: bool = False) -> None:
        self.net, self.norm = net, norm

    def shape(self, tensor: str) -> tuple[int, ...]:
        found = self.net.shapes[tensor]
        assert found is not None
        return tuple(int(size) for size in found)

    def input(self, name: str, *shape: int) -> str:
        self.net.shapes[name] = shape
        return self.net.input(name, shape)

    def op(self, at: str, kind: str, *inputs: str, to: Sequence[int] | None = None, span: tuple[float, float] | None = SIGNED, **more: Any) -> str:
        """One operator whose outputs have the shape `to`, or that of the first input."""
        name = f"/{at}/{kind}"
        count = self.net.names[name]
        self.net.names[name] += 1
        out = self.net.op(kind, *inputs, name=f"{name}_{count}" if count else name, span=span, **more)
        self.net.shapes |= dict.fromkeys(self.net.nodes[-1].outputs, self.net.shapes.get(inputs[0]) if to is None else tuple(to))
        return out

    def weight(self, at: str, role: str, *shape: int) -> str:
        return self.net.weight(f"{at.replace('/', '.')}.{role}", *shape)

    def scalar(self, at: str, value: float) -> str:
        return self.net.const(f"/{at}/Constant_{value:g}", value)

    def ints(self, at: str, *values: int) -> str:
        return self.net.const(f"/{at}/Constant_{'_'.join(map(str, values))}", values, np.int64)

    # -- with weights -----------------------------------------------------------------------------------

    def conv(self, at: str, x: str, out: int, kernel: int = 3, stride: int = 1, group: int = 1, bias: bool = True, act: str = "") -> str:
        """A "same" convolution over all spatial axes, with its batch-norm and activation."""
        batch, channels, *size = self.shape(x)
        constants = [self.weight(at, "weight", out, channels // group, *(kernel for _ in size))]
        if bias:
            constants.append(self.weight(at, "bias", out))
        to = (batch, out, *(math.ceil(s / stride) for s in size))
        before, after = (kernel - 1) // 2, kernel // 2
        attrs = {"kernel_shape": [kernel] * len(size), "strides": [stride] * len(size), "pads": [before] * len(size) + [after] * len(size), "group": group}
        y = self.op(at, "Conv", x, *constants, to=to, **attrs)
        return self.act(at, self.batch_norm(f"{at}/bn", y) if self.norm else y, act)

    def deconv(self, at: str, x: str, out: int, act: str = "") -> str:
        """Twice as large in every spatial axis."""
        batch, channels, *size = self.shape(x)
        constants = self.weight(at, "weight", channels, out, *(2 for _ in size)), self.weight(at, "bias", out)
        y = self.op(at, "ConvTranspose", x, *constants, to=(batch, out, *(2 * s for s in size)), kernel_shape=[2] * len(size), strides=[2] * len(size))
        return self.act(at, y, act)

    def gemm(self, at: str, x: str, out: int, act: str = "", transposed: bool = True) -> str:
        rows, width = self.shape(x)
        w = self.weight(at, "weight", *((out, width) if transposed else (width, out)))
        attrs = {"transB": 1} if transposed else {}
        return self.act(at, self.op(at, "Gemm", x, w, self.weight(at, "bias", out), to=(rows, out), **attrs), act)

    def linear(self, at: str, x: str, out: int, act: str = "", bias: bool = True) -> str:
        """MatMul and Add, as linear layers over more than two axes are exported."""
        *rows, width = self.shape(x)
        y = self.op(at, "MatMul", x, self.weight(at, "weight", width, out), to=(*rows, out))
        if bias:
            y = self.op(at, "Add", self.weight(at, "bias", out), y, to=(*rows, out))
        return self.act(at, y, act)

    def batch_norm(self, at: str, x: str) -> str:
        channels = self.shape(x)[1]
        stem = at.replace("/", ".")
        spread = np.arange(channels, dtype=np.float32) / channels
        values = {"weight": 0.9 + spread / 4, "bias": spread / 10, "running_mean": spread / 20, "running_var": 0.8 + spread / 2}
        return self.op(at, "BatchNormalization", x, *(self.net.const(f"{stem}.{role}", v) for role, v in values.items()))

    def layer_norm(self, at: str, x: str, spelled: bool = False) -> str:
        width = self.shape(x)[-1]
        gamma, beta = (self.weight(at, role, width) for role in ("weight", "bias"))
        if not spelled and self.net.opset >= 17:
            return self.op(at, "LayerNormalization", x, gamma, beta, axis=-1, epsilon=1e-5)
        centred = self.op(at, "Sub", x, self.mean(at, x, -1))
        power = self.op(at, "Pow", centred, self.scalar(at, 2.0), span=(0.0, 5.0))
        variance = self.op(at, "Add", self.mean(at, power, -1, span=(0.0, 1.5)), self.scalar(at, 1e-5), span=(0.0, 1.5))
        normed = self.op(at, "Div", centred, self.op(at, "Sqrt", variance, span=(0.0, 1.3)))
        return self.op(at, "Add", self.op(at, "Mul", normed, gamma), beta)

    # -- activations --------------------------------------------------------------------------------------

    def act(self, at: str, x: str, kind: str) -> str:
        """One of ACTIVATIONS, or none for ""."""
        return ACTIVATIONS[kind](self, at, x) if kind else x

    # -- pooling, movement ----------------------------------------------------------------------------------

    def pool(self, at: str, x: str, kind: str = "MaxPool") -> str:
        batch, channels, *size = self.shape(x)
        window = [2] * len(size)
        return self.op(at, kind, x, to=(batch, channels, *(s // 2 for s in size)), kernel_shape=window, strides=window)

    def global_pool(self, at: str, x: str) -> str:
        batch, channels, *size = self.shape(x)
        return self.op(at, "GlobalAveragePool", x, to=(batch, channels, *(1 for _ in size)))

    def mean(self, at: str, x: str, *axes: int, keep: bool = True, span: tuple[float, float] = SIGNED) -> str:
        shape = self.shape(x)
        gone = {axis % len(shape) for axis in axes}
        to = tuple(1 if i in gone else size for i, size in enumerate(shape) if keep or i not in gone)
        if self.net.opset < 18:
            return self.op(at, "ReduceMean", x, to=to, span=span, axes=list(axes), keepdims=int(keep))
        return self.op(at, "ReduceMean", x, self.ints(at, *axes), to=to, span=span, keepdims=int(keep))

    def upsample(self, at: str, x: str, mode: str = "nearest") -> str:
        batch, channels, *size = self.shape(x)
        scales = self.net.const(f"/{at}/Constant_scales", [1, 1, *(2 for _ in size)])
        attrs = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"} if mode == "nearest" else {}
        return self.op(at, "Resize", x, "", scales, to=(batch, channels, *(2 * s for s in size)), mode=mode, **attrs)

    def concat(self, at: str, *xs: str, axis: int = 1) -> str:
        shapes = [self.shape(x) for x in xs]
        to = list(shapes[0])
        to[axis] = sum(shape[axis] for shape in shapes)
        return self.op(at, "Concat", *xs, to=to, axis=axis)

    def reshape(self, at: str, x: str, *to: int) -> str:
        """The first axis is written as -1, so that any batch fits."""
        return self.op(at, "Reshape", x, self.ints(at, -1, *to[1:]), to=to)

    def transpose(self, at: str, x: str, *perm: int) -> str:
        return self.op(at, "Transpose", x, to=[self.shape(x)[axis] for axis in perm], perm=list(perm))

    def split(self, at: str, x: str, parts: int, axis: int = 1) -> list[str]:
        to = list(self.shape(x))
        to[axis] //= parts
        self.op(at, "Split", x, self.ints(at, *(to[axis] for _ in range(parts))), to=to, outputs=parts, axis=axis)
        return self.net.nodes[-1].outputs

    def flatten(self, at: str, x: str, how: str = "Flatten") -> str:
        """To two axes: by Flatten, by Reshape, or by a Reshape whose shape is computed."""
        rows, *rest = self.shape(x)
        to = (rows, math.prod(rest))
        if how == "Flatten":
            return self.op(at, "Flatten", x, to=to, axis=1)
        if how == "Reshape":
            return self.reshape(at, x, *to)
        sizes = self.op(at, "Shape", x, to=(len(rest) + 1,), span=None)
        batch = self.op(at, "Gather", sizes, self.net.const(f"/{at}/Constant_index", 0, np.int64), to=(), span=None, axis=0)
        batch = self.op(at, "Unsqueeze", batch, self.ints(at, 0), to=(1,), span=None)
        shape = self.op(at, "Concat", batch, self.ints(at, -1), to=(2,), span=None, axis=0)
        return self.op(at, "Reshape", x, shape, to=to)


def simple(kind: str, span: tuple[float, float] = SIGNED, **attrs: Any) -> Any:
    return lambda m, at, x: m.op(at, kind, x, span=span, **attrs)


def clip(low: float, high: float) -> Any:
    return lambda m, at, x: m.op(at, "Clip", x, m.scalar(at, low), m.scalar(at, high), span=(low, high))


def silu(m: Layers, at: str, x: str) -> str:
    return m.op(at, "Mul", x, m.op(at, "Sigmoid", x, span=UNIT))


def hard_swish(m: Layers, at: str, x: str) -> str:
    """As exported before the operator existed: x · clip(x + 3, 0, 6) / 6."""
    gate = clip(0.0, 6.0)(m, at, m.op(at, "Add", x, m.scalar(at, 3.0), span=(0.0, 5.5)))
    return m.op(at, "Div", m.op(at, "Mul", x, gate, span=(-1.2, 13.0)), m.scalar(at, 6.0))


def gelu_erf(m: Layers, at: str, x: str) -> str:
    erf = m.op(at, "Erf", m.op(at, "Div", x, m.scalar(at, 1.41421)), span=(-1.0, 1.0))
    return m.op(at, "Mul", m.op(at, "Mul", x, m.op(at, "Add", erf, m.scalar(at, 1.0), span=(0.0, 2.0))), m.scalar(at, 0.5))


def gelu(m: Layers, at: str, x: str) -> str:
    return m.op(at, "Gelu", x) if m.net.opset >= 20 else gelu_erf(m, at, x)


def prelu(m: Layers, at: str, x: str) -> str:
    _, channels, *size = m.shape(x)
    return m.op(at, "PRelu", x, m.weight(at, "slope", channels, *(1 for _ in size)))


ACTIVATIONS: dict[str, Any] = {
    "relu": simple("Relu", POSITIVE),
    "relu6": clip(0.0, 6.0),
    "hard-tanh": clip(-1.0, 1.0),
    "leaky-relu": simple("LeakyRelu", alpha=0.1),
    "prelu": prelu,
    "elu": simple("Elu"),
    "hard-swish": lambda m, at, x: m.op(at, "HardSwish", x) if m.net.opset >= 14 else hard_swish(m, at, x),
    "hard-swish-spelled": hard_swish,
    "hard-sigmoid": simple("HardSigmoid", UNIT),
    "silu": silu,
    "sigmoid": simple("Sigmoid", UNIT),
    "tanh": simple("Tanh", (-1.0, 1.0)),
    "gelu": gelu,
    "gelu-erf": gelu_erf,
    "softmax": simple("Softmax", UNIT, axis=-1),
    "log-softmax": simple("LogSoftmax", (-6.0, 0.0), axis=-1),
}
