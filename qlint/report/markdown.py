"""Markdown for job summaries, comments on pull requests, and pages (GitHub Flavored Markdown).

Names come from the model file. What they could mean to a Markdown reader is taken from them: markup, HTML, mentions,
links.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from itertools import groupby

from qlint.lint.finding import Finding
from qlint.report.place import one_line
from qlint.report.result import Report, Result
from qlint.report.text import FORMATS, count, dragged, notes, placed, share

MARKS = {"error": "🔴", "warning": "🟡", "info": "🔵"}
LIMIT = 1000 * 1024  # bytes; GitHub drops a job summary of more than 1 MiB altogether
# Underscores inside words, and @ inside `qnn-htp@v73`, are only themselves.
_SPECIAL = re.compile(r"([\\`*{}\[\]<>|~#$]|&(?=#?\w+;)|(?<!\w)_|_(?!\w))")
_FIRST = re.compile(r"^(\d*)([-+=.)])")  # would begin a list, or make a heading of the line before
_LIVE = re.compile(r"(?<!\w)@(?=\w)|://|www\.", re.IGNORECASE)


def render(report: Report) -> str:
    """A section for each model: a table of the backends, then the findings of each."""
    text = "\n".join(_lines(report)) + "\n"
    if len(text.encode()) <= LIMIT:
        return text
    kept = text.encode()[:LIMIT].decode(errors="ignore").rpartition("\n- ")[0]
    return f"{kept}\n\n… and more: this report is longer than a job summary may be.\n"


def plain(text: str) -> str:
    """Text that a Markdown reader shows as it is."""
    escaped = _FIRST.sub(r"\1\\\2", _SPECIAL.sub(r"\\\1", one_line(text)))
    return _LIVE.sub(lambda live: f"{live[0][:1]}<!-- -->{live[0][1:]}", escaped)


def code(text: str) -> str:
    """Text as a code span, whatever backticks it has."""
    text = one_line(text) or " "
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _cell(text: str) -> str:
    return code(text).replace("|", "\\|")


def _lines(report: Report) -> Iterator[str]:
    yield "## qlint"
    for error in report.errors:
        yield f"\n> **not checked** {code(error.model)}: {plain(error.message)}" + (f" ({plain(error.hint)})" if error.hint else "")
    for _, results in groupby(report.results, key=lambda result: result.model):
        yield from _model(list(results))


def _model(results: list[Result]) -> Iterator[str]:
    first = results[0]
    yield f"\n### {code(first.model)}\n"
    yield " · ".join([FORMATS.get(first.format, first.format), count(first.summary.ops, "op"), plain(first.summary.quantization)])
    if first.outcome is not None:
        yield "\n| backend | in integer | where the operators run | findings |\n|---|---|---|---|"
        for result in results:
            yield f"| {_cell(result.target)} | {_integer(result)} | {placed(result.summary)} | {_totals(result)} |"
    for result in results:
        if result.findings:
            about = f"<code>{escape(one_line(result.target))}</code>: " if result.target else ""
            yield f"\n<details{' open' if len(results) == 1 else ''}><summary>{about}{_totals(result)}</summary>\n"
            for finding in result.findings:
                yield from _finding(finding)
            yield "\n</details>"


def _integer(result: Result) -> str:
    if result.outcome == "refused":
        return "**refuses the model**"
    part = share(result.summary)
    return f"{part[0]} % of {part[1]}" if part is not None else "–"


def _totals(result: Result) -> str:
    counts = result.summary.findings
    named = ((counts.error, "error"), (counts.warning, "warning"), (counts.info, "note"))
    quiet = [f"{len(result.suppressed)} accepted"] if result.suppressed else []
    return ", ".join([count(n, noun) for n, noun in named if n] + quiet) or "none"


def _finding(finding: Finding) -> Iterator[str]:
    yield f"- {MARKS[finding.severity]} {finding.severity} **{finding.rule}** {finding.code} · {plain(finding.subject)}\\"
    told = [plain(finding.message), *(plain(part) for part in ([dragged(finding)] if finding.drags else []) + notes(finding))]
    yield "\\\n".join(f"  {part}" for part in told)
