"""One line a finding: `path: op: message [name CODE]`."""

from __future__ import annotations

from qlint.report.result import Report


def render(report: Report) -> str:
    lines = []
    for result in report.results:
        if result.outcome == "refused":
            lines.append(f"{result.model}: {result.backend}@{result.revision} refuses the model: {'; '.join(result.reasons[:3])}")
        for f in result.findings:
            more = f" (and {len(f.sites) - 1} more)" if len(f.sites) > 1 else ""
            lines.append(f"{result.model}: {f.severity}: {f.message}{more} [{f.rule} {f.code}]")
    lines += [f"{e.model}: {e.message}" + (f" ({e.hint})" if e.hint else "") for e in report.errors]
    return "\n".join(lines) + "\n" if lines else ""
