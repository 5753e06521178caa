"""The outcome of a check as plain data: what every report prints, and the JSON contract.

These models are the contract: `qlint schema` prints the JSON Schema made from them. Fields may be added
without notice; `schema_version` grows when one is renamed, removed or changes its meaning.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, PrivateAttr

from qlint.graph import Model
from qlint.judge import Verdict
from qlint.lint.baseline import Entry
from qlint.lint.finding import SEVERITIES, Finding, Severity
from qlint.report.fixed import Fixed
from qlint.version import __version__

if TYPE_CHECKING:
    import networkx
    import pandas
    from matplotlib.figure import Figure

    from qlint.report.frames import Table
    from qlint.report.plot import What

SCHEMA_VERSION: Literal[1] = 1
Share = float  # 0 to 1

Where = Literal["integer", "float", "cpu", "rejected", "unknown", "absorbed"]


class Contract(BaseModel):
    """What programs read: plain data, as JSON and with a schema."""

    model_config = ConfigDict(ser_json_inf_nan="strings", json_schema_serialization_defaults_required=True, defer_build=True)

    def to_json(self, indent: int | None = 2) -> str:
        """As the JSON contract has it; the same results are the same bytes."""
        return self.model_dump_json(indent=indent, fallback=str)

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract as Python data."""
        plain: dict[str, Any] = json.loads(self.to_json())
        return plain

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """JSON Schema (2020-12) of `to_json`."""
        schema = cls.model_json_schema(mode="serialization")
        for definition in schema["$defs"].values():
            definition.pop("additionalProperties", None)  # a later version may add fields
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


@dataclass(slots=True)
class OpReport:
    """One node of the file and where it runs. Without a backend `placement`, `kernel` and `basis` are empty."""

    name: str  # in the file; its first output if it has none
    outputs: list[str]  # tensor names as in the file
    kind: str
    native: str
    placement: Where | Literal[""]
    kernel: str  # of the profile; empty if none covers the op
    basis: str  # the weakest evidence that the placement rests on


class Counts(Contract):
    """Findings by severity."""

    error: int
    warning: int
    info: int

    @classmethod
    def of(cls, findings: Iterable[Finding]) -> Counts:
        """How many there are."""
        counts = Counter[str](finding.severity for finding in findings)
        return cls(**{severity: counts[severity] for severity in SEVERITIES})


class Summary(Contract):
    """Counts over the ops that do work on data: quantizers and constants are left out."""

    quantization: str  # in a few words: "W8 per-channel, A8 per-tensor"
    ops: int
    integer: int
    wrong: int  # of those in integer: with other numbers than were trained or simulated
    float: int
    cpu: int
    rejected: int
    unknown: int
    absorbed: int
    integer_macs: Share | None  # of the multiply-accumulates; None if refused or a shape is unknown
    findings: Counts


class Result(Contract):
    """One model on one backend; `backend`, `revision` and `outcome` are empty if none was named."""

    model: str
    format: str
    backend: str
    revision: str  # the target or revision in force
    outcome: Literal["runs", "refused"] | None
    reasons: list[str]  # of a refusal
    summary: Summary
    ops: list[OpReport]
    findings: list[Finding]
    notes: list[str] = []  # what the reader assumed, left out or could not understand
    suppressed: list[Finding] = []  # findings that do not count: each one says by what, and why
    _canonical: Model | None = PrivateAttr(None)
    _verdict: Verdict | None = PrivateAttr(None)
    _again: Callable[[], tuple[Model, Verdict | None]] | None = PrivateAttr(None)

    @property
    def target(self) -> str:
        """`qnn-htp@v73`, as `--backend` takes it."""
        return f"{self.backend}@{self.revision}" if self.revision else self.backend

    @property
    def canonical(self) -> Model | None:
        """The graph that was judged; None of a result that was read back from JSON.

        Graphs stay where they were judged: of a result that another process or the cache brought, the file is read once more.
        """
        if self._canonical is None and self._again is not None:
            self._canonical, self._verdict = self._again()
        return self._canonical

    @property
    def verdict(self) -> Verdict | None:
        """The cover with every mismatch; None if no backend was named."""
        return self._verdict if self.canonical is not None else None

    @property
    def nx(self) -> networkx.MultiDiGraph[Any]:
        """The graph as networkx knows it (`Model.nx`), with `placement`, `kernel` and `findings` (names of rules) at each operator.

        Raises:
            QlintError: the report was read back from JSON, and its graph is gone.
        """
        from qlint.report.frames import graph_of

        graph, verdict = graph_of(self).nx.copy(), self.verdict
        for _, node in graph.nodes(data=True):
            if (op := node.get("op")) is not None:
                told = verdict.of(op) if verdict is not None else None
                rules = dict.fromkeys(finding.rule for finding in self.findings if any(site.op == op.label for site in finding.sites) or op.label in finding.drags)
                node |= {"placement": told.where if told is not None else "", "kernel": told.kernel if told is not None else "", "findings": list(rules)}
        return graph

    def with_findings(self, more: Sequence[Finding]) -> None:
        """Take in findings that are known only once all models have been looked at, in their order."""
        counts = [finding for finding in more if finding.suppressed is None]
        self.suppressed += [finding for finding in more if finding.suppressed is not None]
        self.findings = sorted([*self.findings, *counts], key=lambda finding: (SEVERITIES.index(finding.severity), finding.code))
        self.summary.findings = Counts.of(self.findings)


