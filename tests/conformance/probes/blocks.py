"""The blocks that networks are made of: each takes a tensor, appends layers and returns a tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .layers import SIGNED, UNIT, Layers


def residual(m: Layers, at: str, x: str, act: str = "relu", out: int = 0, stride: int = 1) -> str:
    """ResNet's basic block; another width or a stride puts a 1x1 convolution on the skip."""
    width = out or m.shape(x)[1]
    y = m.conv(f"{at}/conv1", x, width, stride=stride, act=act)
    y = m.conv(f"{at}/conv2", y, width)
    skip = x if (width, stride) == (m.shape(x)[1], 1) else m.conv(f"{at}/downsample/0", x, width, 1, stride)
    return m.act(f"{at}/relu_1", m.op(at, "Add", y, skip), act)


def downsampled(m: Layers, at: str, x: str, act: str = "relu") -> str:
    return residual(m, at, x, act, m.shape(x)[1] + 4, 2 if min(m.shape(x)[2:]) > 2 else 1)


def plain(m: Layers, at: str, x: str, act: str = "relu") -> str:
    return m.conv(f"{at}/conv", x, m.shape(x)[1] + 2, act=act)


def separable(m: Layers, at: str, x: str, act: str = "relu6") -> str:
    """Depthwise, then pointwise."""
    width = m.shape(x)[1]
    return m.conv(f"{at}/pw", m.conv(f"{at}/dw", x, width, group=width, act=act), width + 2, 1, act=act)


def inverted(m: Layers, at: str, x: str, act: str = "relu6", excite: bool = False) -> str:
    """MobileNetV2's inverted residual with a linear bottleneck; `excite` puts squeeze-excitation inside."""
    width = m.shape(x)[1]
    y = m.conv(f"{at}/conv/0/0", x, 2 * width, 1, act=act)
    y = m.conv(f"{at}/conv/1/0", y, 2 * width, group=2 * width, act=act)
    if excite:
        y = squeeze_excite(m, f"{at}/se", y)
    return m.op(at, "Add", x, m.conv(f"{at}/conv/2", y, width, 1))


