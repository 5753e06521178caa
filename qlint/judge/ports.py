"""Ports: what a kernel sees at its inputs and outputs, and whether a space accepts it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from qlint.graph import COUNTS, INTEGER_RANGES, Op, Quantizer, Tensor, Use
from qlint.graph.axes import channel_axes
from qlint.graph.kinds import expand
from qlint.judge.integers import declared
from qlint.judge.pattern import VARIADIC, Chain
from qlint.judge.prepare import Prepared, writer
from qlint.judge.verdict import Miss
from qlint.profile.schema import Profile, Requirement, Space
from qlint.profile.validate import BUILTIN_SPACES

# How far a port is from what a kernel wants, when kernels and alternatives are compared.
ANOTHER, MISSING, SHAPE, RELATION, VALUE = 32, 8, 4, 2, 1

State = Literal["one", "none", "partial", "mixed", "absent"]


@dataclass(slots=True, eq=False)
class Port:
    """One port of a chain: the tensor, and the quantizer that the kernel sees there.

    `state`: `one` quantizer; `none`; at an output `partial` (some readers have none) or `mixed` (readers
    have different ones); `absent` if the op has no such input.
    """

    name: str
    role: str
    op: Op
    tensor: Tensor | None
    quantizer: Quantizer | None
    state: State
    readers: tuple[str, ...] = ()
    use: Use | None = None
    writers: int = 1
    rewritten: bool = False
    prepared: Prepared | None = None

    @property
    def stored(self) -> bool:
        """Whether the op itself reads or writes the integers: no node that quantizes or dequantizes in between, and no
        kernel that does so with floats as it runs."""
        q = self.quantizer
        return q is not None and not q.dynamic and (q.quantize if self.role == "y" else q.dequantize) is None

    @property
    def written(self) -> str:
        """Where the grid stands: at the op itself, in nodes around it, or in a fake quantizer; '' if there is none.

        A file that has to be converted first is spelled anew, so that its nodes and integer operators are as good as fake quantizers.
        """
        q = self.quantizer
        if q is None:
            return ""
        if q.origin in ("fake-quant", "encodings") or (self.prepared is not None and self.prepared.converted):
            return "fake-quant"
        node, kind = (q.quantize, "quantize") if self.role == "y" else (q.dequantize, "dequantize")
        return "operator" if node is None or node.kind != kind else "nodes"

    @property
    def prequantized(self) -> bool:
        """Whether it is a constant that the file stores as integers."""
        return self.constant and self.quantizer is not None and self.quantizer.quantize is None

    @property
    def dtype(self) -> str:
        """What the tensor holds: numbers on a grid are real ones to a converter, whatever integers the file has for them."""
        assert self.tensor is not None
        real = self.state == "one" and self.prepared is not None and self.prepared.converted and self.tensor.dtype in INTEGER_RANGES
        return "float32" if real else self.tensor.dtype

    @property
    def constant(self) -> bool:
        return self.tensor is not None and not self.tensor.overridable and (
            self.tensor.constant or (self.tensor.producer is not None and self.tensor.producer.role == "constant")
        )

    @property
    def initializer(self) -> bool:
        """Whether the file has a value for it, if only a default."""
        return self.constant or (self.tensor is not None and self.tensor.constant)

    @property
    def sharers(self) -> int:
        """Nodes of the file that use a float constant equal to the scale."""
        if self.prepared is None or self.use is None or not self.use.tensor.constant:
            return 1
        scale = self.prepared.of(self.use)[-1].scale
        return self.prepared.scalars[scale[0]] if scale and len(scale) == 1 else 1

    @property
    def inherited(self) -> bool:
        """Whether the quantizer was not there, but in front of data movement."""
        if self.prepared is None or self.tensor is None:
            return False
        uses = (self.use,) if self.use is not None else self.prepared.uses(self.tensor)
        return any(id(use) in self.prepared.forward for use in uses)

    @property
    def dequantizers(self) -> int:
        """Nodes with parameters of their own that dequantize the tensor from the grid that the op sees."""
        if self.prepared is None or self.use is None:
            return 1
        seen = self.prepared.of(self.use)[-1:]
        nodes = (q.dequantize for use in self.prepared.uses(self.use.tensor) for q in self.prepared.of(use)[-1:] if (q,) == seen)
        return len({tuple((role, use.tensor.name) for role, use in node.uses.items() if role != "x") for node in nodes if node is not None})

    @property
    def situation(self) -> tuple[object, ...]:
        """What spaces ask of a port without looking at numbers."""
        q, tensor = self.quantizer, self.tensor
        if tensor is None:
            return (self.role, self.state)
        seen = (self.role, self.state, self.constant, tensor.data is None, tensor.dtype, tensor.shape)
        if q is None:
            return seen
        channels = (_axis(q, self), _spare(q, self)) if q.granularity == "channel" else ()
        return (
            *seen, q.storage, q.granularity, q.block_size, q.scale_shape, q.zero_point_shape is None, q.dynamic, self.written, self.writers, self.rewritten,
            *channels,
        )  # fmt: skip


def ports(chain: Chain, name: str, prepared: Prepared) -> tuple[Port, ...]:
    """The ports that a name stands for: `x`, `w`, `y`, `skip`, `x*`, `y*`, `inner.KIND`, `KIND.ROLE`."""
    if name == "y":
        return (_output(name, chain.ops[-1], 0, prepared),)
    find = _SEVERAL.get(name) or (_of_another if "." in name else None)
    return (_input(name, chain.ops[0], name, prepared),) if find is None else tuple(find(chain, name, prepared))


def look_at(op: Op, prepared: Prepared) -> list[Port]:
    """All ports of an op."""
    return [*(_input(role, op, role, prepared) for role in op.uses), *(_output("y", op, number, prepared) for number in range(len(op.outputs)))]


def _results(chain: Chain, name: str, prepared: Prepared) -> Iterator[Port]:
    for number in range(len(chain.last.outputs)):
        yield _output(name, chain.last, number, prepared)


def _operands(chain: Chain, name: str, prepared: Prepared) -> Iterator[Port]:
    for role in chain.anchor.uses:
        if VARIADIC.match(role) or role in ("lhs", "rhs"):
            yield _input(name, chain.anchor, role, prepared)


def _skip(chain: Chain, name: str, prepared: Prepared) -> Iterator[Port]:
    for op, entry in zip(chain.ops[1:], chain.entries[1:], strict=True):
        for role in ("lhs", "rhs"):
            if role in op.uses and role != entry and entry in ("lhs", "rhs"):
                yield _input(name, op, role, prepared)


def _of_another(chain: Chain, name: str, prepared: Prepared) -> Iterator[Port]:
    """`inner.KIND`: the quantized edge that leads to it, or to one of a class; `KIND.ROLE`: an input of an op behind the anchor."""
    kind, role = name.split(".", 1)
    for op, entry in zip(chain.ops[1:], chain.entries[1:], strict=True):
        if kind == "inner" and op.kind in expand(role) and prepared.of(op.uses[entry]):
            yield _input(name, op, entry, prepared)
        elif op.kind == kind:
            yield _input(name, op, role, prepared)


_SEVERAL: dict[str, Callable[[Chain, str, Prepared], Iterator[Port]]] = {
    "y*": _results, "x*": _operands, "skip": _skip,
}  # fmt: skip


# A port is looked at once, however many kernels ask for it.


def _input(name: str, op: Op, role: str, prepared: Prepared) -> Port:
    key = (name, id(op), role)
    port: Port | None = prepared.ports.get(key)
    if port is None:
        port = prepared.ports[key] = _look_at_input(name, op, role, prepared)
    return port


def _output(name: str, op: Op, number: int, prepared: Prepared) -> Port:
    key = (name, id(op), number)
    port: Port | None = prepared.ports.get(key)
    if port is None:
        port = prepared.ports[key] = _look_at_output(name, op, number, prepared)
    return port


def _look_at_input(name: str, op: Op, role: str, prepared: Prepared) -> Port:
    use = op.uses.get(role)
    if use is None:
        return Port(name, role, op, None, None, "absent")
    sequence = prepared.of(use)
    if not sequence:
        return Port(name, role, op, use.tensor, None, "none", use=use)
    last = sequence[-1]
    return Port(name, role, op, use.tensor, last.read_as or last, "one", (), use, 1, prepared.rewritten(use), prepared)


def _look_at_output(name: str, op: Op, number: int, prepared: Prepared) -> Port:
    if number >= len(op.outputs):
        return Port(name, "y", op, None, None, "absent")
    tensor = op.outputs[number]
    firsts: dict[int, Quantizer] = {}
    bare: list[str] = []
    for use in prepared.uses(tensor):
        sequence = prepared.of(use)
        if sequence:
            firsts[id(sequence[0])] = sequence[0]
        else:
            bare.append(reader(use))
    if not firsts:
        return Port(name, "y", op, tensor, None, "none", tuple(bare), None, 0, False, prepared)
    quantizer, *others = firsts.values()
    state: State = "partial" if bare else "mixed" if any(other != quantizer for other in others) else "one"
    return Port(name, "y", op, tensor, quantizer, state, tuple(bare), None, len({writer(q) for q in firsts.values()}) if others else 1, False, prepared)


def reader(use: Use) -> str:
    """Who reads a tensor, in a message."""
    return use.op.label if use.op is not None else f"the graph output {use.name}" if use.kind == "output" else use.name


class Spaces:
    """A profile's spaces, resolved: requirement → alternatives."""

    def __init__(self, profile: Profile) -> None:
        self.named = profile.spaces
        self._cache: dict[Requirement, tuple[Space, ...]] = {}
        self._asked: dict[int, _Asked] = {}
        self._seen: dict[tuple[int, int], tuple[list[Miss], Port]] = {}

    def resolve(self, requirement: Requirement, depth: int = 0) -> tuple[Space, ...]:
        if requirement in self._cache:
            return self._cache[requirement]
        spaces: list[Space] = []
        for item in requirement:
            if isinstance(item, Space):
                spaces.append(item)
            elif item in self.named and depth < 8:
                spaces.extend(self.resolve(self.named[item], depth + 1))
            elif item in BUILTIN_SPACES:
                spaces.append(BUILTIN_SPACES[item])
        resolved = self._cache[requirement] = tuple(sorted(spaces, key=lambda space: space.absent))  # of equals, not the one without the input
        return resolved

    def left(self, spaces: tuple[Space, ...], port: Port) -> tuple[Rows, ...] | None:
        """Of the alternatives that a port may meet, as far as its situation tells, the dimensions that are left to look at.

        None: it meets none of them, whatever the numbers; (): it meets one.
        """
        found: list[Rows] = []
        for space in spaces:
            asked = self._wanted(space)
            if next(_misses(space, port, asked.quantized, asked.told), None) is None:
                if not asked.own or port.quantizer is None:
                    return ()
                found.append(asked.own)
        return tuple(found) if found or not spaces else None

    def bound(self, spaces: tuple[Space, ...], port: Port) -> int:
        """The least weight of what keeps a port out, as far as its situation tells."""
        every = ((space, self._wanted(space)) for space in spaces)
        return min((sum(miss.weight for miss in _misses(space, port, asked.quantized, asked.told)) for space, asked in every), default=0)

    def misses(self, spaces: tuple[Space, ...], port: Port) -> list[Miss]:
        """What keeps the port out of the nearest of some alternatives; empty if one of them accepts it."""
        key = (id(spaces), id(port))
        seen = self._seen.get(key)
        if seen is None:
            seen = self._seen[key] = (self._nearest(spaces, port), port)  # the port is kept, and with it its id
        return seen[0]

    def _nearest(self, spaces: tuple[Space, ...], port: Port) -> list[Miss]:
        best: list[Miss] | None = None
        every = []
        for space in spaces:
            asked = self._wanted(space)
            found = list(_misses(space, port, asked.quantized, asked.rows))
            if not found:
                return []
            every.append(found)
            if best is None or sum(m.weight for m in found) < sum(m.weight for m in best):
                best = found
        if best and len(best) == 1 and (best[0].dimension, best[0].wanted) == ("zero_point", "zero"):
            # Rather than a zero point of 0, which changes the grid, the type that takes any zero point.
            return next(([found[0]._replace(weight=VALUE)] for found in every if len(found) == 1 and _turned(found[0])), best)
        return best or []

    def _wanted(self, space: Space) -> _Asked:
        """What a space says something about."""
        if id(space) not in self._asked:
            rows = tuple(
                (name, weight, value, holds, found) for name, weight, wanted, holds, found in _DIMENSIONS if (value := wanted(space)) not in ((), None)
            )
            quantized = space.quantized if space.quantized is not None else bool(rows) or None
            told = tuple(row for row in rows if row[0] in TOLD)
            self._asked[id(space)] = _Asked(quantized, rows, told, tuple(row for row in rows if row[0] not in TOLD))
        return self._asked[id(space)]


