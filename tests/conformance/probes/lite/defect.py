"""The corpus `tflite-defect`: networks of the field as TFLite files, with exactly one defect, and their clean twins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from zlib import crc32

from probes.probe import Probe

from .factors import FACTORS, Factor, Skip, Subject
from .layers import dense_net, image
from .net import Net
from .style import STYLES, quantize

NETWORKS: dict[str, Callable[[Net], None]] = {
    "resnet": lambda net: image(net, "residual", "downsampled", act="relu"),
    "mobilenet-v1": lambda net: image(net, "separable", "separable", stem="relu6", pool="average"),
    "mobilenet-v2": lambda net: image(net, "inverted", "inverted", stem="relu6"),
    "mobilenet-v3": lambda net: image(net, "inverted", "excited", stem="hard-swish", act="hard-swish"),
    "efficientnet": lambda net: image(net, "excited", "inverted", stem="silu", act="silu"),
    "inception": lambda net: image(net, "inception", "inception", pool="none"),
    "densenet": lambda net: image(net, "dense", "dense", pool="average"),
    "shufflenet": lambda net: image(net, "shuffle", "shuffle"),
    "unet": lambda net: image(net, "hourglass", "transposed", tail="sigmoid", pool="none"),
    "fpn": lambda net: image(net, "nearest", "padded", stem="leaky-relu", act="leaky-relu"),
    "vision-transformer": lambda net: image(net, "attention", stem="gelu", act="gelu", size=4),
    "spelled-out": lambda net: image(net, "residual", "separable", stem="hard-swish-spelled", act="relu-alone", tail="tanh"),
    "autoencoder": partial(dense_net, widths=(12, 4, 12)),
}

# What converters, editors and merged files get wrong, by the operator at which they do.
_GRID = "y-scale=x2 y-scale=x1.1 y-zero=+7 y-zero=+40 y-scale=zero y-scale=/1000 y=per-channel"
_TYPES = "x=float y=float x=u8 y=s16 island=float requantized=x requantized=y batch=dynamic"
_WEIGHTS = """
    w=s8-none w=s4-out w=s4-none w=u8-none w=s16-out w=s2-out w=in w=fewer-scales w=float w=no-scale w=variable w-zero=40 w-zero=one
    b=s64 b=s32 b=s16 b=s8 b=float b=none b=one-scale b=no-scale b=variable b-scale=x4 b-scale=x1.001 b-zero=50000 bias-type=not-said"""
_FUSED = "act=relu act=relu6 act=relu_n1_to_1 act=tanh"
DEFECTS: dict[tuple[str, ...], str] = {
    ("CONV_2D",): f"{_GRID} {_TYPES} {_WEIGHTS} {_FUSED} act=sign_bit",
    ("DEPTHWISE_CONV_2D",): f"{_GRID} island=float {_WEIGHTS} {_FUSED}",
    ("FULLY_CONNECTED",): f"{_GRID} {_TYPES} {_WEIGHTS} {_FUSED}",
    ("TRANSPOSE_CONV",): f"{_GRID} island=float {_WEIGHTS}",
    ("BATCH_MATMUL",): f"{_GRID} x2=float x2=s16 x2-scale=x2 x2-zero=+7 island=float requantized=x",
    ("ADD", "MUL"): f"{_GRID} {_TYPES} x2=float x2=u8 x2=s16 x2-scale=x2 x2-zero=+7 c=float c-scale=x2 c-zero=+7 c=variable {_FUSED}",
    ("CONCATENATION",): f"{_GRID} {_TYPES} x2=float x2=u8 x2-scale=x2 x2-zero=+7 {_FUSED}",
    ("MAX_POOL_2D", "AVERAGE_POOL_2D"): f"{_GRID} {_TYPES} {_FUSED}",
    ("MEAN",): f"{_GRID} island=float requantized=x requantized=y batch=dynamic",
    ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"): f"{_GRID} island=float requantized=x batch=dynamic",
    ("RESHAPE", "TRANSPOSE", "PAD", "SPLIT"): f"{_GRID} island=float requantized=x batch=dynamic",
    ("SOFTMAX", "LOGISTIC", "TANH"): f"{_GRID} {_TYPES}",
    ("HARD_SWISH", "LEAKY_RELU", "GELU", "RELU"): f"{_GRID} island=float requantized=x",
}
OTHER_STYLES = ("s8-tensor", "s16", "s16-s32", "u8", "hybrid", "float")
TIMES = 2  # each defect, in as many networks that have a place for it
_BY_ID = {factor.id: factor for factor in FACTORS}


def defect(seed: int = 0) -> Iterator[Probe]:
    """The same for every seed."""
    clean = {(name, style): _network(name, style).bytes() for name in NETWORKS for style in STYLES}
    for (name, style), model in clean.items():
        if style == "s8" or style in OTHER_STYLES:
            yield Probe(_clean(name, style), model, None, {"net": name, "style": style})
    kinds_of = {name: {op.kind for op in _network(name, "s8").ops} for name in NETWORKS}
    for kinds, keys in DEFECTS.items():
        having = [name for name in NETWORKS if kinds_of[name] & set(kinds)]
        for key in keys.split():
            places = sorted(having, key=lambda name, k=key: crc32(f"{name} {kinds} {k}".encode()))  # type: ignore[misc]
            found = (probe for name in places if (probe := _damaged(name, kinds, _BY_ID[key], clean)) is not None)
            yield from islice(found, TIMES)


def _network(name: str, style: str) -> Net:
    net = Net()
    NETWORKS[name](net)
    quantize(net, STYLES[style])
    return net


def _clean(name: str, style: str) -> str:
    return f"defect/{name}/{style}/clean"


def _damaged(name: str, kinds: tuple[str, ...], factor: Factor, clean: dict[tuple[str, str], bytes]) -> Probe | None:
    """One defect at one operator of the given kinds; the operator depends on nothing but the names."""
    style = factor.styles[crc32(f"{name} {factor.id}".encode()) % len(factor.styles)]
    style = style if style == "s8" or style in OTHER_STYLES else "s8"
    at = [number for number, op in enumerate(_network(name, style).ops) if op.kind in kinds]
    first = crc32(f"{factor.id} {name}".encode()) % len(at)
    for place in (*at[first:], *at[:first]):
        net = _network(name, style)
        op = net.ops[place]
        try:
            factor.act(Subject(net, op))
        except Skip:
            continue
        if (model := net.bytes()) != clean[name, style]:
            where = f"{op.kind.lower()}-{place}"
            return Probe(f"defect/{name}/{style}/{where}/{factor.id}", model, _clean(name, style), {"net": name, "style": style, factor.name: factor.value})
    return None
