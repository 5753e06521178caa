"""The corpora of torch.export files."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from probes.probe import Probe
from probes.script.cases import ACTIVATIONS, BINARY, NORMS, UNARY, WEIGHTED, Case
from probes.script.layers import Style
from probes.script.networks import faked

from .net import ExportedLayers, ExportedNet, ExportedRandom

COUNT = 24
PLAIN = Style()
KEYS = set(
    "relu hardtanh hardswish sigmoid silu gelu softmax add-number mul-number max-pool max-pool-1d avg-pool adaptive mean reshape flatten permute transpose unsqueeze slice chunk expand"
    " pixel-shuffle nearest pad contiguous-clone layer-norm batch-norm add mul matmul bmm cat stack".split()
)
CORE = set("max-pool reshape cat".split())  # have kernels for integers of their own
# What is between the operator and its neighbours.
FACTORS = {
    "u8": {}, "y=none": {"y": ""}, "x=none": {"x": ""}, "y=s8": {"y": "s8"}, "y=same": {"y_scale": 0.02}, "s8-same": {"x": "s8", "y": "s8", "y_scale": 0.02},
    "s16": {"x": "s16", "y": "s16"}, "s16-same": {"x": "s16", "y": "s16", "y_scale": 0.02},
}  # fmt: skip
AROUND = {
    "u8": {}, "s8": {"x": "s8", "y": "s8"}, "s8-zero": {"x": "s8", "y": "s8", "zero": -20}, "y=s8": {"y": "s8"}, "y=none": {"y": ""}, "x=none": {"x": ""}, "s16": {"x": "s16", "y": "s16"},
    "y=s16": {"y": "s16"}, "x=u7": {"x": "u7"}, "x=u4": {"x": "u4"}, "y=u4": {"y": "u4"},
}  # fmt: skip
WEIGHTS = {
    "w=tensor": {"axis": None}, "w=in": {"axis": 1}, "w=u8": {"weight": "u8", "weight_zero": 128}, "w=zero": {"weight_zero": 5}, "w=s4": {"weight": "s4"}, "w=s8": {"weight": "s8"}, "w=float": {"weight": ""},
    "w=tensor-x=none": {"axis": None, "x": ""},
}  # fmt: skip
SUMS = {"rhs=u8": "u8", "rhs=s8": "s8", "rhs=none": "", "rhs=s16": "s16"}
HOW = ("plain", "relu", "float", "relu-float", "swapped")
FOLLOWED = {**ACTIVATIONS, "silu": "silu({x})", "gelu": "gelu({x})", "gelu-tanh": "gelu({x}, approximate='tanh')", "clamp": "clamp({x}, -0.5, 0.5)", "sigmoid": "sigmoid({x})"}


def single(seed: int = 0) -> Iterator[Probe]:
    """One operator with one thing changed; the same for every seed."""
    for case in (*UNARY, *NORMS, *BINARY):
        if case.key in KEYS:
            for name in FACTORS if case.key in CORE else ("u8",):
                yield _operator(case, name)
    for key in WEIGHTED:
        core = key in ("conv2d", "linear")
        for name, changes in {**AROUND, **WEIGHTS}.items() if core else {"u8": {}}.items():
            yield _weighted(key, name, PLAIN.but(**changes))
        for name, act in FOLLOWED.items() if core else ():
            yield _weighted(key, f"then-{name}", PLAIN, act)
            yield _weighted(key, f"then-{name}-float", PLAIN.but(y=""), act)
        for name, of in SUMS.items() if core else ():
            yield from (_sum(key, f"plus-{name}-{how}", of, how) for how in (HOW if name == "rhs=u8" else ("plain", "float")))
        if core:
            yield from (_shared(key, how) for how in ("readers", "sums", "codes", "result"))


def _operator(case: Case, name: str) -> Probe:
    net = ExportedNet(case.key)
    m = ExportedLayers(net, PLAIN.but(**FACTORS[name]))
    x = m.input(*case.shape)
    y = m.input(*case.shape) if "{y}" in case.plain else ""
    return _probe(case.key, name, net.bytes(m.apply(case, x, y, plain=True)))


def _weighted(key: str, name: str, style: Style, act: str = "") -> Probe:
    net = ExportedNet(key)
    m = ExportedLayers(net, style)
    return _probe(key, name, net.bytes(m.weighted(key, m.input(*WEIGHTED[key][0]), act)))


def _sum(key: str, name: str, of: str, how: str) -> Probe:
    """A sum with a second input on another grid."""
    net = ExportedNet(key)
    m = ExportedLayers(net, PLAIN)
    x = m.input(*WEIGHTED[key][0])
    other = ExportedLayers(net, PLAIN.but(x=of)).input(*(WEIGHTED[key][0] if key == "conv2d" else (2, 12)))
    made = m.weighted(key, x, last=False)
    total = net.line(f"torch.ops.aten.add({other}, {made})" if how == "swapped" else f"torch.ops.aten.add({made}, {other})")
    if how.startswith("relu"):
        total = net.line(f"torch.ops.aten.relu({total})")
    return _probe(key, name, net.bytes(total if how.endswith("float") else m.quantized(total, PLAIN.grid("y"))))


def _shared(key: str, how: str) -> Probe:
    """Tensors with several readers."""
    net = ExportedNet(key)
    m = ExportedLayers(net, PLAIN)
    square = "conv2d" if key == "conv2d" else key
    shape, weights = ((1, 8, 6, 6), (8, 8, 3, 3)) if key == "conv2d" else ((2, 16), (16, 16))
    x = m.input(*shape)
    made = m.weighted(square, x, shape=weights, last=False)
    grid = PLAIN.grid("y")
    if how == "readers":  # two layers and an operator on floats read one dequantize
        second = m.weighted(square, x, shape=weights)
        return _probe(key, "shared-readers", net.bytes(f"({m.quantized(made, grid)}, {second}, {net.line(f'torch.ops.aten.tanh({x})')})"))
    if how == "sums":  # the skip input is read by another layer as well
        total = m.quantized(net.line(f"torch.ops.aten.add({made}, {x})"), grid)
        return _probe(key, "shared-sums", net.bytes(f"({total}, {m.weighted(square, x, shape=weights)})"))
    if how == "codes":  # two layers make the sum
        second = m.weighted(square, x, shape=weights, last=False)
        return _probe(key, "shared-both", net.bytes(m.quantized(net.line(f"torch.ops.aten.add({made}, {second})"), grid)))
    return _probe(key, "shared-result", net.bytes(f"({m.quantized(net.line(f'torch.ops.aten.relu({made})'), grid)}, {net.line(f'torch.ops.aten.tanh({made})')})"))


def _probe(key: str, name: str, data: bytes) -> Probe:
    return Probe(f"single/{key}/{name}", data, None, {"op": key, "style": name})


def random(seed: int = 0) -> Iterator[Probe]:
    """Networks put together by chance, with quantizers left out or changed by chance."""
    for number in range(COUNT):
        yield Probe(f"random/{number:03}", faked(Random(f"export {seed} {number}"), f"{seed} {number}", ExportedNet, ExportedRandom), None, {"form": "export"})
