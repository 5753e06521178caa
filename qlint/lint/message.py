"""Facts: what a rule's templates can say about causes of the same kind, and the sentence made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qlint.graph import Op, Tensor
from qlint.judge.verdict import Consequence
from qlint.lint import words
from qlint.lint.finding import Severity, Suppressed
from qlint.lint.rule import Explains, Rule, Text
from qlint.profile.schema import Evidence

Composites = Mapping[str, Sequence[Op]]  # members by group, e.g. "swish:3"
WORST_CONSEQUENCE: tuple[Consequence, ...] = ("refused", "wrong", "cpu", "float", "unknown", "slow", "note")


@dataclass(slots=True)
class Cause:
    """One thing that is wrong: one tensor in one dimension, and every op that suffers from it."""

    rule: Rule
    selector: Explains | None
    op: Op | None
    port: str
    tensor: Tensor | None
    dimension: str
    found: Any
    wanted: Any
    consequence: Consequence
    evidence: tuple[Evidence, ...] = ()
    trace: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    affected: dict[int, tuple[Op, Consequence]] = field(default_factory=dict)
    severity: Severity | None = None  # what its rule says where the consequence alone would mislead
    own: bool = False  # seen by the rule's own check
    override: Severity | None = None  # what the settings say
    suppressed: Suppressed | None = None

    def affects(self, op: Op, consequence: Consequence) -> None:
        """Note what happens to an op; the worst consequence stays."""
        before = self.affected.get(id(op))
        if before is None or WORST_CONSEQUENCE.index(consequence) < WORST_CONSEQUENCE.index(before[1]):
            self.affected[id(op)] = (op, consequence)
        if WORST_CONSEQUENCE.index(consequence) < WORST_CONSEQUENCE.index(self.consequence):
            self.consequence = consequence

    @property
    def role(self) -> str:
        """The port as far as grouping cares: all inputs of an op are alike.

        A rule about quantizers as such (not `per_kind`) makes no difference between reader and producer either.
       """
        if self.port in ("w", "b"):
            return self.port
        return "y" if self.port == "y" and self.rule.per_kind else "x"


class Facts:
    """The values that a template may name, over one or several causes of one rule."""

    def __init__(self, causes: Sequence[Cause], backend: str) -> None:
        self.causes = causes
        self.backend = backend
        first = causes[0]
        self.dimension = first.dimension
        self.extra = first.extra

    def __getitem__(self, name: str) -> str:
        """For `str.format_map`: a property of this class, or an extra fact of a graph rule."""
        if name in self.extra:
            return words.values([cause.extra.get(name) for cause in self.causes])
        if name.startswith("_") or (not hasattr(type(self), name) and name not in ("backend", "dimension")):
            raise KeyError(f"a message names {name!r}, which is not a fact")
        return str(getattr(self, name))

    @property
    def several(self) -> bool:
        return len(self.causes) > 1

    @property
    def kind(self) -> str:
        """`add`, or `op` if the causes are at different kinds."""
        kinds = {cause.op.kind for cause in self.causes if cause.op is not None}
        return words.noun(kinds.pop()) if len(kinds) == 1 else "op"

    @property
    def a_kind(self) -> str:
        return words.article(self.kind)

    @property
    def native(self) -> str:
        return words.few(cause.op.native for cause in self.causes if cause.op is not None)

    @property
    def runs(self) -> str:
        """What the backend does with the op: `adds`, `runs a softmax`."""
        kinds = {cause.op.kind for cause in self.causes if cause.op is not None}
        kind = kinds.pop() if len(kinds) == 1 else ""
        return words.VERBS.get(kind) or f"runs {words.article(words.noun(kind))}"

    @property
    def _both(self) -> bool:
        """Every op shows every port: `inputs lhs and rhs have`, rather than `input lhs or rhs has`."""
        ports = {cause.port for cause in self.causes}
        ops = {id(cause.op) for cause in self.causes}
        return len(ports) > 1 and len(self.causes) == len(ports) * len(ops)

    @property
    def port(self) -> str:
        ports = [cause.port for cause in self.causes if cause.port]
        return words.port(ports, "and" if self._both else "or") or ("op" if self.causes[0].op is not None else "the tensor")

    @property
    def has(self) -> str:
        return "have" if self._both else "has"

    @property
    def is_(self) -> str:
        return "are" if self._both else "is"

    @property
    def origin(self) -> str:
        """` (from layer1.0.conv2)`: who makes the tensor; empty at outputs."""
        if any(cause.port == "y" for cause in self.causes):
            return ""
        sources: dict[str, list[str]] = {}
        for cause in self.causes:
            if cause.tensor is not None:
                sort, name = _source(cause.tensor)
                sources.setdefault(sort, []).append(name)
        return f" ({words.listing([f'{sort} {words.few(names, limit=2)}' for sort, names in sources.items()], 'or')})"

    @property
    def producer(self) -> str:
        """Who makes the first input of the op, or the tensor at issue."""
        names = []
        for cause in self.causes:
            made = next(iter(cause.op.uses.values())).tensor if cause.op is not None and cause.op.uses else cause.tensor
            if made is not None:
                names.append(made.producer.label if made.producer is not None else made.name)
        return words.few(names, limit=2) or "it"

    @property
    def tensor(self) -> str:
        return words.few(cause.tensor.name for cause in self.causes if cause.tensor is not None)

    @property
    def found(self) -> str:
        return words.values([cause.found for cause in self.causes])

    @property
    def wanted(self) -> str:
        return words.values([cause.wanted for cause in self.causes])

    @property
    def readers(self) -> str:
        return words.few(reader for cause in self.causes for reader in cause.readers)

    @property
    def attribute(self) -> str:
        """`axis` of the dimension `attribute axis`."""
        return self.dimension.partition(" ")[2]

    @property
    def here(self) -> str:
        """What happens to the ops concerned: `the conv falls back to the CPU and the add runs in float`."""
        ops = {key: value for cause in self.causes for key, value in cause.affected.items()}
        sites = {id(cause.op) for cause in self.causes}
        clauses = []
        for consequence in WORST_CONSEQUENCE:
            those = [(key not in sites, op.index, op.kind) for key, (op, c) in ops.items() if c == consequence]
            clauses.append(words.here(consequence, [kind for *_, kind in sorted(those)]))
        return words.listing([clause for clause in clauses if clause], "and")


def unless_invented(why: str) -> Callable[[Facts], str]:
    """Why a quantizer is missing; a backend that computes in integer all the same, with other numbers, makes up the grid itself."""
    invented = "{backend} quantizes it all the same, on a grid of its own"
    return lambda facts: (invented if all(cause.consequence == "wrong" for cause in facts.causes) else why).format_map(facts)


def _source(tensor: Tensor) -> tuple[str, str]:
    if tensor.producer is not None:
        return "from", tensor.producer.label
    return ("the model's input" if tensor.is_input else "the constant"), tensor.name


def render(text: Text, facts: Facts) -> str:
    """A template or function, filled in."""
    return text.format_map(facts) if isinstance(text, str) else text(facts)


def sentence(causes: Sequence[Cause], backend: str, composites: Composites | None = None) -> str:
    """`WHAT, in COMPOSITE, because TRACE; WHY, here CONSEQUENCES`."""
    first = causes[0]
    facts = Facts(causes, backend)
    what = render((first.selector.what if first.selector is not None else "") or first.rule.what, facts)
    why = render((first.selector.why if first.selector is not None else "") or first.rule.why, facts)
    what += _composite(causes, composites or {})
    if first.trace:
        what += f", because {words.listing(first.trace, 'and')}"
    here = facts.here
    meaning = ", ".join(part for part in (why, f"here {here}" if here else "") if part)
    return f"{what}; {meaning}" if meaning else what


def _composite(causes: Sequence[Cause], composites: Composites) -> str:
    """`, in the swish formed by Sigmoid_3 and Mul_4`, or `, in 12 swishes`, if every cause is a part of one."""
    groups = [next((g for g in cause.op.groups if g in composites), "") if cause.op is not None else "" for cause in causes]
    if not all(groups):
        return ""
    distinct = list(dict.fromkeys(groups))
    if len(distinct) > 1:
        return f", in {words.counted([group.partition(':')[0] for group in distinct])}"
    members = [op.label for op in composites[distinct[0]]]
    return f", in the {words.noun(distinct[0].partition(':')[0])} formed by {words.few(members)}"


def plain(causes: Sequence[Cause], backend: str) -> str:
    """What is said if a rule's own sentence crashes."""
    facts = Facts(causes, backend)
    return f"{facts.port}: {facts.dimension} is {facts.found}; {backend or 'the rule'} wants {facts.wanted}"
