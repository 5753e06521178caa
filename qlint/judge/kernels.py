"""A profile's kernels made ready for covering: patterns parsed, spaces resolved, indexed by first kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from qlint.judge import guards
from qlint.judge.pattern import Chain, Step, parse
from qlint.judge.ports import Spaces, ports
from qlint.judge.prepare import Prepared
from qlint.judge.verdict import Miss, weakest
from qlint.profile.schema import Check, Evidence, Guard, Kernel, Ports, Profile, Space

# What a situation tells of a port and of a chain (see situations.py): dimensions and guards that look at nothing else.
TOLD_OF_PORTS = frozenset("written storage granularity block_size scale_shape zero_point_given dynamic writers rewritten axis scales".split())
TOLD_OF_CHAINS = frozenset("native not_native present inputs opset static known_shapes rank dims dtypes same_storage scale_shape_equal".split())


@dataclass(frozen=True, slots=True)
class Requirements:
    """Ports and guards of a kernel, or of one of its checks."""

    ports: dict[str, tuple[Space, ...]]
    tests: guards.Compiled
    spaces: Spaces

    def misses(self, chain: Chain, prepared: Prepared) -> Iterator[Miss]:
        """What is not as wanted: ports first; a guard is silent where a tensor that it is about already misses."""
        missed: set[int] = set()
        for miss in self.port_misses(chain, prepared):
            missed.add(id(miss.tensor))
            yield miss
        for miss in guards.misses(self.tests, chain, prepared):
            if not missed & {id(tensor) for tensor in (miss.tensor, miss.beside) if tensor is not None}:
                yield miss

    def port_misses(self, chain: Chain, prepared: Prepared) -> Iterator[Miss]:
        for name, alternatives in self.ports.items():
            for port in ports(chain, name, prepared):
                yield from self.spaces.misses(alternatives, port)

    def hold(self, chain: Chain, prepared: Prepared) -> bool:
        """Whether nothing misses, without a word on what."""
        for name, alternatives in self.ports.items():
            for port in ports(chain, name, prepared):
                if self.spaces.misses(alternatives, port):
                    return False
        return next(guards.misses(self.tests, chain, prepared), None) is None if self.tests else True


@dataclass(frozen=True, slots=True)
class Wanted:
    """Requirements in two parts: those that hold for every chain in a situation or for none, and those that each chain has to meet itself."""

    whole: Requirements
    told: Requirements
    own: Requirements


def wanted(asked: Ports, tests: tuple[Guard, ...], spaces: Spaces) -> Wanted:
    resolved = {name: spaces.resolve(requirement) for name, requirement in asked.items()}
    told = {name: alternatives for name, alternatives in resolved.items() if spaces.asked(alternatives) <= TOLD_OF_PORTS}
    own = {name: alternatives for name, alternatives in resolved.items() if name not in told}
    return Wanted(
        Requirements(resolved, guards.compiled(tests), spaces),
        Requirements(told, guards.compiled(tests, TOLD_OF_CHAINS), spaces),
        Requirements(own, guards.compiled(tests, guards.NAMES - TOLD_OF_CHAINS), spaces),
    )


@dataclass(frozen=True, slots=True)
class Ready:
    """One kernel, ready to be tried."""

    kernel: Kernel
    order: int
    steps: tuple[Step, ...]
    selection: Wanted
    checks: tuple[tuple[Check, Wanted], ...]

    @property
    def unit(self) -> bool:
        return is_unit(self.kernel)


def is_unit(kernel: Kernel) -> bool:
    """Whether the quantizers at a kernel's ports are part of it."""
    return kernel.runs == "integer" if kernel.unit is None else kernel.unit


class Kernels:
    """All kernels of a profile, in file order, by the kind that they start with."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        spaces = self.spaces = Spaces(profile)
        self.lone_constants = spaces.resolve(profile.partition.constants) if profile.partition is not None else ()
        every = tuple((c, wanted(c.ports, c.guards, spaces)) for c in profile.checks)
        self.all = [
            Ready(
                kernel,
                order,
                parse(kernel.match, profile.classes),
                wanted(kernel.ports, kernel.guards, spaces),
                (
                    *(one for one in every if kernel.runs != "absorbed" and (is_unit(kernel) or not one[0].units)),
                    *((c, wanted(c.ports, c.guards, spaces)) for c in kernel.checks),
                ),
            )
            for order, kernel in enumerate(profile.kernels)
        ]
        self._by_kind: dict[str, tuple[Ready, ...]] = {}
        self._basis: dict[tuple[str, ...], str] = {}

    def starting_with(self, kind: str) -> tuple[Ready, ...]:
        if kind not in self._by_kind:
            self._by_kind[kind] = tuple(r for r in self.all if r.steps[0].kinds is None or kind in r.steps[0].kinds)
        return self._by_kind[kind]

    def basis(self, names: tuple[str, ...]) -> str:
        """The kind of the weakest of some pieces of evidence."""
        if names not in self._basis:
            self._basis[names] = weakest(self.evidence(names))
        return self._basis[names]

    def evidence(self, names: tuple[str, ...]) -> tuple[Evidence, ...]:
        return tuple(self.profile.evidence[name] for name in names)
