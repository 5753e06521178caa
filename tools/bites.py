"""Which rules explain what a profile asks for: every way to miss a requirement, played through the rules' selectors."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from qlint.graph import Op, Quantizer, Tensor, Use
from qlint.judge import guards
from qlint.judge import ports as judged
from qlint.judge.pattern import parse
from qlint.judge.verdict import Consequence, Mismatch
from qlint.lint.rule import Claims, Rule
from qlint.lint.testing import Constant, quantizer
from qlint.profile import Profile
from qlint.profile.schema import Guard, Kernel, Ports, Space

# Quantizers that differ from each other in every dimension that a port can ask for.
QUANTIZERS = [
    quantizer(storage, scale, zero_point, **fields)
    for storage in ("uint8", "int8", "uint4", "int4", "uint16", "int16", "int32", "float8e4m3fn")
    for scale, fields in (
        (0.05, {}), (0.25, {}), (0.0, {}), (-0.05, {}), ([0.05], {}), (None, {}), (None, {"dynamic": True}), ([0.05] * 8, {"axis": 0}),
        ([0.05] * 8, {"axis": 1}), ([0.05] * 8, {"granularity": "block", "block_size": 20, "axis": 1}), (0.05, {"zero_point_shape": None}),
    )
    for zero_point in ((0, 5) if storage.startswith("float") else (0, 5, 128 if storage == "uint8" else -128))
]  # fmt: skip
FEW = [q for number, q in enumerate(QUANTIZERS) if q.storage == "int8" or number % 7 == 0]  # enough to meet the same rules
SAY = ("miss", "_about", "Miss")  # what the judge writes a miss with
ANY_KIND = frozenset({"add", "conv", "softmax"})  # of a claim that is about every operator
FALLBACKS: dict[str, Consequence] = {"cpu": "cpu", "float": "float", "none": "refused"}


@dataclass(frozen=True, slots=True)
class Bite:
    """A claim of a profile whose failure a rule explains: in which kernel, with which consequence, on which evidence."""

    rule: str
    kernel: str
    consequence: Consequence
    evidence: tuple[str, ...]


def ways_to_miss(kind: str, role: str, name: str, requirement: Any, spaces: judged.Spaces, quantizers: Sequence[Quantizer] = QUANTIZERS) -> Iterator[Mismatch]:
    """Everything that a port may look like and that a requirement does not take."""
    op = Op(0, kind, kind, kind)
    for constant in (False, True):
        for dtype in ("float32", "float16"):
            tensor = Tensor("t", dtype, (8, 8), Constant(dtype, (8, 8)) if constant else None)
            op.uses[role] = Use(tensor, op, role, 0)
            looks: list[tuple[judged.State, Quantizer | None, int]] = [("absent", None, 1), ("none", None, 1), ("partial", quantizers[0], 1), ("mixed", quantizers[0], 2)]
            looks += [("one", q, 1 + number % 2) for number, q in enumerate(quantizers)]
            for state, q, writers in looks:
                port = judged.Port(name, role, op, None if state == "absent" else tensor, q, state, (), None, writers)
                for miss in spaces.misses(spaces.resolve(requirement), port):
                    where = miss.role or miss.port
                    yield Mismatch("k", op, op, where, miss.tensor, miss.dimension, miss.found, miss.wanted, "float", chain=(op,))


def kinds_that_differ(kinds: Collection[str], rules: Iterable[Rule]) -> list[str]:
    """One kind of each sort that some rule tells from the others."""
    selectors = [selector.kinds for rule in rules for selector in rule.selectors if selector.kinds]
    return list({tuple(kind in one for one in selectors): kind for kind in sorted(kinds)}.values())


def kinds_of(kernel: Kernel, profile: Profile, rules: Iterable[Rule]) -> list[str]:
    """Kinds of operators that a kernel's pattern begins with."""
    return kinds_that_differ(parse(kernel.match, profile.classes)[0].kinds or ANY_KIND, rules)


def ports_of(ports: Ports) -> Iterator[tuple[str, str, Any]]:
    """(role, port, requirement) of each port."""
    for name, requirement in ports.items():
        yield {"x*": "x0", "skip": "rhs", "y*": "y"}.get(name, name.rpartition(".")[2]), name, requirement


def said_by(guard: str) -> set[str]:
    """Dimensions that the test of a guard writes into its misses."""
    check: Callable[..., Any] = dict(guards._TABLE)[guard]
    mine = check.__globals__
    called: list[Callable[..., Any]] = [one for name in check.__code__.co_names if inspect.isfunction(one := mine.get(name)) and one.__module__ == check.__module__]
    return {dimension for function in (check, *called) if getattr(function, "__name__", "") not in SAY for dimension in _dimensions(function)}


