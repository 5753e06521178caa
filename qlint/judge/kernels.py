"""A profile's kernels made ready for covering: patterns parsed, spaces resolved, indexed by first kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from qlint.judge import guards
from qlint.judge.pattern import Chain, Step, kinds_of, parse
from qlint.judge.ports import Port, Rows, Spaces, ports
from qlint.judge.prepare import Prepared
from qlint.judge.verdict import Miss, weakest
from qlint.profile.schema import Check, Evidence, Guard, Kernel, Ports, Profile, Space

# What a situation tells of a chain (see situations.py): guards that look at nothing else.
TOLD = frozenset("native not_native present inputs opset static known_shapes rank dims dtypes same_storage scale_shape_equal".split())


@dataclass(frozen=True, slots=True)
class Left:
    """What of some requirements each chain in a situation has to meet itself: the rest holds for all of them."""

    ports: tuple[tuple[str, int, tuple[Rows, ...]], ...]  # of the ports that a name stands for, the one at a place, and its alternatives
    tests: guards.Compiled

    def hold(self, chain: Chain, prepared: Prepared) -> bool:
        """Whether nothing misses, without a word on what."""
        for name, place, alternatives in self.ports:
            port = ports(chain, name, prepared)[place]
            q = port.quantizer
            if q is None or not any(all(holds(wanted, q, port) for _, _, wanted, holds, _ in rows) for rows in alternatives):
                return False
        return not self.tests or next(guards.misses(self.tests, chain, prepared), None) is None


NOTHING_LEFT = Left((), ())


@dataclass(frozen=True, slots=True)
class Requirements:
    """Ports and guards of a kernel, or of one of its checks. `told` are the guards that hold for every chain in a situation or for none."""

    ports: dict[str, tuple[Space, ...]]
    tests: guards.Compiled
    told: guards.Compiled
    own: guards.Compiled
    spaces: Spaces

    def misses(self, chain: Chain, prepared: Prepared) -> Iterator[Miss]:
        """What is not as wanted: ports first; a guard is silent where a tensor that it is about already misses."""
        missed: set[int] = set()
        for alternatives, port in self._ports(chain, prepared):
            for miss in self.spaces.misses(alternatives, port):
                missed.add(id(miss.tensor))
                yield miss
        for miss in guards.misses(self.tests, chain, prepared):
            if not missed & {id(tensor) for tensor in (miss.tensor, miss.beside) if tensor is not None}:
                yield miss

    def hold(self, chain: Chain, prepared: Prepared) -> bool:
        """Whether nothing misses."""
        return next(self.misses(chain, prepared), None) is None

    def left(self, chain: Chain, prepared: Prepared) -> Left | None:
        """What is left to look at for every chain in this one's situation; None if none of them can meet the requirements."""
        if next(guards.misses(self.told, chain, prepared), None) is not None:
            return None
        found: list[tuple[str, int, tuple[Rows, ...]]] = []
        for name, alternatives in self.ports.items():
            for place, port in enumerate(ports(chain, name, prepared)):
                rows = self.spaces.left(alternatives, port)
                if rows is None:
                    return None
                if rows:
                    found.append((name, place, rows))
        return Left(tuple(found), self.own)

    def bound(self, chain: Chain, prepared: Prepared) -> int:
        """The least weight of what the ports of every chain in this one's situation miss."""
        return sum(self.spaces.bound(alternatives, port) for alternatives, port in self._ports(chain, prepared))

    def _ports(self, chain: Chain, prepared: Prepared) -> Iterator[tuple[tuple[Space, ...], Port]]:
        for name, alternatives in self.ports.items():
            for port in ports(chain, name, prepared):
                yield alternatives, port


def required(asked: Ports, tests: tuple[Guard, ...], spaces: Spaces) -> Requirements:
    resolved = {name: spaces.resolve(requirement) for name, requirement in asked.items()}
    told, own = guards.compiled(tests, TOLD), guards.compiled(tests, guards.NAMES - TOLD)
    return Requirements(resolved, guards.compiled(tests), told, own, spaces)


@dataclass(frozen=True)
class Ready:
    """One kernel, ready to be tried."""

    kernel: Kernel
    order: int
    steps: tuple[Step, ...]
    selection: Requirements
    checks: tuple[tuple[Check, Requirements], ...]

    @cached_property
    def unit(self) -> bool:
        return is_unit(self.kernel)

    @cached_property
    def cited(self) -> list[tuple[str, ...]]:
        """What a selection rests on, by how many checks were made."""
        return list(accumulate((check.evidence for check, _ in self.checks), initial=self.kernel.evidence))


def is_unit(kernel: Kernel) -> bool:
    """Whether the quantizers at a kernel's ports are part of it."""
    return kernel.runs == "integer" if kernel.unit is None else kernel.unit


def _expanded(check: Check, profile: Profile) -> Check:
    """With the kinds that its names stand for."""
    return check.model_copy(update={"kinds": tuple(kinds_of("|".join(check.kinds), dict(profile.classes)))}) if check.kinds else check


class Kernels:
    """All kernels of a profile, in file order, by the kind that they start with."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        spaces = self.spaces = Spaces(profile)
        self.lone_constants = spaces.resolve(profile.partition.constants) if profile.partition is not None else ()
        every = tuple((_expanded(c, profile), required(c.ports, c.guards, spaces)) for c in profile.checks)
        self.all = [
            Ready(
                kernel,
                order,
                parse(kernel.match, profile.classes),
                required(kernel.ports, kernel.guards, spaces),
                (
                    *(one for one in every if kernel.runs != "absorbed" and (is_unit(kernel) or not one[0].units)),
                    *((_expanded(c, profile), required(c.ports, c.guards, spaces)) for c in kernel.checks),
                ),
            )
            for order, kernel in enumerate(profile.kernels)
        ]
        self._by_kind: dict[str, tuple[Ready, ...]] = {}
        self._basis: dict[tuple[str, ...], str] = {}
        self._evidence: dict[tuple[str, ...], tuple[Evidence, ...]] = {}

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
        if names not in self._evidence:
            self._evidence[names] = self.profile.cited(names)
        return self._evidence[names]
