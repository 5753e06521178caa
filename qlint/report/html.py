"""A small table for notebooks."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qlint.report.result import Report


def table(report: Report) -> str:
    """The findings of a report as HTML, one block per model and backend."""
    blocks = []
    for result in report.results:
        shares = ", ".join(f"{result.summary[name]} {name}" for name in ("integer", "float", "cpu", "rejected", "unknown") if result.summary[name])
        rows = "".join(
            f"<tr><td>{escape(f.severity)}</td><td>{escape(f.rule)} {escape(f.code)}</td><td>{escape(f.message)}</td></tr>" for f in result.findings
        )
        title = f"{escape(result.model)} · {escape(result.backend)}@{escape(result.revision)} · {escape(result.outcome or '')} · {shares}"
        blocks.append(f"<details open><summary><b>{title}</b></summary><table>{rows}</table></details>")
    blocks += [f"<p><b>{escape(e.model)}</b>: {escape(e.message)} {escape(e.hint)}</p>" for e in report.errors]
    return "".join(blocks)
