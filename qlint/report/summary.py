"""From a verdict and its findings to one plain result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Literal

from qlint.graph import Model, Op, Quantizer, Use
from qlint.graph.kinds import QUANTIZER_KINDS
from qlint.graph.macs import macs
from qlint.judge import Verdict
from qlint.judge.verdict import WORST
from qlint.lint.finding import Finding
from qlint.passes.insertion import scheme
from qlint.passes.trained import trained
from qlint.report.result import Counts, OpReport, Result, Summary, Where

NOT_COUNTED = (*QUANTIZER_KINDS, "constant")
PLACEMENTS = ("integer", "float", "cpu", "rejected", "unknown", "absorbed")


def summarize(name: str, model: Model, verdict: Verdict | None, findings: list[Finding]) -> Result:
    """Collect one result. Without a verdict (no backend) there are findings only."""
    ops = list(_ops(model, verdict))
    counted = [op for op in ops if op.kind not in NOT_COUNTED]
    placed = Counter[str](op.placement for op in counted)
    counts, suppressed = [finding for finding in findings if finding.suppressed is None], [finding for finding in findings if finding.suppressed is not None]
    summary = Summary(
        quantization=quantization(model), ops=len(counted), wrong=_wrong(model, verdict), **{where: placed[where] for where in PLACEMENTS},
        integer_macs=_integer_macs(model, verdict), findings=Counts.of(counts),
    )  # fmt: skip
    profile = verdict.profile if verdict is not None else None
    result = Result(
        model=name, format=model.format, backend=profile.id if profile else "", revision=profile.target_name if profile else "",
        outcome=verdict.outcome if verdict is not None else None, reasons=list(_reasons(verdict)),
        summary=summary, ops=ops, findings=counts, suppressed=suppressed, notes=list(dict.fromkeys(model.notes)),
    )  # fmt: skip
    result._canonical, result._verdict = model, verdict
    return result


def quantization(model: Model) -> str:
    """In a few words: `W8 per-channel, A8 per-tensor`, `LSQ, W4 per-tensor, A4 per-tensor`, `W4 per-tensor DoReFa, A4 per-tensor PACT`.

    The commonest granularity goes first. An algorithm that is the same for weights and activations is named once. Where quantizers
    stand around adds and concats comes last, if they all stand in the same way: `insertion scheme 2`.
    """
    grids: dict[str, Counter[tuple[str, str]]] = {"W": Counter(), "A": Counter()}
    for use, quantizer in model.quantizers():
        if quantizer.storage not in ("int32", "int64"):  # a bias
            how = "dynamic" if quantizer.dynamic else f"per-{quantizer.granularity}"
            grids["W" if _weight(use) else "A"][(_width(quantizer), how)] += 1
    algorithms: dict[str, Counter[str]] = {"W": Counter(), "A": Counter()}
    for one in trained(model):
        algorithms["W" if _weight(one.use) else "A"][one.algorithm] += 1
    by = {letter: "/".join(name for name, _ in counts.most_common()) for letter, counts in algorithms.items()}
    same = by["W"] if by["W"] == by["A"] else ""
    words = [same] if same else []
    for letter, counts in grids.items():
        widths = sorted({width for width, _ in counts}, key=lambda width: (len(width), width))
        granularities = dict.fromkeys(granularity for (_, granularity), _ in counts.most_common())
        own = "" if same else by[letter]
        if counts or own:
            words.append(" ".join(filter(None, (f"{letter}{'/'.join(widths)}", "/".join(granularities), own))))
    if placed := scheme(model):
        words.append(placed)
    halves = sorted({dtype for op in model.ops if "w" in op.uses and (dtype := _stored(op.uses["w"])) in ("float16", "bfloat16")}) if not words else ()
    return ", ".join(words) if words else f"no quantizers, {'/'.join(halves)} weights" if halves else "no quantizers"


def _stored(use: Use) -> str:
    """The type of a constant as the file holds it, in front of a cast that widens it."""
    made = use.tensor.producer
    tensor = made.uses["x"].tensor if made is not None and made.kind == "cast" and "x" in made.uses else use.tensor
    return tensor.dtype if tensor.constant else ""


def _weight(use: Use) -> bool:
    """A constant, or what ops compute from constants alone."""
    made = use.tensor.producer
    return use.tensor.constant or (made is not None and made.role == "constant")


def _width(quantizer: Quantizer) -> str:
    """In bits, if that says it all; `?` for a grid that the file does not tell."""
    if quantizer.grid in ("affine", "bipolar"):
        return str(quantizer.bits or "?")
    return f" {quantizer.storage}" if quantizer.grid == "float" else f"{quantizer.bits or '?'} {quantizer.grid}"


def _reasons(verdict: Verdict | None) -> Iterator[str]:
    if verdict is None:
        return
    for refusal in verdict.refusals:
        where = f"{refusal.op.label}: " if refusal.op is not None else ""
        yield f"{where}{refusal.because}" + (f" ({refusal.found})" if refusal.found else "")
    for placement in verdict.placements.values():
        if placement.where == "rejected" and not verdict.refusals:
            yield f"{placement.op.label}: the backend rejects this {placement.op.kind}"


def _nodes(model: Model) -> Iterator[tuple[Op, Op | None]]:
    """Every node of the file with the op made of it, those in control-flow bodies after the op that holds them."""
    canonical = {op.index: op for op in model.ops}
    for node in model.nodes:
        op = canonical.get(node.index)
        yield node, op
        for body in op.bodies.values() if op is not None else ():
            yield from _nodes(body)


def _ops(model: Model, verdict: Verdict | None) -> Iterator[OpReport]:
    return (_one(node, op, verdict) for node, op in _nodes(model))


def _one(node: Op, op: Op | None, verdict: Verdict | None) -> OpReport:
    placement: Where | Literal[""] = "absorbed" if verdict is not None else ""
    kernel = basis = ""
    if op is not None and verdict is not None:
        taken = min((verdict.of(part) for part in _parts(op)), key=lambda placed: WORST.index(placed.where))
        placement, kernel, basis = "rejected" if verdict.refusals else taken.where, taken.kernel, taken.basis
    elif node.dialect and verdict is not None and verdict.refusals:
        placement = "rejected"
    return OpReport(node.label, [tensor.name for tensor in node.outputs], node.kind, node.native, placement, kernel, basis)


def _parts(op: Op) -> Iterator[Op]:
    """An operator of the file, and what is fused into it."""
    yield op
    around = [use.tensor.producer for use in op.uses.values()] + [use.op for tensor in op.outputs[:1] for use in tensor.uses]
    for other in around:
        if other is not None and other.fused and _host(other) is op:
            yield from _parts(other)


def _wrong(model: Model, verdict: Verdict | None) -> int:
    """Operators of the file that run in integer with other numbers, in one of their parts at least."""
    if verdict is None or verdict.outcome == "refused":
        return 0
    wrong = {id(m.op) for m in verdict.mismatches if m.consequence == "wrong" and verdict.where(m.op) == "integer"}
    return sum(node.kind not in NOT_COUNTED and op is not None and any(id(part) in wrong for part in _parts(op)) for node, op in _nodes(model))


def _host(op: Op) -> Op | None:
    """What an op is fused into: the operator in front, after which it is named (an activation, a bias), or the one behind that it prepares an input of."""
    made = next((use.tensor.producer for use in op.uses.values()), None)
    if made is not None and op.name.startswith(made.name):
        return made
    return next((use.op for tensor in op.outputs for use in tensor.uses if use.op is not None and use.op.native == op.native), None)


def _integer_macs(model: Model, verdict: Verdict | None) -> float | None:
    """Share of the multiply-accumulates that run in integer; None if refused, or a shape is unknown."""
    if verdict is None or verdict.outcome == "refused":
        return None
    total = integer = 0
    for op in model.walk():
        count = macs(op)
        if count is None:
            return None
        total += count
        integer += count if verdict.where(op) in ("integer", "absorbed") else 0
    return round(integer / total, 6) if total else None
