"""One line a finding, for grep: `path: backend: severity: sites: message [name CODE]`."""

from __future__ import annotations

from collections.abc import Iterator

from qlint.report.fixed import Fixed
from qlint.report.result import Report, Result


def render(report: Report) -> str:
    """Nothing is said about a model without findings, except that a backend refuses it."""
    fixes = (f"{fixed.model}: {line}\n" for fixed in report.fixes for line in _fixes(fixed))
    return "".join((*fixes, *(f"{result.model}: {line}\n" for result in report.results for line in _lines(result))))


def _fixes(fixed: Fixed) -> Iterator[str]:
    done = "would fix" if fixed.diff else f"fixed in {fixed.output}"
    for change in fixed.changes:
        yield f"{done}: {', '.join(change.sites) or 'the model'}: {change.text} ({change.applicability})" + (f" [{change.rule} {change.code}]" if change.rule else "")
    for refused in fixed.refused:
        yield f"not fixed: {', '.join(refused.sites)}: {refused.why}" + (f" [{refused.rule} {refused.code}]" if refused.rule else "")


def _lines(result: Result) -> Iterator[str]:
    backend = f"{result.target}: " if result.backend else ""
    explained = any(finding.consequence == "refused" for finding in result.findings)
    if result.outcome == "refused" and not explained:
        yield f"{backend}refused: {'; '.join(result.reasons[:3])}"
    for finding in result.findings:
        yield f"{backend}{finding.severity}: {finding.line}"