def squeeze_excite(m: Layers, at: str, x: str, gate: str = "hard-sigmoid") -> str:
    width = m.shape(x)[1]
    y = m.global_pool(f"{at}/avgpool", x)
    y = m.conv(f"{at}/fc2", m.conv(f"{at}/fc1", y, max(2, width // 2), 1, act="relu"), width, 1, act=gate)
    return m.op(at, "Mul", x, y)


def excited(m: Layers, at: str, x: str, act: str = "hard-swish") -> str:
    return inverted(m, at, x, act, excite=True)


def gated(m: Layers, at: str, x: str, act: str = "silu") -> str:
    """EfficientNet's: squeeze-excitation with a sigmoid behind a depthwise convolution."""
    width = m.shape(x)[1]
    y = squeeze_excite(m, f"{at}/se", m.conv(f"{at}/dw", x, width, group=width, act=act), "sigmoid")
    return m.conv(f"{at}/project", y, width, 1)


def inception(m: Layers, at: str, x: str, act: str = "relu") -> str:
    """Three branches, one of them a pooling with stride 1, and a concat."""
    axes = len(m.shape(x)) - 2
    pooled = m.op(f"{at}/branch3/pool", "MaxPool", x, kernel_shape=[3] * axes, strides=[1] * axes, pads=[1] * (2 * axes))
    return m.concat(
        at,
        m.conv(f"{at}/branch1", x, 4, 1, act=act),
        m.conv(f"{at}/branch2/1", m.conv(f"{at}/branch2/0", x, 4, 1, act=act), 4, act=act),
        m.conv(f"{at}/branch3/conv", pooled, 4, 1, act=act),
    )


def dense(m: Layers, at: str, x: str, act: str = "relu") -> str:
    """Two DenseNet layers: what was there is kept and concatenated."""
    for n in (1, 2):
        x = m.concat(f"{at}/layer{n}", x, m.conv(f"{at}/layer{n}/conv", x, 4, act=act))
    return x


def shuffle(m: Layers, at: str, x: str, act: str = "relu") -> str:
    """ShuffleNetV2: split, convolve one half, concat, shuffle the channels."""
    batch, width, *size = m.shape(x)
    if width % 2:
        return plain(m, at, x, act)
    left, right = m.split(at, x, 2)
    y = m.concat(at, left, m.conv(f"{at}/branch2", right, width // 2, act=act))
    y = m.transpose(f"{at}/shuffle", m.reshape(f"{at}/shuffle", y, batch, 2, width // 2, *size), 0, 2, 1, *range(3, 3 + len(size)))
    return m.reshape(f"{at}/shuffle", y, batch, width, *size)


def hourglass(m: Layers, at: str, x: str, act: str = "relu", up: str = "nearest") -> str:
    """One level of a U-Net: down, up again by Resize or ConvTranspose, concat with the skip."""
    if any(size % 2 for size in m.shape(x)[2:]):
        return plain(m, at, x, act)
    down = m.conv(f"{at}/down", m.pool(f"{at}/pool", x), 6, act=act)
    wide = m.deconv(f"{at}/up", down, 6) if up == "deconv" else m.upsample(f"{at}/up", down, up)
    return m.conv(f"{at}/merge", m.concat(at, wide, x), 8, act=act)


def transposed(m: Layers, at: str, x: str, act: str = "relu") -> str:
    return hourglass(m, at, x, act, "deconv")


def pyramid(m: Layers, at: str, x: str, act: str = "relu") -> str:
    """One level of an FPN: the upsampled deep features are added to the lateral ones."""
    width = m.shape(x)[1]
    if any(size % 2 for size in m.shape(x)[2:]):
        return plain(m, at, x, act)
    deep = m.conv(f"{at}/deep", x, width, stride=2, act=act)
    return m.conv(f"{at}/out", m.op(at, "Add", m.conv(f"{at}/lateral", x, width, 1), m.upsample(f"{at}/up", deep)), width, act=act)


def attention(m: Layers, at: str, x: str, heads: int = 2, fused: bool = False, mask: bool = False) -> str:
    """Multi-head self-attention over (batch, tokens, width)."""
    batch, tokens, width = m.shape(x)
    split = (batch, tokens, heads, width // heads)
    if fused:
        parts = m.split(at, m.linear(f"{at}/qkv", x, 3 * width), 3, 2)
    else:
        parts = [m.linear(f"{at}/{part}", x, width) for part in ("query", "key", "value")]
    q, k, v = (
        m.transpose(at, m.reshape(at, part, *split), *perm) for part, perm in zip(parts, ((0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3)), strict=True)
    )
    scores = m.op(at, "MatMul", q, k, to=(batch, heads, tokens, tokens), span=(-5.0, 5.0))
    scores = m.op(at, "Div", scores, m.scalar(at, math.sqrt(width / heads)))
    if mask:
        scores = m.op(at, "Add", scores, m.weight(at, "mask", 1, 1, tokens, tokens))
    mixed = m.op(at, "MatMul", m.op(at, "Softmax", scores, span=UNIT, axis=-1), v, to=(batch, heads, tokens, width // heads))
    return m.linear(f"{at}/proj", m.reshape(at, m.transpose(at, mixed, 0, 2, 1, 3), batch, tokens, width), width)


def transformer(m: Layers, at: str, x: str, act: str = "gelu", spelled: bool = False, before: bool = True, fused: bool = False, mask: bool = False) -> str:
    """Attention and feed-forward, each with a residual and a layer norm `before` or behind it."""
    width = m.shape(x)[-1]

    def normed(name: str, tensor: str, when: bool) -> str:
        return m.layer_norm(f"{at}/{name}", tensor, spelled) if when else tensor

    y = attention(m, f"{at}/attn", normed("norm1", x, before), fused=fused, mask=mask)
    x = normed("norm1", m.op(at, "Add", x, y), not before)
    y = m.linear(f"{at}/mlp/fc2", m.linear(f"{at}/mlp/fc1", normed("norm2", x, before), 2 * width, act), width)
    return normed("norm2", m.op(at, "Add", x, y, span=SIGNED), not before)


@dataclass(frozen=True)
class Head:
    """A classifier: how the image becomes a vector, by which operator it is classified, what stands behind."""

    pool: str = "global"  # global, mean, average, none
    flat: str = "Flatten"  # Flatten, Reshape, computed
    linear: str = "Gemm"  # Gemm, MatMul, Conv
    tail: str = ""  # an activation


def classify(m: Layers, at: str, x: str, head: Head = Head(), classes: int = 10) -> str:
    shape = m.shape(x)
    spatial = tuple(range(2, len(shape)))
    if head.pool == "mean" and head.linear != "Conv":
        y = m.mean("avgpool", x, *spatial, keep=False)
    else:
        y = {"global": m.global_pool, "average": lambda a, t: m.pool(a, t, "AveragePool"), "mean": lambda a, t: m.mean(a, t, *spatial), "none": lambda _, t: t}[head.pool]("avgpool", x)
    if head.linear == "Conv":
        y = m.flatten(at, m.conv(at, y, classes, 1), head.flat)
    else:
        y = m.flatten("flatten", y, head.flat) if len(m.shape(y)) > 2 else y
        y = m.gemm(at, y, classes) if head.linear == "Gemm" else m.linear(at, y, classes)
    return m.act(head.tail, y, head.tail)
