"""The outcome of a check as plain data: what every report prints, and the JSON contract."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from qlint.graph import Model, Op
from qlint.graph.macs import macs
from qlint.judge import Verdict
from qlint.lint.finding import SEVERITIES, Finding, Severity

SCHEMA_VERSION = 1
NOT_COUNTED = ("quantize", "dequantize", "constant")
PLACEMENTS = ("integer", "float", "cpu", "rejected", "unknown", "absorbed")


@dataclass(frozen=True, slots=True)
class OpReport:
    """One node of the file and where it runs."""

    name: str
    outputs: list[str]
    kind: str
    native: str
    placement: str
    kernel: str
    basis: str


@dataclass
class Result:
    """One model on one backend."""

    model: str
    format: str
    backend: str
    revision: str
    outcome: Literal["runs", "refused"] | None
    reasons: list[str]
    summary: dict[str, Any]
    ops: list[OpReport]
    findings: list[Finding]
    canonical: Model = field(repr=False)
    verdict: Verdict | None = field(repr=False, default=None)

    def to_dict(self) -> dict[str, Any]:
        """As the JSON contract has it."""
        return {
            "model": self.model, "format": self.format, "backend": self.backend, "revision": self.revision,
            "outcome": self.outcome, "reasons": self.reasons, "summary": self.summary,
            "ops": [asdict(op) for op in self.ops], "findings": [_plain(asdict(f)) for f in self.findings],
        }  # fmt: skip


@dataclass(frozen=True)
class Failure:
    """A model, backend or rule that could not be handled."""

    model: str
    message: str
    hint: str = ""


@dataclass
class Report:
    """All results of one run."""

    results: list[Result] = field(default_factory=list)
    errors: list[Failure] = field(default_factory=list)

    @property
    def findings(self) -> list[Finding]:
        return [finding for result in self.results for finding in result.findings]

    @property
    def ops(self) -> list[OpReport]:
        return [op for result in self.results for op in result.ops]

    def exit_code(self, fail_on: Severity = "warning", *, fail_on_unknown: bool = False) -> int:
        """0 clean, 1 findings at or above `fail_on`, 2 something could not be done."""
        if self.errors:
            return 2
        unknown = fail_on_unknown and any(op.placement == "unknown" for op in self.ops)
        return int(unknown or any(finding.at_least(fail_on) for finding in self.findings))

    def raise_for(self, severity: Severity = "error") -> None:
        """Raise `QlintError` if there is a finding of this severity or worse, or anything failed."""
        from qlint.errors import QlintError

        if self.errors:
            raise QlintError(self.errors[0].message, subject=self.errors[0].model, hint=self.errors[0].hint)
        worst = [f for f in self.findings if f.at_least(severity)]
        if worst:
            raise QlintError(f"{worst[0].message} [{worst[0].rule} {worst[0].code}]" + (f" and {len(worst) - 1} more" if worst[1:] else ""))

    def to_dict(self) -> dict[str, Any]:
        from qlint.version import __version__

        return {
            "schema_version": SCHEMA_VERSION, "qlint": __version__,
            "results": [result.to_dict() for result in self.results], "errors": [asdict(e) for e in self.errors],
        }  # fmt: skip

    def to_json(self, indent: int | None = 2) -> str:
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)

    def _repr_html_(self) -> str:
        from qlint.report.html import table

        return table(self)


def summarize(path: str, model: Model, verdict: Verdict | None, findings: list[Finding]) -> Result:
    """Collect one result. Without a verdict (no backend) there are findings only."""
    ops = list(_ops(model, verdict))
    counted = [op for op in ops if op.kind not in NOT_COUNTED]
    placed = Counter(op.placement for op in counted)
    severities = Counter(finding.severity for finding in findings)
    refused = verdict is not None and verdict.outcome == "refused"
    summary: dict[str, Any] = {
        "ops": len(counted), **{name: placed[name] for name in PLACEMENTS},
        "integer_macs": None if verdict is None or refused else _integer_macs(model, verdict),
        "findings": {severity: severities[severity] for severity in SEVERITIES},
    }  # fmt: skip
    profile = verdict.profile if verdict is not None else None
    return Result(
        path, model.format, profile.id if profile else "", profile.target_name if profile else "",
        verdict.outcome if verdict is not None else None, list(_reasons(verdict)), summary, ops, findings, model, verdict,
    )  # fmt: skip


def _reasons(verdict: Verdict | None) -> Iterator[str]:
    if verdict is None:
        return
    for refusal in verdict.refusals:
        where = f"{refusal.op.label}: " if refusal.op is not None else ""
        yield f"{where}{refusal.because}" + (f" ({refusal.found})" if refusal.found else "")
    for placement in verdict.placements.values():
        if placement.where == "rejected" and not verdict.refusals:
            yield f"{placement.op.label}: the backend rejects this {placement.op.kind}"


def _ops(model: Model, verdict: Verdict | None) -> Iterator[OpReport]:
    """Every node of the file, those in control-flow bodies after the op that holds them."""
    canonical = {op.index: op for op in model.ops}
    for node in model.nodes:
        op = canonical.get(node.index)
        yield _one(node, op, verdict)
        for body in op.bodies.values() if op is not None else ():
            yield from _ops(body, verdict)


def _one(node: Op, op: Op | None, verdict: Verdict | None) -> OpReport:
    outputs = [tensor.name for tensor in node.outputs]
    if op is None or verdict is None:
        return OpReport(node.label, outputs, node.kind, node.native, "absorbed" if verdict else "", "", "")
    placement = verdict.of(op)
    where = "rejected" if verdict.refusals and verdict.outcome == "refused" else placement.where
    return OpReport(node.label, outputs, node.kind, node.native, where, placement.kernel, placement.basis)


def _integer_macs(model: Model, verdict: Verdict) -> float | None:
    """Share of the multiply-accumulates that run in integer; None if a shape is unknown."""
    total = integer = 0
    for op in model.walk():
        count = macs(op)
        if count is None:
            return None
        total += count
        integer += count if verdict.where(op) in ("integer", "absorbed") else 0
    return round(integer / total, 6) if total else None


def _plain(value: Any) -> Any:
    """JSON has no infinities and no tuples."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
