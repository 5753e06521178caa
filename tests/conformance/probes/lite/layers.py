"""Layers and blocks of NHWC networks, over `Net`."""

from __future__ import annotations

from collections.abc import Callable

from .cases import CONV, DECONV, DEPTHWISE
from .net import Net

ACTS = {"relu": "RELU", "relu6": "RELU6", "": "NONE", "relu-n1": "RELU_N1_TO_1"}
SPANS = {"relu": (0.0, 2.4), "relu6": (0.0, 2.4), "": (-2.3, 2.5), "relu-n1": (-1.0, 1.0)}
SINGLE = {  # activation → operator, options, range
    "leaky-relu": ("LEAKY_RELU", {"alpha": 0.1}, (-0.3, 2.4)), "hard-swish": ("HARD_SWISH", {}, (-0.4, 2.4)), "tanh": ("TANH", {}, (-1.0, 1.0)),
    "sigmoid": ("LOGISTIC", {}, (0.0, 1.0)), "gelu": ("GELU", {}, (-0.2, 2.4)), "softmax": ("SOFTMAX", {"beta": 1.0}, (0.0, 1.0)), "relu-alone": ("RELU", {}, (0.0, 2.4)),
}  # fmt: skip


class Layers:
    """Appends layers to a network; every method returns the name of its result."""

    def __init__(self, net: Net) -> None:
        self.net = net

    def shape(self, x: str) -> tuple[int, ...]:
        return self.net.tensors[x].shape

    def op(self, kind: str, inputs: list[str], shape: tuple[int, ...] | None = None, span: tuple[float, float] = (-2.3, 2.5), **options: object) -> str:
        out = self.net.op(kind, inputs, shape, **options)
        self.net.tensors[out].span = span
        return out

    def act(self, x: str, act: str) -> str:
        """An activation of its own."""
        if act == "silu":
            return self.op("MUL", [x, self.act(x, "sigmoid")])
        if act == "hard-swish-spelled":
            gate = self.op("ADD", [x, self.net.const("three", [3.0])], span=(0.0, 6.0), fusedActivationFunction="RELU6")
            return self.op("MUL", [self.op("MUL", [x, gate], span=(-1.0, 14.0)), self.net.const("sixth", [1 / 6])])
        if act not in SINGLE:
            return x
        kind, options, span = SINGLE[act]
        return self.op(kind, [x], span=span, **options)

    def conv(self, x: str, out: int, kernel: int = 3, stride: int = 1, act: str = "relu") -> str:
        n, h, w, c = self.shape(x)
        inputs = [x, self.net.weight("w", out, kernel, kernel, c), self.net.weight("b", out, size=0.5)]
        size = (n, -(-h // stride), -(-w // stride), out)
        y = self.op("CONV_2D", inputs, size, SPANS.get(act, (-2.3, 2.5)), fusedActivationFunction=ACTS.get(act, "NONE"), **{**CONV, "strideH": stride, "strideW": stride})
        return self.act(y, act)

    def depthwise(self, x: str, stride: int = 1, act: str = "relu6") -> str:
        n, h, w, c = self.shape(x)
        inputs = [x, self.net.weight("w", 1, 3, 3, c), self.net.weight("b", c, size=0.5)]
        size = (n, -(-h // stride), -(-w // stride), c)
        y = self.op("DEPTHWISE_CONV_2D", inputs, size, SPANS.get(act, (-2.3, 2.5)), fusedActivationFunction=ACTS.get(act, "NONE"), **{**DEPTHWISE, "strideH": stride, "strideW": stride})
        return self.act(y, act)

    def deconv(self, x: str, out: int) -> str:
        n, h, w, c = self.shape(x)
        size = (n, 2 * h, 2 * w, out)
        return self.op("TRANSPOSE_CONV", [self.ints(*size), self.net.weight("w", out, 3, 3, c), x, self.net.weight("b", out, size=0.5)], size, **DECONV)

    def linear(self, x: str, out: int, act: str = "") -> str:
        *batch, c = self.shape(x)
        if len(batch) == 3:
            x, batch = self.reshape(x, batch[0], batch[1] * batch[2] * c), batch[:1]
            c = self.shape(x)[-1]
        inputs = [x, self.net.weight("w", out, c), self.net.weight("b", out, size=0.5)]
        y = self.op("FULLY_CONNECTED", inputs, (*batch, out), SPANS.get(act, (-2.3, 2.5)), fusedActivationFunction=ACTS.get(act, "NONE"), keepNumDims=len(batch) > 1)
        return self.act(y, act)

    def ints(self, *values: object) -> str:
        return self.net.const("ints", list(values), dtype="int32")

    def reshape(self, x: str, *shape: int) -> str:
        return self.op("RESHAPE", [x, self.ints(*shape)], shape, newShape=list(shape))

    def transpose(self, x: str, *order: int) -> str:
        return self.op("TRANSPOSE", [x, self.ints(*order)], tuple(self.shape(x)[n] for n in order))

    def pool(self, x: str, kind: str = "MAX_POOL_2D", size: int = 2) -> str:
        n, h, w, c = self.shape(x)
        if min(h, w) < size:
            return x
        return self.op(kind, [x], (n, h // size, w // size, c), padding="VALID", strideH=size, strideW=size, filterHeight=size, filterWidth=size)

    def mean(self, x: str, keep: bool = False) -> str:
        n, _, _, c = self.shape(x)
        return self.op("MEAN", [x, self.ints(1, 2)], (n, 1, 1, c) if keep else (n, c), keepDims=keep)

    def add(self, x: str, y: str, act: str = "") -> str:
        return self.act(self.op("ADD", [x, y], span=SPANS.get(act, (-2.3, 2.5)), fusedActivationFunction=ACTS.get(act, "NONE")), act)

    def mul(self, x: str, y: str) -> str:
        return self.op("MUL", [x, y])

    def concat(self, *xs: str) -> str:
        *size, _ = self.shape(xs[0])
        return self.op("CONCATENATION", list(xs), (*size, sum(self.shape(x)[-1] for x in xs)), axis=3)

    def pad(self, x: str) -> str:
        n, h, w, c = self.shape(x)
        return self.op("PAD", [x, self.ints([0, 0], [1, 1], [1, 1], [0, 0])], (n, h + 2, w + 2, c))

    def upsample(self, x: str, kind: str) -> str:
        n, h, w, c = self.shape(x)
        return self.op(kind, [x, self.ints(2 * h, 2 * w)], (n, 2 * h, 2 * w, c), halfPixelCenters=kind == "RESIZE_BILINEAR")

    def split(self, x: str) -> tuple[str, str]:
        *size, c = self.shape(x)
        first = self.op("SPLIT", [self.net.const("axis", len(size), dtype="int32"), x], (*size, c // 2), numSplits=2)
        second = self.net.add(f"{first}_2", (*size, c // 2))
        self.net.ops[-1].outputs.append(second)
        return first, second


# -- blocks -----------------------------------------------------------------------------------------

Block = Callable[[Layers, str, str], str]


def residual(m: Layers, x: str, act: str) -> str:
    """ResNet's: the addition clamps."""
    width = m.shape(x)[-1]
    return m.add(m.conv(m.conv(x, width, act=act), width, act=""), x, act)


def downsampled(m: Layers, x: str, act: str) -> str:
    width = m.shape(x)[-1] + 4
    return m.add(m.conv(m.conv(x, width, stride=2, act=act), width, act=""), m.conv(x, width, 1, 2, ""), act)


def separable(m: Layers, x: str, act: str) -> str:
    return m.conv(m.depthwise(x, act=act), m.shape(x)[-1] + 2, 1, act=act)


def inverted(m: Layers, x: str, act: str) -> str:
    width = m.shape(x)[-1]
    return m.add(x, m.conv(m.depthwise(m.conv(x, 2 * width, 1, act=act), act=act), width, 1, act=""))


def excited(m: Layers, x: str, act: str) -> str:
    """Squeeze and excitation."""
    width = m.shape(x)[-1]
    gate = m.conv(m.conv(m.mean(x, keep=True), max(2, width // 2), 1, act="relu"), width, 1, act="sigmoid")
    return m.conv(m.mul(x, gate), width, act=act)


def inception(m: Layers, x: str, act: str) -> str:
    pooled = m.op("MAX_POOL_2D", [x], padding="SAME", strideH=1, strideW=1, filterHeight=3, filterWidth=3)
    return m.concat(m.conv(x, 4, 1, act=act), m.conv(m.conv(x, 4, 1, act=act), 4, act=act), m.conv(pooled, 4, 1, act=act))


def dense(m: Layers, x: str, act: str) -> str:
    return m.concat(x, m.conv(x, 4, act=act))


def shuffle(m: Layers, x: str, act: str) -> str:
    n, h, w, c = m.shape(x)
    if c % 4:
        return m.conv(x, c, act=act)
    left, right = m.split(x)
    y = m.concat(left, m.conv(right, c // 2, act=act))
    return m.reshape(m.transpose(m.reshape(y, n, h, w, 2, c // 2), 0, 1, 2, 4, 3), n, h, w, c)


def hourglass(m: Layers, x: str, act: str, up: str = "RESIZE_BILINEAR") -> str:
    if any(size % 2 for size in m.shape(x)[1:3]):
        return m.conv(x, m.shape(x)[-1], act=act)
    down = m.conv(m.pool(x), 6, act=act)
    wide = m.deconv(down, 6) if up == "deconv" else m.upsample(down, up)
    return m.conv(m.concat(wide, x), 8, act=act)


def nearest(m: Layers, x: str, act: str) -> str:
    return hourglass(m, x, act, "RESIZE_NEAREST_NEIGHBOR")


def transposed(m: Layers, x: str, act: str) -> str:
    return hourglass(m, x, act, "deconv")


def padded(m: Layers, x: str, act: str) -> str:
    """As exported from frameworks that pad explicitly."""
    n, h, w, c = m.shape(x)
    y = m.pad(x)
    inputs = [y, m.net.weight("w", c, 3, 3, c), m.net.weight("b", c, size=0.5)]
    return m.op("CONV_2D", inputs, (n, h, w, c), SPANS.get(act, (-2.3, 2.5)), fusedActivationFunction=ACTS.get(act, "NONE"), **{**CONV, "padding": "VALID"})


def attention(m: Layers, x: str, act: str) -> str:
    """Self-attention over the pixels, with one head."""
    n, h, w, c = m.shape(x)
    tokens = m.reshape(x, n, h * w, c)
    q, k, v = (m.linear(tokens, c) for _ in range(3))
    scores = m.op("BATCH_MATMUL", [q, k], (n, h * w, h * w), (-5.0, 5.0), adjY=True)
    mixed = m.op("BATCH_MATMUL", [m.act(scores, "softmax"), v], (n, h * w, c))
    return m.reshape(m.add(tokens, m.linear(mixed, c)), n, h, w, c)


BLOCKS: dict[str, Block] = {
    f.__name__: f for f in (residual, downsampled, separable, inverted, excited, inception, dense, shuffle, hourglass, nearest, transposed, padded, attention)
}  # fmt: skip


def image(net: Net, *blocks: str, stem: str = "relu", act: str = "", tail: str = "softmax", size: int = 8, pool: str = "mean") -> None:
    """Stem convolution, blocks, classifier; `pool` in front of it: mean, average, none."""
    m = Layers(net)
    x = m.conv(net.input("image", (1, size, size, 3)), 8, act=stem)
    for name in blocks:
        x = BLOCKS[name](m, x, act or stem)
    if pool == "mean":
        x = m.mean(x)
    elif pool == "average" and min(m.shape(x)[1:3]) > 1 and m.shape(x)[1] == m.shape(x)[2]:
        x = m.pool(x, "AVERAGE_POOL_2D", m.shape(x)[1])
    x = m.linear(x, 5)
    net.outputs = [m.act(x, tail)]


def dense_net(net: Net, act: str = "relu", widths: tuple[int, ...] = (12, 4, 12), tail: str = "") -> None:
    m = Layers(net)
    x = net.input("features", (1, 16))
    for width in widths:
        x = m.linear(x, width, act)
    net.outputs = [m.act(m.linear(x, 16), tail)]
