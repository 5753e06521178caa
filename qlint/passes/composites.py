"""Composites: groups of ops that spell out one function get a name, and are never merged.

One backend runs the parts, another one has a kernel for the whole; that is for its profile to say. Here
ops are only told what they are part of (`Op.groups`). Quantizers on the edges inside do not matter.
"""

from __future__ import annotations

import ast
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import itemgetter

from qlint.graph import Model, Op, Use

# What a name stands for, as expressions over canonical kinds; a line may use names from the lines above.
# Names with an underscore are only parts. `x` is any tensor, the same one wherever it stands; `d := f(x)`
# names one; numbers are constants of one element, `const` is any constant, `vector` one per channel;
# ~f() has to be there, and is not a member; f(x, a=1) is the operator f with an attribute.
COMPOSITES = (
    ("_square", "pow(x, 2)", "mul(x, x)"),
    ("_cube", "pow(x, 3)", "mul(x, _square(x))"),
    ("_relu6", "clip(x, 0, 6)", "min(max(x, 0), 6)", "min(relu(x), 6)"),
    ("_softplus", "softplus(x)", "log(add(exp(x), 1))"),
    ("hard_sigmoid", "div(_relu6(add(x, 3)), 6)", "mul(_relu6(add(x, 3)), 0.1666667)", "clip(add(mul(x, 0.1666667), 0.5), 0, 1)"),
    ("_gated", "mul(x, _relu6(add(x, 3)))"),
    (
        "hard_swish", "mul(x, hard_sigmoid(x, alpha=0.1666667, beta=0.5))", "mul(x, hard_sigmoid(x))",
        "div(_gated(x), 6)", "mul(_gated(x), 0.1666667)", "mul(mul(x, 0.1666667), _relu6(add(x, 3)))",
    ),
    ("swish", "mul(x, sigmoid(x))", "mul(x, sigmoid(mul(x, const)))"),
    ("mish", "mul(x, tanh(_softplus(x)))"),
    ("_gelu_erf", "erf(div(x, 1.4142136))", "erf(mul(x, 0.7071068))"),
    (
        "_gelu_tanh", "tanh(mul(add(x, mul(_cube(x), 0.044715)), 0.7978846))",
        "tanh(mul(mul(x, 0.7978846), add(mul(_square(x), 0.044715), 1)))", "tanh(mul(mul(x, 0.7978846), add(mul(mul(x, 0.044715), x), 1)))",
    ),
    ("_gelu_gate", "add(_gelu_erf(x), 1)", "add(_gelu_tanh(x), 1)"),
    ("_gelu_twice", "mul(x, _gelu_gate(x))"),
    ("_gelu_half", "mul(_gelu_gate(x), 0.5)"),
    ("gelu", "mul(_gelu_twice(x), 0.5)", "mul(mul(x, 0.5), _gelu_gate(x))", "mul(x, _gelu_half(x))"),
    ("softmax", "div((e := exp(x)), reduce_sum(e))", "div((e := exp(sub(x, reduce_max(x)))), reduce_sum(e))"),
    ("_centered", "sub(x, reduce_mean(x))"),
    ("_power", "add(reduce_mean(_square(x)), const)"),
    ("_scale", "reciprocal(sqrt(_power(x)))", "div(1, sqrt(_power(x)))", "pow(_power(x), -0.5)"),
    ("_rms", "div(x, sqrt(_power(x)))", "mul(x, _scale(x))"),
    ("_layer", "_rms(_centered(x))", "div(_centered(x), sqrt(_power(_centered(x))))", "mul(_centered(x), _scale(_centered(x)))"),
    ("rms_norm", "_rms(x)", "mul(_rms(x), vector)"),
    (
        "layer_norm", "_layer(x)", "mul(_layer(x), vector)", "add(mul(_layer(x), vector), vector)",
        "add(mul(x, (s := mul(_scale(_centered(x)), vector))), sub(vector, mul(reduce_mean(x), s)))",
    ),
    ("_weighted", "~conv()", "~conv_transpose()", "~linear()", "~matmul()"),
    ("_shifted", "_weighted()", "sub(_weighted(), vector)"),
    ("_scaled", "mul(_shifted(), vector)", "div(_shifted(), vector)", "mul(div(_shifted(), vector), vector)"),
    ("batch_norm", "add(_scaled(), vector)", "sub(_scaled(), vector)"),
    ("_grouped", "reshape(instance_norm(reshape(x)))"),
    ("group_norm", "_grouped(x)", "mul(_grouped(x), vector)", "add(mul(_grouped(x), vector), vector)"),
)  # fmt: skip
TOLERANCE = 1e-3  # relative: constants pass through float16, and are written with few digits
_COMMUTES = frozenset({"add", "mul", "min", "max"})
_CONSTANTS = ("const", "vector")


