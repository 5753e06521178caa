"""The corpora of TFLite files."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from probes.probe import Probe

from .cases import TABLE
from .factors import FACTORS, Factor, Skip, Subject
from .layers import BLOCKS, dense_net, image
from .net import Net
from .style import HYBRID, STYLES, WEIGHTED, quantize

COUNT = 250
_WEIGHT_STYLES = ("s8-tensor", "s4", "s16-s32")


def _named(names: str) -> list[Factor]:
    return [factor for factor in FACTORS if factor.id in names.split()]


# What leaves most models running.
GENTLE = _named(
    """y-scale=x2 y-zero=+7 y-zero=+40 x2-scale=x2 x2-zero=+7 c-scale=x2 c-zero=+7 w=s8-none w=s4-out w-zero=40 b-scale=x4 b=float b=none
    b=one-scale act=relu act=relu6 island=float island=float island=float requantized=x requantized=y batch=dynamic y-scale=x1.1 w=float"""
)


def single(seed: int = 0) -> Iterator[Probe]:
    """One operator in every style, then with one factor turned; the same for every seed."""
    for case in TABLE:
        for name, style in STYLES.items():
            if (name.startswith("hybrid") and case.kind not in HYBRID) or (name in _WEIGHT_STYLES and case.kind not in WEIGHTED):
                continue
            clean = f"single/{case.key}/{name}"
            model = case.net(style).bytes()
            yield Probe(clean, model, None, {"op": case.key, "style": name})
            for factor in FACTORS:
                if name not in factor.styles or (factor.core and not case.core):
                    continue
                net = case.net(style)
                try:
                    factor.act(Subject(net))
                except Skip:
                    continue
                if (changed := net.bytes()) != model:
                    yield Probe(f"{clean}/{factor.id}", changed, clean, {"op": case.key, "style": name, factor.name: factor.value})


def random(seed: int = 0) -> Iterator[Probe]:
    """Networks put together by chance, with up to four factors by chance."""
    for number in range(COUNT):
        rng = Random(f"tflite {seed} {number}")
        style = rng.choice(["s8"] * 8 + ["s8-tensor", "s8-tensor", "s16", "s16", "s16", "s16-s32", "u8", "u8", "s4", "hybrid", "hybrid-tensor", "float"])
        net = _assembled(rng)
        quantize(net, STYLES[style])
        done: dict[str, str] = {}
        for _ in range(rng.choice([0, 1, 1, 2, 2, 3, 4])):
            factor = rng.choice(GENTLE if rng.random() < 0.93 else FACTORS)
            try:
                factor.act(Subject(net, rng.choice(net.ops)))
            except Skip:
                continue
            done[factor.name] = factor.value
        yield Probe(f"random/{number:03}", net.bytes(), None, {"style": style, **done})


def _assembled(rng: Random) -> Net:
    net = Net()
    tail = rng.choice(["", "", "softmax", "softmax", "sigmoid", "tanh"])
    act = rng.choice(["relu", "relu", "relu", "relu6", "relu6", "leaky-relu", "hard-swish", "silu", "tanh", "hard-swish-spelled", "gelu", "relu-alone", "relu-n1"])
    if rng.random() < 0.12:
        dense_net(net, act, tuple(rng.choice([4, 8, 12]) for _ in range(rng.randint(1, 4))), tail)
        return net
    blocks = [rng.choice(list(BLOCKS)) for _ in range(rng.randint(1, 4))]
    other = rng.choice([act, act, act, "relu6", "hard-swish"])
    image(net, *blocks, stem=act, act=other, tail=tail, size=rng.choice([4, 8, 8, 12]), pool=rng.choice(["mean", "average", "none"]))
    return net
