"""One line a finding, for grep: `path: backend: severity: sites: message [name CODE]`."""

from __future__ import annotations

from collections.abc import Iterator

from qlint.report.result import Report, Result


def render(report: Report) -> str:
    """Nothing is said about a model without findings, except that a backend refuses it."""
    return "".join(f"{result.model}: {line}\n" for result in report.results for line in _lines(result))


def _lines(result: Result) -> Iterator[str]:
    backend = f"{result.target}: " if result.backend else ""
    explained = any(finding.consequence == "refused" for finding in result.findings)
    if result.outcome == "refused" and not explained:
        yield f"{backend}refused: {'; '.join(result.reasons[:3])}"
    for finding in result.findings:
        yield f"{backend}{finding.severity}: {finding.line}"