_OPERANDS = ("x", "w", "lhs", "rhs")  # an operator that has no such operand is another one: a product of two activations, not of one and a weight


def _misses(space: Space, port: Port, wants: bool | None, parameters: Rows) -> Iterator[Miss]:
    """What keeps a port out of a space; of its parameters only these are looked at. `wants`: whether it wants a quantizer."""

    def miss(dimension: str, found: Any, wanted: Any, weight: int) -> Miss:
        return Miss(port.name, dimension, found, wanted, weight, port.role, port.op, port.tensor, port.readers)

    if port.state == "absent":
        if space is not _ANY and not space.absent:
            yield miss("presence", "absent", "present", ANOTHER if port.role in _OPERANDS else MISSING)
        return
    if space.absent:
        yield miss("presence", "present", "absent", MISSING)
        return
    if space.partly is not None and (port.state == "partial") != space.partly:
        yield miss("quantizer", None if port.quantizer is None else str(port.quantizer), _text(space), MISSING)
    if space.constant is not None and port.constant != space.constant:
        yield miss("constant", port.constant, space.constant, MISSING)
    if space.initializer is not None and port.initializer != space.initializer:
        yield miss("constant", port.initializer, space.initializer, MISSING)
    if space.dtype and port.tensor is not None and port.dtype and port.dtype not in space.dtype:
        yield miss("dtype", port.dtype, space.dtype, SHAPE)
    if wants is None:
        return
    if not wants:
        if port.state != "none":
            yield miss("quantizer", str(port.quantizer), None, MISSING)
        return
    if port.state == "none" and port.tensor is not None and port.tensor.dtype in COUNTS:
        if not space.dtype:  # or it has just been said
            yield miss("dtype", port.tensor.dtype, space.storage or _text(space), MISSING)
        return
    if port.state in ("none", "partial"):
        yield miss("quantizer", None, _text(space), MISSING)
        return
    if port.state == "mixed":
        yield miss("quantizer", "different quantizers for different readers", _text(space), MISSING)
        return
    assert port.quantizer is not None
    for dimension, weight, value, holds, found in parameters:
        if not holds(value, port.quantizer, port):
            yield miss(dimension, found(port.quantizer, port), value, weight)


