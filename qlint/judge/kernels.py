"""A profile's kernels made ready for covering: patterns parsed, spaces resolved, indexed by first kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from qlint.graph import Op
from qlint.judge import guards
from qlint.judge.pattern import Chain, Step, chains, parse
from qlint.judge.ports import Spaces, ports
from qlint.judge.prepare import Prepared
from qlint.judge.verdict import Miss
from qlint.profile.schema import Check, Evidence, Guard, Kernel, Ports, Profile, Space


@dataclass(frozen=True, slots=True)
class Requirements:
    """Ports and guards of a kernel, or of one of its checks."""

    ports: dict[str, tuple[Space, ...]]
    tests: guards.Compiled
    spaces: Spaces

    def misses(self, chain: Chain, prepared: Prepared) -> Iterator[Miss]:
        """What is not as wanted: ports first; a guard is silent where a tensor that it is about already misses."""
        missed: set[int] = set()
        for name, alternatives in self.ports.items():
            for port in ports(chain, name, prepared):
                for miss in self.spaces.misses(alternatives, port):
                    missed.add(id(miss.tensor))
                    yield miss
        for miss in guards.misses(self.tests, chain, prepared):
            if not missed & {id(tensor) for tensor in (miss.tensor, miss.beside) if tensor is not None}:
                yield miss

    def hold(self, chain: Chain, prepared: Prepared) -> bool:
        return next(self.misses(chain, prepared), None) is None


def requirements(wanted: Ports, tests: tuple[Guard, ...], spaces: Spaces) -> Requirements:
    return Requirements({name: spaces.resolve(requirement) for name, requirement in wanted.items()}, guards.compiled(tests), spaces)


@dataclass(frozen=True, slots=True)
class Ready:
    """One kernel, ready to be tried."""

    kernel: Kernel
    order: int
    steps: tuple[Step, ...]
    selection: Requirements
    checks: tuple[tuple[Check, Requirements], ...]

    def chains(self, anchor: Op, prepared: Prepared) -> Iterator[Chain]:
        return chains(self.steps, anchor, prepared)


class Kernels:
    """All kernels of a profile, in file order, by the kind that they start with."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        spaces = Spaces(profile)
        self.all = [
            Ready(
                kernel,
                order,
                parse(kernel.match, profile.classes),
                requirements(kernel.ports, kernel.guards, spaces),
                tuple((c, requirements(c.ports, c.guards, spaces)) for c in kernel.checks),
            )
            for order, kernel in enumerate(profile.kernels)
        ]
        self._by_kind: dict[str, tuple[Ready, ...]] = {}

    def starting_with(self, kind: str) -> tuple[Ready, ...]:
        if kind not in self._by_kind:
            self._by_kind[kind] = tuple(r for r in self.all if r.steps[0].kinds is None or kind in r.steps[0].kinds)
        return self._by_kind[kind]

    def evidence(self, names: tuple[str, ...]) -> tuple[Evidence, ...]:
        return tuple(self.profile.evidence[name] for name in names)
