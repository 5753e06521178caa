"""The report that people read: what runs where, then the causes, worst first."""

from __future__ import annotations

from collections import Counter
from io import StringIO

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from qlint.graph import Model, Quantizer
from qlint.lint.finding import Finding
from qlint.report.result import Report, Result

STYLE = {"error": "bold red", "warning": "yellow", "info": "cyan"}
BAR = 25
SITES = 3  # named before "and n more"


def render(report: Report, *, width: int | None = None, color: bool = False, statistics: bool = False) -> str:
    """The whole report as text; with ANSI colours if `color`."""
    out = StringIO()
    console = Console(file=out, width=width or 120, force_terminal=color, no_color=not color, highlight=False, soft_wrap=False)
    seen = ""
    for result in report.results:
        if result.model != seen:
            seen = result.model
            console.print(Text(_header(result), style="bold" if color else ""), overflow="fold")
        _result(console, result)
    for error in report.errors:
        console.print(Text.assemble(("error ", STYLE["error"]), (f"{error.model}: " if error.model else "", "bold"), error.message))
        if error.hint:
            console.print(Padding(Text(f"hint: {error.hint}"), (0, 0, 0, 6)))
    if statistics and report.findings:
        for (name, code), count in sorted(Counter((f.rule, f.code) for f in report.findings).items(), key=lambda i: (-i[1], i[0])):
            console.print(f"{count:5} {name} {code}")
    console.print(_footer(report))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _header(result: Result) -> str:
    parts = [result.model, {"onnx": "ONNX"}.get(result.format, result.format), f"{result.summary['ops']} ops"]
    return " · ".join([*parts, quantization(result.canonical)])


def quantization(model: Model) -> str:
    """In a few words: `W8 per-channel, A8 per-tensor`."""
    weights: Counter[str] = Counter()
    activations: Counter[str] = Counter()
    for use, quantizer in model.quantizers():
        if quantizer.storage == "int32":
            continue
        (weights if use.tensor.constant else activations)[_grid(quantizer)] += 1
    words = [f"{letter}{grids.most_common(1)[0][0]}" for letter, grids in (("W", weights), ("A", activations)) if grids]
    return ", ".join(words) if words else "not quantized"


def _grid(quantizer: Quantizer) -> str:
    return f"{quantizer.bits} per-{quantizer.granularity}"


def _result(console: Console, result: Result) -> None:
    if result.outcome is not None:
        console.print(_bar(result))
    for reason in result.reasons[:3]:
        console.print(Padding(Text(f"refused: {reason}", style=STYLE["error"]), (0, 0, 0, 2)))
    console.print()
    for finding in result.findings:
        _finding(console, finding)


def _bar(result: Result) -> Text:
    name = f"{result.backend}@{result.revision}" if result.revision else result.backend
    counts = " · ".join([
        ", ".join(f"{result.summary[place]} {place}" for place in ("integer", "float", "cpu", "rejected", "unknown", "absorbed") if result.summary[place])
    ])  # fmt: skip
    if result.outcome == "refused":
        return Text.assemble((name, "bold"), "  ", ("refuses the model", STYLE["error"]))
    share = result.summary["integer_macs"]
    whole = result.summary["integer"] + result.summary["absorbed"]
    part = share if share is not None else whole / max(1, result.summary["ops"])
    filled = round(BAR * part)
    what = "of MACs in integer" if share is not None else "of ops in integer"
    return Text.assemble((name, "bold"), "  ", ("█" * filled, "green"), "░" * (BAR - filled), f"  {100 * part:.0f} % {what} · {counts}")


def _finding(console: Console, finding: Finding) -> None:
    sites = [site.op for site in finding.sites]
    named = ", ".join(dict.fromkeys(sites[:SITES])) + (f" … ({len(sites) - SITES} more)" if len(sites) > SITES else "")
    where = f"{len(sites)} places: {named}" if len(sites) > 1 else named
    console.print(Text.assemble((f"{finding.severity:>8}", STYLE[finding.severity]), "  ", (finding.rule, "bold"), f" {finding.code} · ", where))
    console.print(Padding(Text(finding.message), (0, 0, 0, 10)))
    if finding.drags:
        dragged = ", ".join(finding.drags[:SITES]) + (f" … ({len(finding.drags) - SITES} more)" if len(finding.drags) > SITES else "")
        console.print(Padding(Text(f"also loses integer: {dragged}", style="dim"), (0, 0, 0, 10)))
    notes = [f"{e.kind}: {e.version or e.ref}" for e in finding.evidence[:1]]
    if finding.fix is not None:
        notes.append(f"fix ({finding.fix.applicability}): {finding.fix.text}" if finding.fix.applicability != "display" else f"advice: {finding.fix.text}")
    for note in notes:
        console.print(Padding(Text(note, style="dim"), (0, 0, 0, 10)))
    console.print()


def _footer(report: Report) -> str:
    counts: Counter[str] = Counter(f.severity for f in report.findings)
    words = [f"{counts[s]} {name}{'' if counts[s] == 1 else 's'}" for s, name in (("error", "error"), ("warning", "warning"), ("info", "note")) if counts[s]]
    if report.errors:
        words.append(f"{len(report.errors)} could not be checked")
    if not words:
        return "nothing to report"
    return ", ".join(words) + (" · qlint rule NAME tells more" if report.findings else "")