def _turned(miss: Miss) -> bool:
    """Whether only the sign of the integer type is wrong: the same grid fits into the other one, with the zero point moved by half of the range."""
    return miss.dimension == "storage" and (miss.found.removeprefix("u") if miss.found.startswith("u") else f"u{miss.found}") in miss.wanted


def _axis(q: Quantizer, port: Port) -> str:
    out, inner = channel_axes(port.op, port.role)
    return "out" if q.axis == out else "in" if q.axis == inner else str(q.axis)


def _from_end(q: Quantizer) -> bool | None:
    """Whether the node that dequantizes writes its axis as a negative number; None if it writes none that matters."""
    axis = None if q.granularity == "tensor" or q.dequantize is None else q.dequantize.attrs.get("axis")
    return axis < 0 if isinstance(axis, int) else None


def _spare(q: Quantizer, port: Port) -> int:
    """How many more scales there are than output channels, whatever axis they are said to be on; fewer than none where that is not known."""
    out, _inner = channel_axes(port.op, port.role)
    shape = port.tensor.shape if port.tensor is not None else None
    if q.granularity != "channel" or q.scale is None or out is None or shape is None or out >= len(shape):
        return 0
    size = shape[out]
    return len(q.scale) - size if isinstance(size, int) else -1


def _scales_hold(wanted: str, q: Quantizer, port: Port) -> bool:
    spare = _spare(q, port)
    return spare == 0 or (wanted == "enough" and spare > 0)