def name_composites(model: Model) -> None:
    """Set `Op.groups` of every op that is part of a composite: `swish:1`, numbered in the order of the graph.

    Of overlapping matches those that lie within another one are left out. Linear in the number of ops.
    """
    found = [match for graph in model.graphs() for match in matches(graph, COMPOSITES)]
    around: dict[int, list[Match]] = defaultdict(list)
    for match in found:
        for op in match.ops:
            around[id(op)].append(match)
    numbers: Counter[str] = Counter()
    for match in found:
        if any(other is not match and match.within(other) for other in around[id(match.root)]):
            continue
        numbers[match.name] += 1
        for op in match.ops:
            op.groups = (*op.groups, f"{match.name}:{numbers[match.name]}")


def matches(graph: Model, table: Table) -> Iterator[Match]:
    """Every place of one graph (its bodies aside) where the last op of an expression of the table stands, in the order of the ops."""
    return (match for match in _Search(_rows(table)).run(graph) if not match.name.startswith("_"))


# -- expressions ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Expression:
    """One node of an expression: `kind` is an operator or composite, `number`, or `name` for a tensor."""

    kind: str
    arguments: tuple[Expression, ...] = ()
    attrs: tuple[tuple[str, float], ...] = ()
    value: float = 0
    name: str = ""
    member: bool = True

    @property
    def made(self) -> bool:
        """Whether it stands for what an operator makes."""
        return self.kind not in ("name", "number")


