"""The architectures of the field, small: what the single-defect probes damage."""

from __future__ import annotations

from collections.abc import Callable

from . import blocks
from .blocks import Head, classify
from .layers import Layers
from .net import Net


def image(stem: str, *body: Callable[[Layers, str, str], str], head: Head = Head(), size: int = 8, norm: bool = False) -> Callable[[Net], None]:  # noqa: B008
    """Stem convolution with the activation `stem`, blocks, classifier."""

    def build(net: Net) -> None:
        m = Layers(net, norm)
        x = m.conv("conv1", m.input("input", 1, 3, size, size), 8, act=stem)
        for n, block in enumerate(body, 1):
            x = block(m, f"layer{n}", x)
        net.output(classify(m, "classifier", x, head))

    return build


def act(block: Callable[..., str], kind: str) -> Callable[[Layers, str, str], str]:
    return lambda m, at, x: block(m, at, x, kind)


def pool(m: Layers, at: str, x: str) -> str:
    return m.pool("maxpool", x)


def unet(net: Net) -> None:
    m = Layers(net)
    x = m.conv("inc", m.input("input", 1, 3, 16, 16), 6, act="relu")
    x = blocks.hourglass(m, "level1", x)
    net.output(m.conv("outc", blocks.transposed(m, "level2", x), 2, 1))


def detector(net: Net) -> None:
    """YOLO-like: leaky activations, a pyramid, two outputs of which one is a sigmoid."""
    m = Layers(net)
    x = m.conv("backbone/0", m.input("images", 1, 3, 16, 16), 8, stride=2, act="leaky-relu")
    x = blocks.pyramid(m, "neck", x, "leaky-relu")
    net.output(m.act("head/cls", m.conv("head/cls", x, 6, 1), "sigmoid"), m.conv("head/box", x, 4, 1))


def bert(net: Net) -> None:
    m = Layers(net)
    x = m.layer_norm("embeddings/LayerNorm", m.input("hidden_states", 1, 6, 8), spelled=True)
    x = blocks.transformer(m, "encoder/layer.0", x, "gelu-erf", spelled=True, before=False, mask=True)
    first = m.op("pooler", "Gather", x, net.const("/pooler/Constant_index", 0, int), to=(1, 8), axis=1)
    net.output(m.gemm("classifier", m.gemm("pooler/dense", first, 8, "tanh"), 3))


def vit(net: Net) -> None:
    m = Layers(net)
    batch, width, size = 1, 8, 3
    x = m.input("pixel_values", batch, 3, 12, 12)
    w = m.weight("patch_embed/proj", "weight", width, 3, 4, 4), m.weight("patch_embed/proj", "bias", width)
    x = m.op("patch_embed/proj", "Conv", x, *w, to=(batch, width, size, size), kernel_shape=[4, 4], strides=[4, 4])
    x = m.transpose("patch_embed", m.reshape("patch_embed", x, batch, width, size * size), 0, 2, 1)
    x = m.op("pos_embed", "Add", x, m.weight("pos_embed", "weight", 1, size * size, width))
    x = blocks.transformer(m, "blocks.0", x, "gelu", fused=True)
    net.output(m.gemm("head", m.mean("pool", m.layer_norm("norm", x), 1, keep=False), 5))


def transformer(net: Net) -> None:
    m = Layers(net)
    net.output(blocks.transformer(m, "layers.0", m.input("x", 1, 6, 8), "relu"))


def autoencoder(net: Net) -> None:
    m = Layers(net)
    x = m.input("input", 1, 16)
    for n, width in enumerate((12, 4, 12)):
        x = m.gemm(f"dense_{n}", x, width, "relu")
    net.output(m.gemm("dense_3", x, 16))


def mlp(net: Net) -> None:
    m = Layers(net)
    x = m.linear("fc1", m.input("input", 1, 12), 8, "relu")
    net.output(m.act("probs", m.linear("fc3", m.linear("fc2", x, 8, "tanh"), 4), "softmax"))


def keywords(net: Net) -> None:
    """Keyword spotting with one-dimensional convolutions."""
    m = Layers(net)
    x = m.conv("conv1", m.input("mfcc", 1, 10, 16), 8, stride=2, act="relu")
    x = m.pool("pool", blocks.residual(m, "res1", x))
    net.output(classify(m, "fc", x, Head("mean", linear="MatMul", tail="log-softmax")))


NETWORKS: dict[str, Callable[[Net], None]] = {
    "resnet": image("relu", pool, blocks.residual, blocks.downsampled),
    "resnet-softmax": image("relu", blocks.residual, blocks.residual, head=Head("mean", "Reshape", "MatMul", "softmax")),
    "cnn-bn": image("relu", blocks.plain, pool, act(blocks.separable, "relu"), head=Head("none", "Reshape"), norm=True),
    "mobilenet-v1": image("relu6", blocks.separable, blocks.separable, head=Head("average", "computed")),
    "mobilenet-v2": image("relu6", blocks.inverted, blocks.inverted, head=Head("mean")),
    "mobilenet-v3": image("hard-swish", blocks.excited, head=Head(linear="Conv")),
    "hard-swish-spelled": image("hard-swish-spelled", act(blocks.inverted, "hard-swish-spelled")),
    "efficientnet": image("silu", blocks.gated, act(blocks.inverted, "silu")),
    "inception": image("relu", blocks.inception, pool, blocks.inception, head=Head("average", linear="MatMul")),
    "densenet": image("relu", blocks.dense, blocks.plain),
    "shufflenet": image("relu", blocks.shuffle, blocks.shuffle, head=Head("mean", "Reshape")),
    "unet": unet,
    "detector": detector,
    "bilinear": image("relu", lambda m, at, x: blocks.hourglass(m, at, x, "relu", "linear"), head=Head(linear="Conv", flat="Reshape")),
    "bert": bert,
    "vit": vit,
    "transformer": transformer,
    "autoencoder": autoencoder,
    "mlp": mlp,
    "keywords": keywords,
}


def network(name: str, opset: int = 21) -> Net:
    net = Net(opset, suffix="_output_0")
    NETWORKS[name](net)
    return net