def _scale_holds(wanted: Any, q: Quantizer, _: Port) -> bool:
    if q.scale is None:
        return False
    if isinstance(wanted, tuple):
        return all(any(abs(s - v) <= 1e-6 * abs(v) for v in wanted) for s in q.scale)
    if wanted == "power-of-two":
        return q.power_of_two
    return wanted == "constant" or all(s > 0 if wanted == "positive" else s != 0 for s in q.scale)


def _zero_point_holds(wanted: Any, q: Quantizer, _: Port) -> bool:
    if isinstance(wanted, tuple):
        return q.zero_point is not None and all(z in wanted for z in q.zero_point)
    return wanted in q.zero_point_class


def _shape_holds(wanted: str, q: Quantizer, _: Port) -> bool:
    return ("vector" if q.scale_shape else "scalar") == wanted


def _given_holds(wanted: bool, q: Quantizer, _: Port) -> bool:
    return (q.zero_point_shape is not None) == wanted


def _declared(_: Quantizer, port: Port) -> str:
    """As a file that has to be converted is judged as if its integers were dequantized, they are never met as such."""
    converted = port.prepared is not None and port.prepared.converted
    return declared(port.use) if port.use is not None and not converted else "known"


def _values(values: Sequence[float] | None) -> Any:
    if values is None:
        return "not constant"
    distinct = sorted(set(values)) if all(v == v for v in values) else list(values)
    return distinct[0] if len(distinct) == 1 else (distinct[0], distinct[-1])


