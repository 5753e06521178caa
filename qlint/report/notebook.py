"""The report in a notebook: an overview of each model, then its findings, folded by backend."""

from __future__ import annotations

from html import escape
from itertools import groupby

from qlint.lint.finding import Finding
from qlint.report.result import Report, Result
from qlint.report.text import FORMATS, count, dragged, notes, placed, share

# Works on light and dark pages: colours for what matters, everything else inherits.
STYLE = """<style>
.qlint { font-size: 13px; line-height: 1.45; max-width: 72em }
.qlint table { border-collapse: collapse; font-size: inherit; margin: .3em 0 .6em }
.qlint td { border: 0; text-align: left; vertical-align: top; padding: .25em 1em .25em 0; background: none; white-space: normal }
.qlint td:first-child { min-width: 5em }
.qlint summary { cursor: pointer; font-weight: 600; margin: .3em 0 }
.qlint .bar { display: inline-block; width: 12em; height: .7em; border-radius: 2px; background: #8884; overflow: hidden }
.qlint .bar i { display: block; height: 100%; background: #2da44e }
.qlint .error { color: #d1242f; font-weight: 600 } .qlint .warning { color: #bf8700; font-weight: 600 } .qlint .info { color: #0a7ea4 }
.qlint .dim { opacity: .65 }
.qlint code { background: none; padding: 0; color: inherit }
</style>"""


def table(report: Report) -> str:
    """The whole report as one HTML fragment."""
    models = [_model(name, list(results)) for name, results in groupby(report.results, key=lambda result: result.model)]
    failures = [
        f'<p><span class="error">not checked</span> <code>{escape(e.model)}</code> {escape(e.message)} <span class="dim">{escape(e.hint)}</span></p>'
        for e in report.errors
    ]
    return f'{STYLE}<div class="qlint">{"".join(models + failures)}</div>'


def _model(name: str, results: list[Result]) -> str:
    first = results[0]
    facts = " · ".join([FORMATS.get(first.format, first.format), count(first.summary.ops, "op"), escape(first.summary.quantization)])
    rows = "".join(_overview(result) for result in results if result.outcome is not None)
    return f"<p><b>{escape(name)}</b> · {facts}</p><table>{rows}</table>" + "".join(_findings(result) for result in results if result.findings)


def _overview(result: Result) -> str:
    part = share(result.summary)
    if result.outcome == "refused":
        told = f'<td colspan="3"><span class="error">refuses the model</span> {escape("; ".join(result.reasons[:2]))}</td>'
    elif part is None:
        told = f'<td colspan="3">{placed(result.summary) or "no ops to place"}</td>'
    else:
        percent, of = part
        told = f'<td><span class="bar"><i style="width:{percent}%"></i></span></td><td>{percent} % of {of} in integer</td><td>{placed(result.summary)}</td>'
    return f"<tr><td><b>{escape(result.target)}</b></td>{told}</tr>"


def _findings(result: Result) -> str:
    counts = result.summary.findings
    totals = ", ".join(count(n, noun) for n, noun in ((counts.error, "error"), (counts.warning, "warning"), (counts.info, "note")) if n)
    rows = "".join(_finding(finding) for finding in result.findings)
    return f"<details open><summary>{escape(result.target or 'the model itself')}: {totals}</summary><table>{rows}</table></details>"


def _finding(finding: Finding) -> str:
    drags = f'<br><span class="dim" title="{escape(", ".join(finding.drags))}">{escape(dragged(finding))}</span>' if finding.drags else ""
    sites = escape(", ".join(dict.fromkeys(site.op for site in finding.sites)))
    return (
        f'<tr><td class="{finding.severity}">{finding.severity}</td><td><b>{escape(finding.rule)}</b> {escape(finding.code)} · '
        f'<span title="{sites}">{escape(finding.subject)}</span><br>{escape(finding.message)}{drags}'
        f'<br><span class="dim">{escape(" · ".join(notes(finding)))}</span></td></tr>'
    )
