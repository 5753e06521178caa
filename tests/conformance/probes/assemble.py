"""Random networks out of the same blocks: order, widths, activations, pooling, head and opset by chance."""

from __future__ import annotations

from random import Random

from . import blocks
from .blocks import Head, classify
from .builder import MICROSOFT
from .layers import Layers
from .net import Net
from .style import STYLES, Style

OPSETS = [13, 15, 17, 18, 19, 20, 21, 21, 21, 21, 22, 23]
ACTS = ["relu", "relu", "relu", "relu6", "relu6", "leaky-relu", "hard-swish", "hard-swish-spelled", "silu", "elu", "tanh", "hard-tanh", "prelu", "sigmoid", "gelu"]
IMAGE_BLOCKS = [
    blocks.residual, blocks.residual, blocks.downsampled, blocks.plain, blocks.separable, blocks.inverted, blocks.excited,
    blocks.gated, blocks.inception, blocks.dense, blocks.shuffle, blocks.hourglass, blocks.transposed, blocks.pyramid,
]  # fmt: skip
SIGNAL_BLOCKS = [blocks.residual, blocks.plain, blocks.separable, blocks.inverted, blocks.inception, blocks.dense, blocks.shuffle]
TAILS = ["", "", "", "softmax", "sigmoid", "log-softmax"]


def random_net(rng: Random) -> tuple[str, Net]:
    """A network, and the name of its family."""
    family, build = rng.choice([*[("image", image)] * 6, *[("tokens", tokens)] * 2, ("dense", dense), ("signal", signal)])
    net = Net(rng.choice(OPSETS), suffix="_output_0")
    build(Layers(net, norm=family == "image" and rng.random() < 0.12), rng)
    return family, net


def random_style(rng: Random, net: Net) -> tuple[str, Style]:
    """A tool's usual habits, or any mixture of them, such that `net`'s opset can say it."""
    if rng.random() < 0.6:
        name = rng.choice(list(STYLES))
        style = STYLES[name]
    else:
        name = "mixed"
        style = Style(
            rng.choice(["u8", "u8", "s8", "s8a", "u16", "s16"]),
            rng.choice(["s8", "s8", "s8", "u8"]),
            rng.random() < 0.5,
            rng.random() < 0.25,
            rng.random() < 0.15,
            rng.random() < 0.15,
            rng.random() < 0.8,
            rng.choice(["s32", "s32", "s32", "float"]),
            rng.random() < 0.75,
            rng.choice(["", "", "", "", MICROSOFT]),
        )
    sixteen = "16" in style.act and net.opset < 21
    return name, style.but(domain=MICROSOFT) if sixteen else style


def image(m: Layers, rng: Random) -> None:
    x = m.input(rng.choice(["input", "images", "x.1"]), 1, 3, *[rng.choice([8, 12, 16])] * 2)
    act = rng.choice(ACTS)
    x = m.conv("stem/conv", x, rng.choice([4, 6, 8, 12]), stride=rng.choice([1, 2]), act=act)
    if rng.random() < 0.3:
        x = m.pool("stem/pool", x, rng.choice(["MaxPool", "MaxPool", "AveragePool"]))
    for n in range(rng.randint(1, 3)):
        x = rng.choice(IMAGE_BLOCKS)(m, f"layer{n + 1}", x, rng.choice([act, act, act, rng.choice(ACTS)]))
    finish(m, rng, x)


def signal(m: Layers, rng: Random) -> None:
    act = rng.choice(ACTS)
    x = m.conv("conv1", m.input("mfcc", 1, rng.choice([4, 10]), 16), rng.choice([4, 8]), kernel=rng.choice([3, 5]), act=act)
    for n in range(rng.randint(1, 2)):
        x = rng.choice(SIGNAL_BLOCKS)(m, f"layers.{n}", x, act)
        if rng.random() < 0.4:
            x = m.pool(f"pool{n}", x, rng.choice(["MaxPool", "AveragePool"]))
    finish(m, rng, x)


def finish(m: Layers, rng: Random, x: str) -> None:
    """A classifier, or the features themselves."""
    if rng.random() < 0.15:
        m.net.output(m.conv("head", x, rng.choice([2, 4]), 1, act=rng.choice(["", "", "sigmoid"])))
        return
    head = Head(rng.choice(["global", "global", "mean", "average", "none"]), rng.choice(["Flatten", "Reshape", "computed"]), rng.choice(["Gemm", "Gemm", "MatMul", "Conv"]), rng.choice(TAILS))
    m.net.output(classify(m, "classifier", x, head, rng.choice([2, 5, 10])))


def tokens(m: Layers, rng: Random) -> None:
    width, count = rng.choice([8, 12, 16]), rng.choice([4, 6])
    x = m.input("hidden_states", 1, count, width)
    spelled, before = rng.random() < 0.5, rng.random() < 0.5
    if rng.random() < 0.5:
        x = m.layer_norm("embeddings/LayerNorm", x, spelled)
    for n in range(rng.choice([1, 1, 2])):
        act = rng.choice(["gelu", "gelu-erf", "relu", "silu"])
        x = blocks.transformer(m, f"layers.{n}", x, act, spelled, before, fused=rng.random() < 0.4, mask=rng.random() < 0.4)
    if rng.random() < 0.6:
        x = m.gemm("head", m.mean("pool", x, 1, keep=False), rng.choice([3, 5]), transposed=rng.random() < 0.7)
    m.net.output(x)


def dense(m: Layers, rng: Random) -> None:
    x = m.input("input", rng.choice([1, 2]), rng.choice([8, 12, 16]))
    act = rng.choice(["relu", "relu", "tanh", "sigmoid", "leaky-relu", "gelu", "hard-swish"])
    gemm, transposed = rng.random() < 0.6, rng.random() < 0.7
    for n in range(rng.randint(2, 4)):
        width = rng.choice([4, 8, 12])
        before = x
        x = m.gemm(f"fc{n}", x, width, act, transposed) if gemm else m.linear(f"fc{n}", x, width, act)
        if m.shape(before) == m.shape(x) and rng.random() < 0.5:
            x = m.op(f"fc{n}", "Add", before, x)
    x = m.gemm("out", x, 5) if gemm else m.linear("out", x, 5)
    m.net.output(m.act("out", x, rng.choice(TAILS)))
