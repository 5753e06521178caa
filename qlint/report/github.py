"""Annotations of GitHub Actions: a workflow command for each finding (GitHub Docs, Workflow commands).

A step shows ten annotations of each level at most, so the worst findings of all models go first. The job's summary is
the Markdown report.
"""

from __future__ import annotations

from qlint.lint.finding import SEVERITIES, Finding
from qlint.report.place import backend, one_line, path
from qlint.report.result import Report, Result
from qlint.report.text import notes

LEVELS = {"error": "error", "warning": "warning", "info": "notice"}
# A value ends a command at a line break, and a property at a colon or comma.
DATA = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
PROPERTY = DATA | str.maketrans({":": "%3A", ",": "%2C"})


def render(report: Report) -> str:
    """One command a line: what could not be checked, then the findings, worst first."""
    failures = [_command("error", error.model, "not checked", f"{error.message}\n{error.hint}".strip()) for error in report.errors]
    found = [(result, finding) for result in report.results for finding in result.findings]
    found.sort(key=lambda pair: SEVERITIES.index(pair[1].severity))
    return "".join(f"{line}\n" for line in (*failures, *(_annotation(*pair) for pair in found)))


def _annotation(result: Result, finding: Finding) -> str:
    title = f"{finding.rule} {finding.code} ({backend(result)})"
    message = "\n".join(one_line(line) for line in (f"{finding.subject}: {finding.message}", *notes(finding)))
    return _command(LEVELS[finding.severity], result.model, title, message)


def _command(level: str, model: str, title: str, message: str) -> str:
    """A model is binary: it has no line but its first."""
    place = f"file={one_line(path(model)).translate(PROPERTY)},line=1," if model else ""
    return f"::{level} {place}title={one_line(title).translate(PROPERTY)}::{message.translate(DATA)}"
