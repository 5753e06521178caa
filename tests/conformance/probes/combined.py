"""The corpus `random`: random networks in a random style, with two to four factors at once."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from random import Random

from .assemble import random_net, random_style
from .factors import FACTORS, Factor
from .network_factors import NETWORK_FACTORS
from .probe import Probe
from .subject import Skip, Subject
from .weight_factors import WEIGHT_FACTORS

MODELS = 300
# Factors that presume a network of one operator.
_ALONE = {"x=integer-graph-input", "y=integer-graph-output", "xy=integer-graph", "xy=none-inside", "shape=dynamic-batch"}
EVERY = {f"{f.name}={f.value}": f for f in (*FACTORS, *WEIGHT_FACTORS, *NETWORK_FACTORS) if f"{f.name}={f.value}" not in _ALONE}


def combined(seed: int = 0) -> Iterator[Probe]:
    """`seed` changes everything."""
    for n in range(MODELS):
        rng = Random(f"random/{seed}/{n}")
        family, net = random_net(rng)
        name, style = random_style(rng, net)
        subject, factors = Subject(net, style), {"family": family, "style": name, "opset": str(net.opset)}
        for _ in range(rng.choice([0, 1, 2, 2, 3, 4])):
            subject, factor = vary(subject, rng)
            factors[factor.name] = factor.value
        yield Probe(f"random/{seed}/{n:03d}-{family}-{name}", subject.render(), None, factors)


def vary(subject: Subject, rng: Random) -> tuple[Subject, Factor]:
    """A copy with one more factor, at a random operator; first which kind of factor, then its value."""
    names = sorted({factor.name for factor in EVERY.values()})
    while True:
        name = rng.choice(names)
        factor = rng.choice([f for f in EVERY.values() if f.name == name])
        trial = copy.deepcopy(subject)
        trial.node = rng.choice(trial.net.nodes)
        try:
            factor.act(trial)
        except Skip:
            continue
        return trial, factor
