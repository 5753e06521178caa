"""The corpus `mutated`: random networks in a clean style, then mutations of single tensors, weights and biases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from . import factors as f
from . import weight_factors as w
from .assemble import random_net, random_style
from .builder import MICROSOFT
from .probe import Probe
from .quant import Quant, Series
from .style import STYLES
from .subject import Skip, Subject

MODELS = 300
CLEAN = ["u8s8", "u8s8", "s8s8", "s8as8", "u8u8"]
Mutation = Callable[[Subject, str], object]


def edit(change: Callable[[Quant], Quant]) -> Mutation:
    return lambda s, tensor: s.put(tensor, change(s.quant(tensor)))


def regrid(grid: str) -> Mutation:
    return lambda s, tensor: f.regrid(s, grid, [tensor])


def options(**said: object) -> Mutation:
    return lambda s, tensor: s.options([tensor], **said)


ACTIVATIONS: dict[str, list[Mutation]] = {
    "drop": [lambda s, tensor: s.put(tensor)],
    "retype": [regrid("u8"), regrid("s8a"), regrid("u16"), regrid("s16")],
    "symmetric": [regrid("s8"), regrid("u8s")],
    "zero-point": [edit(lambda q: q.but(zero=q.storage.qmin)), edit(lambda q: q.but(zero=q.storage.mid)), edit(lambda q: q.but(zero=q.storage.mid + 37))],
    "scale": [edit(lambda q: q.times(1.5)), edit(lambda q: q.times(0.6))],
    "double": [lambda s, tensor: f.twice(s, tensor, 1.0), lambda s, tensor: f.twice(s, tensor, 0.7), lambda s, tensor: f.twice(s, tensor, 1.3)],
    "dead": [options(dead=1)],
    "dedicated": [options(per_use=True), options(dq_per_use=True)],
    "vector": [edit(lambda q: q.vector)],
    "per-channel": [f.per_channel],
    "omitted": [edit(lambda q: q.but(zero=None))],
    "microsoft": [edit(lambda q: q.but(domain=MICROSOFT))],
    "float-reader": [lambda s, tensor: _at_reader(s, tensor)],
}
# Those that change the numbers or the meaning happen more often than habits of tools.
_OFTEN = ["drop", "drop", "retype", "retype", "symmetric", "zero-point", "scale", "double", "dead", "dedicated", "float-reader"]
ACTIVATION_MUTATIONS = [*_OFTEN, *_OFTEN, "vector", "per-channel", "omitted", "microsoft"]

WEIGHTS: dict[str, list[Callable[[Subject], object]]] = {
    "w-axis": [lambda s: w.weigh(s, axis=w.in_axis(s))],
    "w-sign": [lambda s: w.retype(s, "u8"), lambda s: w.retype(s, "s8")],
    "w-float": [lambda s: s.put(s.w)],
    "w-bits": [lambda s: w.retype(s, "s4"), lambda s: w.retype(s, "u4"), lambda s: w.retype(s, "s16")],
    "w-granularity": [lambda s: w.granularity(s, True), lambda s: w.granularity(s, False)],
    "w-zero-point": [lambda s: w.asymmetric(s, True), lambda s: w.asymmetric(s, False)],
}
BIASES: dict[str, list[Callable[[Subject], object]]] = {
    "b-float": [w.float_bias],
    "b-scale": [lambda s: s.biases.__setitem__(s.b, 2.0), lambda s: s.biases.__setitem__(s.b, 0.7)],
}


def mutated(seed: int = 0) -> Iterator[Probe]:
    """`seed` changes everything. At least half of a network's tensors stay clean."""
    for n in range(MODELS):
        rng = Random(f"mutated/{seed}/{n}")
        family, net = random_net(rng)
        name = rng.choice([*CLEAN, "mixed"])
        style = STYLES.get(name) or random_style(rng, net)[1]
        subject = Subject(net, style)
        said = mutate(subject, rng, rng.choice([0.06, 0.15, 0.3, 0.5]))
        yield Probe(f"mutated/{seed}/{n:03d}-{family}-{name}", subject.render(), None, {"family": family, "style": name} | dict.fromkeys(sorted(said), "yes"))


def mutate(s: Subject, rng: Random, rate: float) -> set[str]:
    """Mutates in place, each tensor with the probability `rate`; returns the names of what it did."""
    said = set[str]()
    for tensor in s.tensors:
        if rng.random() < rate:
            name = rng.choice(ACTIVATION_MUTATIONS)
            act = rng.choice(ACTIVATIONS[name])
            said |= _tried(name, lambda act=act, tensor=tensor: act(s, tensor))  # type: ignore[misc]
    for node in s.net.nodes:
        s.node = node
        for table in (WEIGHTS, BIASES):
            if rng.random() < rate * 0.8:
                name = rng.choice(list(table))
                change = rng.choice(table[name])
                said |= _tried(name, lambda change=change: change(s))  # type: ignore[misc]
    return said


def _tried(name: str, act: Callable[[], object]) -> set[str]:
    try:
        act()
    except Skip:
        return set()
    return {name}


def _at_reader(s: Subject, tensor: str) -> None:
    """One of several readers sees the float tensor."""
    readers = s.net.readers(tensor)
    if len(readers) < 2:
        raise Skip
    s.plan.uses[readers[-1].name, readers[-1].inputs.index(tensor)] = Series()
