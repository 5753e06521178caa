"""The report as tables for pandas: operators, findings, quantizers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from qlint.errors import QlintError
from qlint.graph import Model
from qlint.graph.macs import macs
from qlint.lint.words import value
from qlint.report.result import Report, Result

if TYPE_CHECKING:
    import pandas

Table = Literal["ops", "findings", "quantizers"]
Row = dict[str, Any]


def frame(report: Report, table: Table) -> pandas.DataFrame:
    """One of the tables.

    Raises:
        QlintError: pandas is not installed, there is no such table, or the graph is not in the report (quantizers only).
    """
    try:
        import pandas
    except ImportError as error:
        raise QlintError("to_pandas needs pandas", hint='pip install "qlint-nn[notebook]"') from error
    if table not in TABLES:
        raise QlintError(f"no table {table!r}", hint=f"there are {', '.join(TABLES)}")
    columns, rows = TABLES[table]
    return pandas.DataFrame(rows(report), columns=columns)


def _ops(report: Report) -> Iterator[Row]:
    """One row for each node of a file and each backend."""
    for result in report.results:
        found: dict[str, dict[str, None]] = {}
        for finding in result.findings:
            for name in (*(site.op for site in finding.sites), *finding.drags):
                found.setdefault(name, {})[finding.rule] = None
        counts = {op.label: macs(op) for op in result.canonical.walk()} if result.canonical is not None else {}
        for op in result.ops:
            yield {
                "model": result.model, "backend": result.target, "op": op.name, "kind": op.kind, "native": op.native, "placement": op.placement,
                "kernel": op.kernel, "basis": op.basis, "macs": counts.get(op.name), "findings": list(found.get(op.name, ())),
            }  # fmt: skip


def _findings(report: Report) -> Iterator[Row]:
    """One row for each place of each finding; a finding about a whole model has one row without an op."""
    for result in report.results:
        for finding in (*result.findings, *result.suppressed):
            told = {
                "model": result.model, "backend": result.target, "rule": finding.rule, "code": finding.code, "severity": finding.severity,
                "consequence": finding.consequence, "message": finding.message, "suppressed": finding.suppressed is not None,
                "fix": finding.fix.applicability if finding.fix is not None else None,
            }  # fmt: skip
            for site in finding.sites:
                yield told | {"op": site.op, "port": site.port, "tensor": site.tensor, "found": value(site.found), "wanted": value(site.wanted)}
            if not finding.sites:
                yield told


def _quantizers(report: Report) -> Iterator[Row]:
    """One row for each quantizer in front of a use; the same whatever the backend."""
    for result in {result.model: result for result in report.results}.values():
        for use, quantizer in graph_of(result).quantizers():
            low, high = quantizer.range or (None, None)
            scales = list(quantizer.scale) if quantizer.scale is not None else []
            zeros = sorted(set(quantizer.zero_point)) if quantizer.zero_point is not None else []
            yield {
                "model": result.model, "op": use.op.label if use.op is not None else None, "port": use.role if use.op is not None else use.kind,
                "tensor": use.tensor.name, "constant": use.tensor.constant, "storage": quantizer.storage, "bits": quantizer.bits, "granularity": quantizer.granularity,
                "scales": len(scales), "scale_min": min(scales, default=None), "scale_max": max(scales, default=None),
                "zero_point": zeros[0] if len(zeros) == 1 else zeros or None, "symmetric": quantizer.symmetric, "power_of_two": quantizer.power_of_two,
                "dynamic": quantizer.dynamic, "low": low, "high": high,
            }  # fmt: skip


def graph_of(result: Result) -> Model:
    """The graph that a result was judged on.

    Raises:
        QlintError: the report was read back from JSON, and its graphs are gone.
    """
    if result.canonical is None:
        raise QlintError("the graph is not in this report", subject=result.model, hint="check the model again and ask that report")
    return result.canonical


TABLES: dict[str, tuple[list[str], Callable[[Report], Iterator[Row]]]] = {
    "ops": (["model", "backend", "op", "kind", "native", "placement", "kernel", "basis", "macs", "findings"], _ops),
    "findings": (
        ["model", "backend", "rule", "code", "severity", "consequence", "op", "port", "tensor", "found", "wanted", "message", "fix", "suppressed"], _findings,
    ),
    "quantizers": (
        [
            "model", "op", "port", "tensor", "constant", "storage", "bits", "granularity", "scales", "scale_min", "scale_max", "zero_point", "symmetric",
            "power_of_two", "dynamic", "low", "high",
        ], _quantizers,
    ),
}  # fmt: skip
