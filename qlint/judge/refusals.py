"""What makes a backend's importer say no to a whole model: dialects, opsets, unknown ops and attributes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any

from qlint.graph import TYPE_SINCE, Model, Op, Quantizer
from qlint.graph.kinds import QUANTIZER_KINDS
from qlint.judge.kernels import Requirements, required
from qlint.judge.pattern import Chain, kinds_of
from qlint.judge.situations import Situations
from qlint.judge.verdict import RefusalReason
from qlint.profile.schema import Bounds, Profile, When


def refusals(nodes: Nodes, profile: Profile) -> Iterator[RefusalReason]:
    """Each refusal of the profile that some node of the file meets, with the first such node.

    Of a file that has to be converted first, how its own format spells things is not looked at: the converter writes that anew.
    """
    for refusal in profile.refuses:
        if nodes.situations.prepared.converted and not refusal.when.model_fields_set.isdisjoint(_SPELLING):
            continue
        met = nodes.first(refusal.when)
        if met is not None and not nodes.some(refusal.unless):
            op, found = met
            evidence = tuple(profile.evidence[name] for name in refusal.evidence)
            yield RefusalReason(refusal.id, refusal.because, op, found, evidence)


class Nodes:
    """The nodes of a graph, those in control-flow bodies last, and which of them meet conditions."""

    def __init__(self, model: Model, situations: Situations) -> None:
        self.model, self.situations = model, situations
        self.quantizers: dict[int, Quantizer] = {}  # by id() of the node
        for _, quantizer in model.quantizers():
            for node in (quantizer.quantize, quantizer.dequantize):
                if node is not None:
                    self.quantizers[id(node)] = quantizer

    def __iter__(self) -> Iterator[Op]:
        yield from self.model.nodes
        for op in self.model.walk():
            for body in op.bodies.values():
                yield from body.nodes

    @cached_property
    def ops(self) -> list[Op]:
        """The canonical ops, those in bodies included."""
        return list(self.model.walk())

    @cached_property
    def alike(self) -> dict[int, Op]:
        """The first of the ops that look alike from within, by their number."""
        found: dict[int, Op] = {}
        for op in self.ops:
            found.setdefault(self.situations.like(op), op)
        return found

    def meeting(self, wanted: Requirements, kinds: frozenset[str] | None) -> Iterator[Op]:
        """The ops of some kinds that meet requirements; what no number decides is settled once for all that are alike."""
        prepared, like = self.situations.prepared, self.situations.like
        settled = {number: wanted.left(Chain((op,)), prepared) for number, op in self.alike.items() if kinds is None or op.kind in kinds}
        left = {number: rest for number, rest in settled.items() if rest is not None}
        return (op for op in (self.ops if left else ()) if (rest := left.get(like(op))) is not None and rest.hold(Chain((op,)), prepared))

    def some(self, whens: tuple[When, ...]) -> bool:
        """Whether some node meets one of these."""
        return any(self.first(when) is not None for when in whens)

    def first(self, when: When) -> tuple[Op | None, str] | None:
        """The first node that meets a condition, and what was found there."""
        model, kernels = self.model, self.situations.kernels
        if when.format and model.format not in when.format:
            return None
        tests = [(name, test, wanted) for name, test in _NODE_TESTS if (wanted := getattr(when, name)) not in (None, ())]
        kinds = kinds_of("|".join(when.kinds), kernels.profile.classes) if when.kinds else None
        # Ports and guards look at canonical ops; the other tests look at every node of the file.
        ops: Iterable[Op]
        if when.ports or when.guards:
            ops = self.meeting(required(when.ports, when.guards, kernels.spaces), kinds)
        elif not tests:
            return (None, "") if kinds is None else next(((op, op.native) for op in model.walk() if op.kind in kinds), None)
        else:
            ops = self if any(test is _zero_scale for _, test, _ in tests) else self.specimens
        for op in ops:
            if kinds is not None and op.kind not in kinds:
                continue
            found = [test(op, wanted, self.quantizers.get(id(op))) for _, test, wanted in tests]
            if all(f is not None for f in found):
                return op, next((f for f in found if f), op.native) or op.native
        return None

    @cached_property
    def specimens(self) -> list[Op]:
        """The first node of each sort that tests tell apart, unless they look at numbers."""
        found: dict[object, Op] = {}
        for op in self:
            found.setdefault(self._sort(op), op)
        return list(found.values())

    def _sort(self, op: Op) -> object:
        if op.kind not in QUANTIZER_KINDS:
            return (op.kind, op.native, op.domain, op.opset, op.unknown_attrs, not op.uses)
        q, x, zero_point = self.quantizers.get(id(op)), op.uses.get("x"), op.uses.get("zero_point")
        types = (x and x.tensor.dtype, zero_point and zero_point.tensor.dtype, op.outputs[0].dtype if op.outputs else None)
        sort = (op.kind, op.native, op.domain, op.opset, op.unknown_attrs, not op.uses, types)
        if q is None or q.granularity == "tensor":
            return sort
        return (sort, q.granularity, q.axis, q.scale_shape, None if q.scale is None else len(q.scale), None if x is None else x.tensor.shape)


# Each test gives None (not met) or what it found.


def _native(op: Op, wanted: tuple[str, ...], _: Quantizer | None) -> str | None:
    return op.native if op.native in wanted else None


def _domain(op: Op, wanted: tuple[str, ...], _: Quantizer | None) -> str | None:
    return op.domain if op.domain in wanted else None


def _not_domain(op: Op, unwanted: tuple[str, ...], _: Quantizer | None) -> str | None:
    return None if op.domain in unwanted else op.native


def _unknown_attrs(op: Op, wanted: bool, _: Quantizer | None) -> str | None:
    names = [name for name in op.unknown_attrs if not name.startswith("__")]  # which ONNX keeps for tools, and lets pass
    return ", ".join(names) or "none" if bool(names) == wanted else None


def _unknown_op(op: Op, wanted: bool, _: Quantizer | None) -> str | None:
    return op.native if (op.kind == "custom" or bool(op.dialect)) == wanted else None


def _later_op(op: Op, wanted: bool, _: Quantizer | None) -> str | None:
    later = bool(op.opset) and not op.domain and not op.since and op.kind != "custom" and not op.dialect
    return f"{op.native} in opset {op.opset}" if later == wanted else None


def _not_native(op: Op, unwanted: tuple[str, ...], _: Quantizer | None) -> str | None:
    return None if op.native in unwanted else op.native


def _opset(op: Op, wanted: Bounds, _: Quantizer | None) -> str | None:
    inside = (wanted.min is None or op.opset >= wanted.min) and (wanted.max is None or op.opset <= wanted.max)
    return f"opset {op.opset}" if op.opset and inside else None


def _missing_inputs(op: Op, wanted: bool, _: Quantizer | None) -> str | None:
    return "no inputs" if (not op.uses) == wanted else None


def _per_channel_below(op: Op, opset: int, quantizer: Quantizer | None) -> str | None:
    if quantizer is None or quantizer.granularity == "tensor" or not 0 < op.opset < opset:
        return None
    return f"per-{quantizer.granularity} at opset {op.opset}"


def _zero_scale(_op: Op, _wanted: bool, quantizer: Quantizer | None) -> str | None:
    if quantizer is None or quantizer.scale is None:
        return None
    return "scale 0" if any(s == 0 for s in quantizer.scale) else None


_READ = ("float32", "float16", "bfloat16", "int32", "")  # what a QuantizeLinear takes (ONNX specification, type T1)


def _type_mismatch(op: Op, _wanted: bool, _quantizer: Quantizer | None) -> str | None:
    x, zero_point = op.uses.get("x"), op.uses.get("zero_point")
    if op.kind not in ("quantize", "dequantize") or x is None:
        return None
    given, wanted = x.tensor.dtype, zero_point.tensor.dtype if zero_point is not None else ""
    integers = op.outputs[0].dtype if op.kind == "quantize" and op.outputs else given
    if not op.domain and 0 < op.opset < TYPE_SINCE.get(integers, 0):
        return f"{integers} at opset {op.opset}"
    if op.kind == "dequantize":
        return f"{given} with a zero point of type {wanted}" if given and wanted and given != wanted else None
    return None if given in _READ else f"a tensor of type {given}"


def _scale_length(op: Op, _wanted: bool, quantizer: Quantizer | None) -> str | None:
    if quantizer is None or quantizer.granularity != "channel" or quantizer.scale is None or "x" not in op.uses:
        return None
    shape, axis = op.uses["x"].tensor.shape, quantizer.axis or 0
    size = shape[axis] if shape is not None and -len(shape) <= axis < len(shape) else None
    return f"{len(quantizer.scale)} scales for {size} channels" if isinstance(size, int) and size != len(quantizer.scale) else None


def _scale_rank(_op: Op, _wanted: bool, quantizer: Quantizer | None) -> str | None:
    if quantizer is None or quantizer.granularity != "channel" or quantizer.origin != "qdq" or len(quantizer.scale_shape) < 2:
        return None
    return f"scales of shape {list(quantizer.scale_shape)}"


_SPELLING = frozenset({"domain", "unknown_attrs", "opset", "missing_inputs", "per_channel_below_opset", "type_mismatch"})
_NODE_TESTS: tuple[tuple[str, Callable[[Op, Any, Quantizer | None], str | None]], ...] = (
    ("native", _native),
    ("not_native", _not_native),
    ("domain", _domain),
    ("not_domain", _not_domain),
    ("unknown_attrs", _unknown_attrs),
    ("unknown_op", _unknown_op),
    ("later_op", _later_op),
    ("opset", _opset),
    ("missing_inputs", _missing_inputs),
    ("per_channel_below_opset", _per_channel_below),
    ("zero_scale", _zero_scale),
    ("type_mismatch", _type_mismatch),
    ("scale_length", _scale_length),
    ("scale_rank", _scale_rank),
)
