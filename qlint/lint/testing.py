"""The test kit for rules, ours and third-party: a graph builder, a toy backend, and a runner of cases.

    g = Graph()
    x = g.input() | u8()
    y = g.conv(x, w=s8()) | u8()
    model = g.model(g.op("add", x, y) | u8())
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import count
from typing import Any

from qlint.graph import FLOAT_GRIDS, INTEGER_RANGES, Model, Op, Quantizer, Shape, Tensor, Use
from qlint.graph.encodings import Encoding, Encodings, Format
from qlint.graph.kinds import CLASSES
from qlint.judge import Verdict, judge
from qlint.lint.finding import Finding
from qlint.lint.rule import SECTIONS, Case, Rule, Settings
from qlint.lint.run import audit, lint
from qlint.lint.toy import toy
from qlint.passes.encodings import merge

__all__ = ["Graph", "Wire", "check_case", "check_page", "quantizer", "run_cases", "s8", "s32", "told", "toy", "u8", "verdict"]

UNWRITTEN = "TO BE WRITTEN"  # what a draft of a rule has in its page
# Names of an op's inputs, in order; a kind that is not here has x, x1, x2 ...
ROLES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(CLASSES["weighted"], ("x", "w", "b")),
    **dict.fromkeys(CLASSES["binary"], ("lhs", "rhs")),
    **dict.fromkeys(CLASSES["norm"], ("x", "gamma", "beta", "mean", "var")),
}
_VARIADIC = ("concat", "sum", "mean")


# -- quantizers -------------------------------------------------------------------------------------


def quantizer(
    storage: str, scale: float | Sequence[float] | None = 0.05, zp: float | Sequence[float] = 0, **fields: Any
) -> Quantizer:
    """A quantizer; several scales make it per channel of `axis` (default 0)."""
    scales = scale if scale is None else tuple(scale) if isinstance(scale, Sequence) else (scale,)
    zps = tuple(zp) if isinstance(zp, Sequence) else (zp,) * (len(scales) if scales else 1)
    per_channel = isinstance(scale, Sequence) and len(scale) > 1
    limit = FLOAT_GRIDS.get(storage)
    low, high = INTEGER_RANGES.get(storage, (0, 0)) if limit is None else (-limit, limit)
    shape = (len(scales),) if scales is not None and isinstance(scale, Sequence) else ()
    given = {
        "scale_shape": shape,
        "zero_point_shape": shape,
        "granularity": "channel" if per_channel else "tensor",
        "axis": 0 if per_channel else None,
        "qmin": low,
        "qmax": high,
        "grid": "affine" if limit is None else "float",
        **fields,
    }
    return Quantizer(storage, scales, zps, **given)


def u8(scale: float | Sequence[float] | None = 0.05, zp: float | Sequence[float] = 0, **fields: Any) -> Quantizer:
    return quantizer("uint8", scale, zp, **fields)


def s8(scale: float | Sequence[float] | None = 0.05, zp: float | Sequence[float] = 0, **fields: Any) -> Quantizer:
    return quantizer("int8", scale, zp, **fields)


def s32(scale: float | Sequence[float] | None = 0.0025, zp: float | Sequence[float] = 0, **fields: Any) -> Quantizer:
    """The grid of a bias; by default that of the default activation times the default weight."""
    return quantizer("int32", scale, zp, **fields)


# -- graphs -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Constant:
    """Constant data in memory; without values it is all zeros."""

    dtype: str
    shape: tuple[int, ...]
    data: tuple[Any, ...] = ()

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * 4

    def values(self) -> tuple[Any, ...]:
        return self.data or (0,) * math.prod(self.shape)

    def array(self) -> Any:
        import numpy

        return numpy.array(self.values(), dtype=self.dtype or "float32").reshape(self.shape)


@dataclass(frozen=True)
class Wire:
    """A tensor and the quantizers passed so far; `wire | u8()` puts one more behind it."""

    graph: Graph
    tensor: Tensor
    quantizers: tuple[Quantizer, ...] = ()

    def __or__(self, q: Quantizer | None) -> Wire:
        return self if q is None else replace(self, quantizers=(*self.quantizers, self.graph.nodes_for(self.tensor, q)))


class Graph:
    """Builds a canonical model: compute ops whose uses carry quantizers."""

    def __init__(self, name: str = "case") -> None:
        self._model = Model(name, "onnx", opsets={"": 21})
        self._numbers = count()

    def input(self, name: str = "x", shape: Shape = (1, 8, 16, 16), dtype: str = "float32") -> Wire:
        wire = self._tensor(name, shape, dtype)
        wire.tensor.is_input = True
        self._model.inputs.append(wire.tensor)
        return wire

    def constant(self, *shape: int, values: Sequence[Any] = (), name: str = "", dtype: str = "float32") -> Wire:
        wire = self._tensor(name or f"c{next(self._numbers)}", shape, dtype)
        wire.tensor.data = Constant(dtype, shape, tuple(values))
        return wire

    def op(
        self, kind: str, *inputs: Wire, name: str = "", shape: Shape | None = (), native: str = "",
        attrs: dict[str, Any] | None = None, outputs: int = 1, **roles: Wire,
    ) -> Wire:  # fmt: skip
        """An op; its output has the shape of its first input unless told. With several outputs, see `outputs_of`."""
        number = next(self._numbers)
        native = native or kind.title().replace("_", "")
        op = Op(number, name or f"{kind}{number}", kind, native, attrs or {}, opset=21, since=21)
        names = _roles(kind, inputs)
        for slot, (role, wire) in enumerate([*zip(names, inputs, strict=False), *roles.items()]):
            use = Use(wire.tensor, op, role, slot, "op", wire.quantizers, wire.tensor.name)
            op.uses[role] = use
            wire.tensor.uses.append(use)
        first = inputs[0].tensor if inputs else None
        for i in range(outputs):
            made = self._tensor(f"{op.name}_out{i or ''}", first.shape if shape == () and first else shape, "float32")
            made.tensor.producer = op
            op.outputs.append(made.tensor)
        self._model.ops.append(op)
        self._model.nodes.append(op)
        return Wire(self, op.outputs[0])

    def outputs_of(self, wire: Wire) -> list[Wire]:
        """All outputs of the op that made a wire."""
        assert wire.tensor.producer is not None
        return [Wire(self, tensor) for tensor in wire.tensor.producer.outputs]

    def conv(
        self, x: Wire, w: Quantizer | Wire | None = None, b: Wire | None = None, *, kind: str = "conv", out: int = 8, **more: Any
    ) -> Wire:
        """A 3x3 convolution (or a `linear` or `matmul`) with a constant weight, quantized by `w`."""
        shape = {"conv": (out, 8, 3, 3), "conv_transpose": (8, out, 3, 3)}.get(kind, (16, out))
        weight = w if isinstance(w, Wire) else self.constant(*shape) | w
        return self.op(kind, *([x, weight] if b is None else [x, weight, b]), **more)

    def model(self, *outputs: Wire) -> Model:
        """The finished model, with these graph outputs."""
        for slot, wire in enumerate(outputs):
            use = Use(wire.tensor, None, "y", slot, "output", wire.quantizers, f"out{slot or ''}")
            wire.tensor.uses.append(use)
            self._model.outputs.append(use)
        self._count_readers()
        return self._model

    def dead(self, wire: Wire) -> None:
        """A reader that leads nowhere."""
        wire.tensor.uses.append(Use(wire.tensor, None, "dead", 0, "dead", wire.quantizers, "dead"))

    def nodes_for(self, tensor: Tensor, q: Quantizer) -> Quantizer:
        """The quantizer with its nodes in the file: Q and DQ, or only a DQ on a constant."""
        if q.origin != "qdq" or q.dequantize is not None:
            return q
        nodes = {}
        for kind, native in (("quantize", "QuantizeLinear"), ("dequantize", "DequantizeLinear")):
            if kind == "quantize" and tensor.constant:
                continue
            number = next(self._numbers)
            node = nodes[kind] = Op(number, f"{native}{number}", kind, native, opset=21, since=21)
            for slot, role in enumerate(("scale", "zero_point") if q.zero_point_shape is not None else ("scale",), 1):
                node.uses[role] = Use(Tensor(f"{node.name}_{role}"), node, role, slot)  # constants of its own
            self._model.nodes.append(node)
        return replace(q, **nodes)  # type: ignore[arg-type]

    def _tensor(self, name: str, shape: Shape | None, dtype: str) -> Wire:
        tensor = self._model.tensors[name] = Tensor(name, dtype, shape)
        return Wire(self, tensor)

    def _count_readers(self) -> None:
        uses = [use for tensor in self._model.tensors.values() for use in tensor.uses]
        counts: dict[int, int] = {}
        for use in uses:
            for q in use.quantizers:
                counts[id(q)] = counts.get(id(q), 0) + 1
        counted = {id(q): replace(q, readers=counts[id(q)]) for use in uses for q in use.quantizers}
        for use in uses:
            use.quantizers = tuple(counted[id(q)] for q in use.quantizers)


def _roles(kind: str, inputs: Sequence[Wire]) -> Sequence[str]:
    if kind in _VARIADIC:
        return [f"x{i}" for i in range(len(inputs))]
    if kind == "matmul" and len(inputs) == 2 and not inputs[1].tensor.constant:
        return ("lhs", "rhs")
    return ROLES.get(kind, ("x", "x1", "x2", "x3"))


# -- cases ------------------------------------------------------------------------------------------


@cache
def _installed() -> tuple[Rule, ...]:
    from qlint.lint import registry

    return tuple(registry.load().rules)


def told(model: Model, *, parameters: Sequence[str] = (), contradictions: Mapping[str, tuple[str, str]] | None = None, **grids: Quantizer | None) -> Model:
    """The model, merged with a file of encodings by tensor name; those of `parameters` are among the weights there."""
    entries = tuple(
        Encoding(name, f'encodings["{name}"]', None if grid is None else replace(grid, origin="encodings"), "" if grid else "float16", name in parameters, (contradictions or {}).get(name))
        for name, grid in grids.items()
    )  # fmt: skip
    return merge(model, Encodings("net.encodings", Format("AIMET encodings 1.0.0", "aimet"), entries))


def verdict(model: Model) -> Verdict:
    """The model, judged against the toy backend."""
    return judge(model, toy())


def findings(rule: Rule, model: Model | Sequence[Model], known: Iterable[Rule] = (), policy: Settings | None = None) -> list[Finding]:
    """What one rule finds in a model on the toy backend, or in the settings that it is linted under, or without a backend if it speaks only then; a crash is raised.

    Of several models, which are one network, it is what a comparison finds about the first.
    """
    every = [*(known or _installed()), *([] if rule in (known or _installed()) else [rule])]
    under = policy(every) if policy is not None else None
    first, *rest = [model] if isinstance(model, Model) else model
    subject = first if rest or (rule.unasked and not rule.selectors) else verdict(first)
    found, crashes = lint(subject, [rule] if under is None else under.rules, known=every, policy=under, others=rest)
    if under is not None:
        more, further = audit(under)
        found, crashes = [finding for finding in (*found, *more) if finding.rule == rule.name], [*crashes, *further]
    if crashes:
        raise crashes[0]
    return found


def check_case(rule: Rule, case: Case, known: Iterable[Rule] = ()) -> None:
    """Raise AssertionError unless the rule says about the case's model what the case expects."""
    found = findings(rule, case.build(), known, case.policy)
    lines = "\n".join(f"  {finding.line}" for finding in found) or "  nothing"
    where = f"{rule.name}, case {case.name}: found\n{lines}\n"
    if not case.bad:
        assert not found, f"{where}expected nothing"
        return
    assert len(found) == 1, f"{where}expected one finding"
    assert len(found[0].sites) == case.sites or rule.audits, f"{where}expected {case.sites} sites, not {len(found[0].sites)}"
    assert case.says in found[0].line, f"{where}expected it to say {case.says!r}"
    assert found[0].line.count("; ") <= 1, f"{where}expected at most two clauses"


def check_page(rule: Rule) -> None:
    """Raise AssertionError unless the page of a rule is whole: a title, and every section with something in it."""
    assert rule.title, f"{rule.name} has no page: the docstring of its module"
    missing = [section for section in SECTIONS if not rule.sections.get(section)]
    assert not missing, f"the page of {rule.name} lacks {', '.join(missing)}"
    unwritten = [line.strip() for line in rule.doc.splitlines() if UNWRITTEN in line]
    assert not unwritten, f"the page of {rule.name} is not written yet: {unwritten[0]}"


def run_cases(rule: Rule, known: Iterable[Rule] = ()) -> None:
    """Run every case of a rule; a rule needs at least one good and one bad case."""
    assert any(case.bad for case in rule.cases), f"{rule.name} has no bad case"
    assert not all(case.bad for case in rule.cases), f"{rule.name} has no good case"
    for case in rule.cases:
        check_case(rule, case, known)
