"""Exported programs between the quantizers that PT2E writes, as ExecuTorch's delegates see them: one operator, or a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from typing import Any

from probes.probe import Probe
from probes.script.cases import ATEN, BINARY, NORMS, UNARY, WEIGHTED, Case
from probes.script.layers import Style

from .net import Exported, Pairs
from .networks import network
from .pieces import PIECES, piece

S8 = Style(x="s8", y="s8", zero=3)
# Operators that the delegate takes quantized, or whose result must be on the grid of what they read: they get every factor.
TAKEN = "relu relu6 hardtanh clamp max-pool mean-keep view permute slice squeeze add mul sub cat".split()
BETWEEN = {"same": {"y_scale": 0.02}, "y=none": {"y": ""}, "x=none": {"x": ""}, "u8": {"x": "u8", "y": "u8", "zero": 120}}
WEIGHTS = {
    "w=tensor": {"axis": None}, "w=in": {"axis": 1}, "w=u8": {"weight": "u8", "axis": None, "weight_zero": 128}, "w=zero": {"axis": None, "weight_zero": 5},
    "w=zero-channel": {"weight_zero": 5}, "w=s4": {"weight": "s4"}, "w=s8": {"weight": "s8"}, "w=float": {"weight": ""}, "multiplier": {"x_scale": 40.0, "y_scale": 0.0005},
}  # fmt: skip
ACTIVATIONS = {"relu": "relu({x})", "relu6": "hardtanh({x}, 0.0, 6.0)", "hardswish": "hardswish({x})"}
CORE = ("conv2d", "linear")
COUNT = 24
WANTED = "conv2d conv2d-depthwise conv2d-grouped conv1d conv3d deconv2d deconv2d-grouped linear linear-tokens".split()


Recipes = dict[str, Callable[[], Probe]]  # by the id of the probe


def recipes() -> Recipes:
    """How each is made: an operator between quantizers, then with one thing changed."""
    found: Recipes = {}

    def add(make: Callable[..., Probe], what: Any, key: str, name: str, style: Style, **more: Any) -> None:
        found[f"single/{key}/{name}"] = partial(make, what, name, style, **more)

    for case in (*UNARY, *NORMS, *BINARY):
        add(_probe, case, case.key, "s8", S8)
        for name, changes in BETWEEN.items() if case.key in TAKEN else ():
            add(_probe, case, case.key, name, S8.but(**changes))
        if case.key in TAKEN and case in BINARY:
            add(_probe, case, case.key, "rhs=none", S8, rhs="")
            add(_probe, case, case.key, "rhs=constant", S8, rhs="constant")
            add(_probe, case, case.key, "then-relu", S8, then=ACTIVATIONS["relu"])
            add(_probe, case, case.key, "then-relu6", S8, then=ACTIVATIONS["relu6"])
    for key in WANTED:
        add(_weighted, key, key, "s8", S8)
        for name, changes in {**BETWEEN, **WEIGHTS}.items():
            if key in CORE or (name in ("w=tensor", "w=in", "y=none") and not (name == "w=in" and ("grouped" in key or "depthwise" in key))):
                add(_weighted, key, key, name, S8.but(**changes))
        add(_weighted, key, key, "dynamic", S8.but(x="", y=""), dynamic=True)
        if key in CORE:
            add(_weighted, key, key, "dynamic-tensor", S8.but(x="", y="", axis=None), dynamic=True)
            add(_weighted, key, key, "bias=none", S8, bias=False)
            add(_weighted, key, key, "twice", S8, twice=True)
            for name, act in ACTIVATIONS.items():
                add(_weighted, key, key, f"then-{name}", S8, act=act)
    return found | {f"single/piece/{name}": partial(piece, name) for name in PIECES}


def single(seed: int = 0) -> Iterator[Probe]:
    """One operator with one thing changed; the same for every seed."""
    for make in recipes().values():
        yield make()


def random(seed: int = 0) -> Iterator[Probe]:
    for number in range(COUNT):
        yield Probe(f"random/{number:03}", network(Random(f"delegated {seed} {number}"), f"{seed} {number}"), None, {"form": "pt2e"})


def _probe(case: Case, name: str, style: Style, rhs: str | None = None, then: str = "") -> Probe:
    net = Exported(case.key)
    m = Pairs(net, style)
    x, y = m.input(*case.shape), ""
    if "{y}" in case.plain:
        if rhs == "constant":
            import torch

            y = net.attribute(torch.from_numpy(net.random(*case.shape)))
        else:
            y = Pairs(net, style.but(x="") if rhs is not None else style.but(x_scale=0.02 if name == "same" else 0.03)).input(*case.shape)
    made = m.apply(case, x, y, last=not then and case.key != "argmax")
    if then:
        made = m.quantized(net.line(f"{ATEN}.{then.format(x=made)}"), style.grid("y"))
    return Probe(f"single/{case.key}/{name}", net.bytes(made), None, {"op": case.key, "style": name})


def _weighted(key: str, name: str, style: Style, act: str = "", bias: bool = True, dynamic: bool = False, twice: bool = False) -> Probe:
    net = Exported(key)
    m = Pairs(net, style)
    x = net.input(*WEIGHTED[key][0])
    x = m.dynamic(x) if dynamic else m.quantized(x, style.grid("x"))
    y = m.weighted(key, x, act, bias=bias)
    if twice:  # the result before the quantizer has another reader
        y = f"({y}, {ATEN}.abs({net.lines[-3].split(' ')[0]}))"
    return Probe(f"single/{key}/{name}", net.bytes(y), None, {"op": key, "style": name})