_Wanted = tuple[str, int, Any, Callable[[Any, Quantizer, Port], bool], Callable[[Quantizer, Port], Any]]
Rows = tuple[_Wanted, ...]


class _Asked(NamedTuple):
    """What a space says something about: whether there is a quantizer, and which dimensions of it."""

    quantized: bool | None
    rows: Rows
    told: Rows  # those that a situation tells of (see situations.py)
    own: Rows  # the others


_Row = tuple[str, int, Callable[[Space], Any], Callable[[Any, Quantizer, Port], bool], Callable[[Quantizer, Port], Any]]
_DIMENSIONS: tuple[_Row, ...] = (
    ("stored", MISSING, lambda s: s.stored, lambda w, q, p: p.stored == w, lambda q, p: p.stored),
    ("written", MISSING, lambda s: s.written, lambda w, q, p: p.written in w, lambda q, p: p.written),
    ("prequantized", SHAPE, lambda s: s.prequantized, lambda w, q, p: p.prequantized == w, lambda q, p: p.prequantized),
    ("storage", SHAPE, lambda s: s.storage, lambda w, q, p: q.storage in w, lambda q, p: q.storage),
    ("bits", SHAPE, lambda s: s.bits, lambda w, q, p: q.bits in w, lambda q, p: f"{q.bits} bits"),
    ("granularity", SHAPE, lambda s: s.granularity, lambda w, q, p: q.granularity in w, lambda q, p: q.granularity),
    ("block_size", SHAPE, lambda s: s.block_size, lambda w, q, p: q.block_size in w, lambda q, p: q.block_size),
    ("scale_shape", SHAPE, lambda s: s.scale_shape, _shape_holds, lambda q, p: list(q.scale_shape)),
    ("zero_point_given", SHAPE, lambda s: s.zero_point_given, _given_holds, lambda q, p: q.zero_point_shape is not None),
    ("dynamic", SHAPE, lambda s: s.dynamic, lambda w, q, p: q.dynamic == w, lambda q, p: q.dynamic),
    ("integers", SHAPE, lambda s: s.integers, lambda w, q, p: _declared(q, p) in w, _declared),
    ("writers", RELATION, lambda s: s.writers, lambda w, q, p: p.writers <= w, lambda q, p: p.writers),
    ("dequantizers", RELATION, lambda s: s.dequantizers, lambda w, q, p: p.dequantizers <= w, lambda q, p: p.dequantizers),
    ("rewritten", RELATION, lambda s: s.rewritten, lambda w, q, p: p.rewritten == w, lambda q, p: p.rewritten),
    ("inherited", RELATION, lambda s: s.inherited, lambda w, q, p: p.inherited == w, lambda q, p: p.inherited),
    ("own_scale", RELATION, lambda s: s.own_scale, lambda w, q, p: (p.sharers <= 1) == w, lambda q, p: p.sharers <= 1),
    ("axis", RELATION, lambda s: s.axis, lambda w, q, p: q.granularity != "channel" or _axis(q, p) == str(w), _axis),
    ("axis_from_end", RELATION, lambda s: s.axis_from_end, lambda w, q, p: _from_end(q) in (w, None), lambda q, p: _from_end(q)),
    ("scales", RELATION, lambda s: s.scales, _scales_hold, lambda q, p: f"{len(q.scale or ())} scales"),
    ("zero_point", VALUE, lambda s: s.zero_point, _zero_point_holds, lambda q, p: _values(q.zero_point)),
    ("scale", VALUE, lambda s: s.scale, _scale_holds, lambda q, p: _values(q.scale)),
    ("symmetric", VALUE, lambda s: s.symmetric, lambda w, q, p: q.symmetric == w, lambda q, p: q.symmetric),
)
# What a situation tells of a port (see situations.py): dimensions that look at nothing else.
TOLD = frozenset("written storage granularity block_size scale_shape zero_point_given dynamic writers rewritten axis scales".split())
_ANY = BUILTIN_SPACES["any"]
ANY = "a quantizer"  # what is wanted where no property of it matters


def _text(space: Space) -> str:
    parts = [" or ".join(space.storage), " or ".join(f"per-{g}" for g in space.granularity)]
    return " ".join(part for part in parts if part) or ANY