def _parse(node: ast.expr) -> Expression:
    if isinstance(node, ast.NamedExpr):
        return replace(_parse(node.value), name=node.target.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
        return replace(_parse(node.operand), member=False)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        attrs = tuple((k.arg or "", float(ast.literal_eval(k.value))) for k in node.keywords)
        return Expression(node.func.id, tuple(map(_parse, node.args)), attrs)
    if isinstance(node, ast.Name):
        return Expression("name", name=node.id)
    return Expression("number", value=float(ast.literal_eval(node)))


Table = tuple[tuple[str, ...], ...]  # a name, and the expressions that it stands for
Row = tuple[int, str, Expression]  # its number in the table, the name, what the name stands for


@dataclass(frozen=True, slots=True)
class Rows:
    """A table, parsed: rows by the kind of op that they end with, and what has to be in front of that ('' if nothing has to)."""

    names: frozenset[str]
    by_kind: dict[str, dict[str, list[Row]]]


@lru_cache(maxsize=8)
def _rows(table: Table) -> Rows:
    names = frozenset(name for name, *_ in table)
    rows: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    ends: dict[str, set[str]] = {}  # the kinds of op that a composite ends with
    for number, (name, text) in enumerate((name, text) for name, *texts in table for text in texts):
        expression = _parse(ast.parse(text, mode="eval").body)
        kinds = ends.get(expression.kind) or {expression.kind}
        front = next((argument.kind for argument in reversed(expression.arguments) if argument.made), "")
        for kind in kinds:
            rows[kind]["" if expression.kind in names else front].append((number, name, expression))
        ends.setdefault(name, set()).update(kinds)
    return Rows(names, rows)


# -- matching ---------------------------------------------------------------------------------------

Operand = Use | float | None  # an attribute counts as an operand too
Ops = tuple[Op, ...]
Bound = dict[str, Use]


@dataclass(frozen=True, slots=True)
class Match:
    """A composite that ends with `root`. `bound` holds its named tensors in the order in which they stand."""

    name: str
    root: Op
    ops: Ops
    bound: Bound

    def within(self, other: Match) -> bool:
        """Whether all of its ops belong to the other one too, which has more."""
        return len(self.ops) < len(other.ops) and all(op in other.ops for op in self.ops)


class _Search:
    """One walk over a graph in data-flow order; what is found at an op is known to those behind it."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.at: dict[tuple[str, int], Match] = {}
        self.seen: set[int] = set()  # ops, by id(): those of other graphs are not among them
        self.ends: dict[int, set[str]] = defaultdict(set)  # the composites that end with an op

    def run(self, model: Model) -> list[Match]:
        table = self.rows.by_kind
        for op in model.ops:
            self.seen.add(id(op))
            fitting = table.get(op.kind)
            if fitting is None:
                continue
            fronts = {""}
            for use in op.uses.values():
                front = use.tensor.producer
                if front is not None and id(front) in self.seen:
                    fronts.add(front.kind)
                    fronts.update(self.ends.get(id(front), ()))
            rows = [row for front in fronts for row in fitting.get(front, ())]
            for _, name, expression in sorted(rows, key=itemgetter(0)):
                for ops, bound in self._op(expression, op, (), {}):
                    if _same_axes(ops):
                        self.at[name, id(op)] = Match(name, op, ops, bound)
                        self.ends[id(op)].add(name)
                        break
        return list(self.at.values())

    def _ends(self, name: str, op: Op) -> bool:
        return id(op) in self.seen and (name == op.kind or name in self.ends.get(id(op), ()))

    def _op(self, expression: Expression, op: Op, ops: Ops, bound: Bound) -> Iterator[tuple[Ops, Bound]]:
        """Ways in which an op ends what an expression describes: members and named tensors, those before included."""
        if expression.kind in self.rows.names and not expression.attrs:
            part = self.at.get((expression.kind, id(op)))
            if part is not None:
                yield from self._operands(expression.arguments, list(part.bound.values()), _joined(ops, part.ops), bound)
        elif expression.kind == op.kind and all(_is(op.attrs.get(name), value) for name, value in expression.attrs):
            whole = _joined(ops, (op,)) if expression.member else ops
            for operands in _orders(op):
                yield from self._operands(expression.arguments, operands, whole, bound)

    def _operands(
        self, expressions: Sequence[Expression], operands: Sequence[Operand], ops: Ops, bound: Bound
    ) -> Iterator[tuple[Ops, Bound]]:
        if not expressions:
            yield ops, bound
        elif operands:
            for one in self._operand(expressions[0], operands[0], ops, bound):
                yield from self._operands(expressions[1:], operands[1:], *one)

    def _operand(self, expression: Expression, operand: Operand, ops: Ops, bound: Bound) -> Iterator[tuple[Ops, Bound]]:
        if expression.kind == "number":
            if _is(operand if not isinstance(operand, Use) else _number(operand), expression.value, _slack(operand)):
                yield ops, bound
        elif not isinstance(operand, Use):
            return
        elif expression.name in _CONSTANTS:
            if operand.tensor.constant and (expression.name == "const" or _per_channel(operand)):
                yield ops, bound
        elif expression.kind == "name":
            known = bound.get(expression.name)
            if known is None:
                yield ops, {**bound, expression.name: operand}
            elif known.tensor is operand.tensor:
                yield ops, bound
        elif operand.tensor.producer is not None and self._ends(expression.kind, operand.tensor.producer):
            for members, tensors in self._op(expression, operand.tensor.producer, ops, bound):
                yield members, {**tensors, expression.name: operand} if expression.name else tensors


def _joined(ops: Ops, more: Ops) -> Ops:
    return (*ops, *(op for op in more if op not in ops))


def _orders(op: Op) -> Iterator[list[Operand]]:
    """The operands of an op in every order that means the same."""
    operands: list[Operand] = list(op.uses.values())
    if op.kind == "clip":
        operands = [*operands[:1], op.attrs.get("min"), op.attrs.get("max")]
    yield operands
    if op.kind in _COMMUTES and len(operands) == 2:
        yield operands[::-1]


def _is(found: object, wanted: float, slack: float = 0.0) -> bool:
    return isinstance(found, (int, float)) and math.isclose(found, wanted, rel_tol=TOLERANCE, abs_tol=slack)


def _number(use: Use) -> float | None:
    """The real value of a constant of one element; integers that are stored are put on their grid."""
    data = use.tensor.data
    if data is None or math.prod(data.shape) != 1:
        return None
    value = float(data.values()[0])
    for q in use.quantizers[:1]:
        pair = next(q.pairs(), None)
        if q.quantize is None and pair is not None:
            value = pair[0] * (value - pair[1])
    return value


def _slack(operand: Operand) -> float:
    """How far a stored integer may be from the number that was quantized."""
    stored = operand.quantizers[:1] if isinstance(operand, Use) and operand.tensor.constant else ()
    return max((abs(q.scale[0]) / 2 for q in stored if q.scale and math.isfinite(q.scale[0])), default=0.0)


def _per_channel(use: Use) -> bool:
    """One dimension with several elements, whatever ones stand around it."""
    shape = use.tensor.data.shape if use.tensor.data is not None else ()
    return sum(size != 1 for size in shape) == 1


def _same_axes(ops: Sequence[Op]) -> bool:
    """A function that reduces twice does so over the same axes."""
    return len({_axes(op) for op in ops if op.kind.startswith("reduce_")}) < 2


def _axes(op: Op) -> tuple[int, ...]:
    use = op.uses.get("axes")
    given = op.attrs.get("axes") if use is None else use.tensor.data.values() if use.tensor.data is not None else None
    rank = op.uses["x"].tensor.rank if "x" in op.uses else None
    return tuple(sorted(a + rank if a < 0 and rank is not None else a for a in given or ()))