def _dimensions(function: Callable[..., Any]) -> Iterator[str]:
    for call in ast.walk(ast.parse(inspect.getsource(function))):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in SAY:
            text = call.args[1]
            if isinstance(text, ast.JoinedStr) and isinstance(first := text.values[0], ast.Constant):
                yield str(first.value).strip()
            elif isinstance(text, ast.Constant):
                yield str(text.value)


class Search:
    """Bites of profiles. What two of them ask for alike is looked at once."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._claims = Claims([rule for rule in rules if rule.name != "unexplained-mismatch"])
        self._seen: dict[object, frozenset[str]] = {}
        self._guards = {name: said_by(name) for name, _ in guards._TABLE}

    def bites(self, profile: Profile) -> Iterator[Bite]:
        """What rules explain of a profile, claim by claim: of integer kernels what keeps an operator out, of all kernels what they check."""
        spaces = judged.Spaces(profile)
        fallback = "unknown" if profile.world == "open" else FALLBACKS[profile.fallback]
        yield Bite("unsupported-operator", "", fallback, profile.fallback_evidence)
        for refusal in profile.refuses:
            yield Bite("refused-model", "", "refused", refusal.evidence)
        for step in profile.prepare:
            if step.readers is not None:
                yield Bite("shared-readers", "", fallback, step.evidence)
        if profile.segments == "one":
            yield Bite("left-segment", "", fallback, profile.segments_evidence)
        if profile.bodies == "left":
            yield Bite("control-flow-body", "", fallback, profile.bodies_evidence)
        if profile.misplaced == "refused":
            yield Bite("memory-conflict", "", "refused", profile.misplaced_evidence)
        sorts = kinds_that_differ(ANY_KIND, self._rules)
        for check in profile.checks:
            for name in sorted({*self._of_ports(sorts, check.ports, spaces), *self._of_guards(sorts, check.guards)}):
                yield Bite(name, "", _consequence(check.otherwise), check.evidence)
        for kernel in profile.kernels:
            kinds = kinds_of(kernel, profile, self._rules)
            asks = [(kernel.ports, kernel.guards, fallback, kernel.evidence)] if kernel.runs == "integer" and kernel.advise else []
            asks += [(check.ports, check.guards, _consequence(check.otherwise), check.evidence or kernel.evidence) for check in kernel.checks]
            for ports, guarded, consequence, evidence in asks:
                for name in sorted({*self._of_ports(kinds, ports, spaces), *self._of_guards(kinds, guarded)}):
                    yield Bite(name, kernel.id, consequence, evidence)

    def _of_ports(self, kinds: Iterable[str], ports: Ports, spaces: judged.Spaces) -> Iterator[str]:
        for role, name, requirement in ports_of(ports):
            for kind in kinds:
                key = (kind, role, spaces.resolve(requirement))
                if key not in self._seen:
                    misses = {(m.dimension, str(m.found), str(m.wanted), m.tensor is not None and m.tensor.constant): m for m in ways_to_miss(kind, role, name, requirement, spaces, FEW)}
                    self._seen[key] = frozenset(self._named([*misses.values(), *_untried(kind, role, spaces.resolve(requirement), misses.values())]))
                yield from self._seen[key]

    def _of_guards(self, kinds: Iterable[str], guarded: Iterable[Guard]) -> Iterator[str]:
        """Which numbers of a model would miss a guard is not tried out: who explains its dimension does."""
        for guard in guarded:
            for name in guard.model_fields_set:
                for kind in kinds:
                    op = Op(0, kind, kind, kind)
                    for dimension in self._guards[name]:
                        ports = ("y",) if name == "absorbed" else ("x", "w", "y")
                        clamp = Op(1, "relu", "relu", "relu")
                        yield from self._named(Mismatch("k", op, op, port, None, dimension, 1.0, 0.0, "float", chain=(op, clamp)) for port in ports)

    def _named(self, misses: Iterable[Mismatch]) -> set[str]:
        claimed = (self._claims.claim(miss, None) for miss in misses)  # type: ignore[arg-type]  # rules for models as a whole are left out
        return {one.rule.name for one in claimed if one is not None}


def _untried(kind: str, role: str, asked: Iterable[Space], tried: Iterable[Mismatch]) -> Iterator[Mismatch]:
    """What a port asks for beyond its quantizer: of its surroundings in a model."""
    seen, op = {m.dimension for m in tried}, Op(0, kind, kind, kind)
    for space in asked:
        for name, _, wanted, *_ in judged._DIMENSIONS:
            if name not in seen and (value := wanted(space)) not in ((), None):
                yield Mismatch("k", op, op, role, None, name, None, value, "float", chain=(op,))


def _consequence(otherwise: str) -> Consequence:
    return "refused" if otherwise == "rejected" else otherwise  # type: ignore[return-value]