class Failure(Contract):
    """A model, backend or rule that could not be handled, and what to do."""

    model: str
    message: str
    hint: str = ""


class Report(Contract):
    """All results of one run: one for each model and backend, in the order in which they were named."""

    schema_version: Literal[1] = SCHEMA_VERSION
    qlint: str = __version__
    results: list[Result] = []
    errors: list[Failure] = []
    fixes: list[Fixed] = []  # with --fix or --diff only: one for each model; the results are those of the fixed ones
    _gone: list[Entry] = PrivateAttr(default_factory=list)

    def to_json(self, indent: int | None = 2) -> str:
        """As the JSON contract has it; the same results are the same bytes."""
        return self.model_dump_json(indent=indent, fallback=str, exclude=None if self.fixes else {"fixes"})

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """JSON Schema (2020-12) of `to_json`."""
        schema = super().json_schema()
        schema["required"].remove("fixes")
        return schema

    @property
    def gone(self) -> list[Entry]:
        """What the baseline has, and is no longer there."""
        return self._gone

    @property
    def findings(self) -> list[Finding]:
        """The findings of all results."""
        return [finding for result in self.results for finding in result.findings]

    @property
    def suppressed(self) -> list[Finding]:
        """The findings of all results that do not count."""
        return [finding for result in self.results for finding in result.suppressed]

    @property
    def ops(self) -> list[OpReport]:
        """The nodes of all results."""
        return [op for result in self.results for op in result.ops]

    def exit_code(self, fail_on: Severity = "warning", *, fail_on_unknown: bool = False) -> int:
        """0 clean, 1 findings at or above `fail_on`, 2 something could not be done."""
        if self.errors:
            return 2
        unknown = fail_on_unknown and any(result.summary.unknown for result in self.results)
        return int(unknown or any(finding.at_least(fail_on) for finding in self.findings))

    def raise_for(self, severity: Severity = "error") -> None:
        """Stop a script that must not go on with this model.

        Raises:
            QlintError: something could not be checked, or there is a finding of this severity or worse.
        """
        from qlint.errors import QlintError

        for error in self.errors:
            raise QlintError(error.message, subject=error.model, hint=error.hint)
        worst = [finding for finding in self.findings if finding.at_least(severity)]
        if worst:
            more = f" (and {len(worst) - 1} more)" if worst[1:] else ""
            raise QlintError(worst[0].line + more, hint=f"`qlint rule {worst[0].code}` tells more")

    @property
    def nx(self) -> networkx.MultiDiGraph[Any]:
        """The graph of the only result: see `Result.nx`.

        Raises:
            QlintError: there are several results or none, or the report was read back from JSON.
        """
        from qlint.errors import QlintError

        if len(self.results) != 1:
            raise QlintError(f"{len(self.results)} results have a graph each", hint="report.results[0].nx is that of the first")
        return self.results[0].nx

    def to_pandas(self, table: Table = "ops") -> pandas.DataFrame:
        """A table: `ops` (a row for each operator and backend), `findings` (a row for each place), or `quantizers` (a row for each use).

        Raises:
            QlintError: pandas is not installed (`pip install "qlint-nn[notebook]"`), or there is no such table.
        """
        from qlint.report.frames import frame

        return frame(self, table)

    def plot(self, what: What = "placement") -> Figure:
        """A matplotlib figure: `placement` (over the graph, once for each backend), `scales`, or `ranges` (of activations).

        Raises:
            QlintError: matplotlib is not installed (`pip install "qlint-nn[notebook]"`), there are several models, or there is nothing to plot.
        """
        from qlint.report.plot import plot

        return plot(self, what)

    def __repr__(self) -> str:
        return f"Report({len(self.results)} results, {len(self.findings)} findings, {len(self.errors)} errors)"

    def __str__(self) -> str:
        from qlint.report.text import render

        return render(self)

    def to_html(self) -> str:
        """The report as a page that opens offline: the graph, the findings, the quantizers.

        Raises:
            QlintError: igraph is not installed (`pip install "qlint-nn[html]"`), or the report was read back from JSON.
        """
        from qlint.report.html import render

        return render(self)

    def _repr_html_(self) -> str:
        from qlint.report.notebook import table

        return table(self)
