"""The corpora of TorchScript files."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from probes.probe import Probe

from .cases import ACTIVATIONS, BINARY, CORE_WEIGHTED, NORMS, UNARY, WEIGHTED, Case
from .layers import Layers, Style
from .net import Net
from .networks import faked, real

COUNT = 120
FAKE, REAL = Style(), Style(real=True)
STYLES = {
    "u8": FAKE, "u8-low": FAKE.but(zero=0), "u7": FAKE.but(x="u7", y="u7"), "s8": FAKE.but(x="s8", y="s8"), "s8-zero": FAKE.but(x="s8", y="s8", zero=-20), "s16": FAKE.but(x="s16", y="s16"),
    "u8-real": REAL, "s8-real": REAL.but(x="s8", y="s8"),
}  # fmt: skip
# What is between the operator and its neighbours.
FACTORS = {
    "y=none": {"y": ""}, "x=none": {"x": ""}, "y=s8": {"y": "s8"}, "y=u4": {"y": "u4"}, "y=same": {"y_scale": 0.02}, "y=fixed": {"y_scale": 1 / 256, "zero": 0}, "x=u4": {"x": "u4"},
    "y=narrow": {"y_scale": 0.002}, "x=n8": {"x": "n8", "y": "n8"}, "y=tanh": {"y_scale": 2 / 256, "zero": 128},
}  # fmt: skip
WEIGHTS = {
    "w=tensor": {"axis": None}, "w=s8": {"weight": "s8"}, "w=in": {"axis": 1}, "w=u8": {"weight": "u8", "axis": None, "weight_zero": 128}, "w=zero": {"axis": None, "weight_zero": 5},
    "w=zero-channel": {"weight_zero": 5}, "w=s4": {"weight": "s4"}, "w=s7": {"weight": "s7", "full": True}, "w=full": {"full": True}, "w=full-tensor": {"full": True, "axis": None},
    "w=full-u7": {"full": True, "x": "u7"}, "w=float": {"weight": ""}, "w=s16": {"weight": "s16"},
}  # fmt: skip


def single(seed: int = 0) -> Iterator[Probe]:
    """One operator in every style, then with one thing changed; the same for every seed."""
    for case in (*UNARY, *NORMS, *BINARY):
        for name, style in STYLES.items():
            if not case.core and name not in ("u8", "u8-real", "s8-real"):
                continue
            yield _probe(case, name, style)
            if style.real and case.packed:
                yield _probe(case, f"{name}-aten", style, plain=True)
        for name, changes in FACTORS.items():
            if case.core or name == "y=none":
                yield _probe(case, name, FAKE.but(**changes))
        if case.core:
            yield from (_probe(case, f"then-{name}", FAKE, then=act) for name, act in ACTIVATIONS.items())
            yield _probe(case, "twice", FAKE, twice=True)
        if case in BINARY:
            yield _probe(case, "rhs=same", FAKE, rhs="u8")
            yield _probe(case, "all=same", FAKE.but(y_scale=0.02), rhs="u8")
            yield _probe(case, "all=same-real", REAL.but(y_scale=0.02), rhs="u8")
            yield _probe(case, "rhs=none", FAKE, rhs="none")
            yield _probe(case, "rhs=s8", FAKE, rhs="s8")
            yield _probe(case, "rhs=constant", FAKE, rhs="constant")
    for key in WEIGHTED:
        yield from (probe for probe in _all_weighted(key) if probe is not None)


def _all_weighted(key: str) -> Iterator[Probe | None]:
    core = key in CORE_WEIGHTED
    for name, style in STYLES.items():
        if core or name in ("u8", "s8", "u8-real"):
            yield _weighted(key, name, style)
    for name, changes in {**FACTORS, **WEIGHTS}.items():
        if core or name in ("y=none", "w=tensor", "w=in", "w=zero", "w=full", "w=full-u7"):
            yield _weighted(key, name, FAKE.but(**changes))
    for name in ("w=tensor", "w=zero", "w=zero-channel", "w=full", "w=u8") if core else ():
        yield _weighted(key, f"{name}-real", REAL.but(**WEIGHTS[name]))
    for name, act in ACTIVATIONS.items():
        if core or name == "relu":
            yield _weighted(key, f"then-{name}", FAKE, act=act)
    yield _weighted(key, "then-relu-real", REAL, act=ACTIVATIONS["relu"])
    if core:
        yield _weighted(key, "bias=none", FAKE, bias=False)
        yield _weighted(key, "twice", FAKE, twice=True)


def _probe(case: Case, name: str, style: Style, plain: bool = False, then: str = "", twice: bool = False, rhs: str = "") -> Probe:
    net = Net(case.key)
    m = Layers(net, style)
    x = m.input(*case.shape)
    y = ""
    if "{y}" in case.plain:
        if rhs == "constant":
            import torch

            y = net.attribute(torch.from_numpy(net.random(*case.shape)))
        elif rhs:
            y = Layers(net, style.but(x=rhs if rhs != "none" else "")).input(*case.shape)
        else:
            y = Layers(net, style.but(x_scale=0.03)).input(*case.shape)
    made = m.apply(case, x, y, plain, last=not then and case.key != "argmax")
    if then:
        made = m.quantized(net.line(f"torch.ops.aten.{then.format(x=made)}"), style.grid("y"))
    if twice:  # another reader of the same input
        made = f"({made}, {m.quantized(net.line(f'torch.ops.aten.relu({x})'), style.grid('x'))})"
    elif style.real:
        made = m.output(made, True) if case.key != "argmax" else made
    return Probe(f"single/{case.key}/{name}", net.bytes(made), None, {"op": case.key, "style": name})


def _weighted(key: str, name: str, style: Style, act: str = "", bias: bool = True, twice: bool = False) -> Probe | None:

    net = Net(key)
    m = Layers(net, style)
    x = m.input(*WEIGHTED[key][0])
    try:
        y = m.weighted(key, x, act, bias=bias)
    except (RuntimeError, IndexError):  # the engine that packs weights here refuses them: there is no such file
        return None
    if twice:
        y = f"({y}, {m.quantized(net.line(f'torch.ops.aten.relu({x})'), style.grid('x'))})"
    return Probe(f"single/{key}/{name}", net.bytes(m.output(y, style.real)), None, {"op": key, "style": name})


def random(seed: int = 0) -> Iterator[Probe]:
    """Networks put together by chance, with quantizers left out or changed by chance."""
    for number in range(COUNT):
        rng = Random(f"torch {seed} {number}")
        if rng.random() < 0.25:
            yield Probe(f"random/{number:03}", real(rng, f"{seed} {number}"), None, {"form": "operators"})
        else:
            yield Probe(f"random/{number:03}", faked(rng, f"{seed} {number}"), None, {"form": "fake-quant"})
