"""The report that people read: what runs where, then the causes, worst first."""

from __future__ import annotations

import re
from collections import Counter
from io import StringIO
from itertools import groupby

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from qlint.lint.finding import SEVERITIES, Finding, Suppressed
from qlint.lint.words import FORMATS, listing
from qlint.report.fixed import Fixed, Measured, Progress
from qlint.report.result import Report, Result, Summary

STYLE = {"error": "bold red", "warning": "yellow", "info": "cyan"}
SHOWN = ("integer", "float", "cpu", "rejected", "unknown", "absorbed")
WIDTH = 100  # of a report that goes to no terminal
BAR, SHORT_BAR = 20, 10
MARGIN = 8  # " warning"
LOST = ("refused", "cpu", "float")  # consequences that take an op out of integer
DRAGS = 3  # named before "and n more"
NOTES = 4  # of the reader, likewise
ADDRESS = re.compile(r",? ?\(?https?://[^\s,;)]+?\)?(?=[,;:)]*(\s|$))")  # of a page whose title stands beside it; `qlint backend` and JSON have it
PADDING = re.compile(r" +(?=(\x1b\[0m)?$)")  # that rich fills lines up with


def render(report: Report, *, width: int = WIDTH, color: bool = False, statistics: bool = False) -> str:
    """The results of a report as text, with ANSI colours if `color`. Failures are not part of it."""
    out = StringIO()
    console = Console(
        file=out, width=width, force_terminal=color, color_system="standard" if color else None, no_color=not color,
        highlight=False, markup=False, emoji=False, legacy_windows=False,
    )  # fmt: skip
    for fixed in report.fixes:
        _fixed(console, fixed)
    for _, results in groupby(report.results, key=lambda result: result.model):
        _model(console, list(results))
    if statistics and report.findings:
        console.print(_statistics(report))
        console.print()
    console.print(_footer(report))
    return "".join(f"{PADDING.sub('', line)}\n" for line in out.getvalue().splitlines())


def _model(console: Console, results: list[Result]) -> None:
    """One model on all its backends: an overview, then the findings of each, then what the reader has to say."""
    first = results[0]
    facts = [FORMATS.get(first.format, first.format), count(first.summary.ops, "op"), first.summary.quantization]
    console.print(Text.assemble((first.model, "bold"), *(f" · {fact}" for fact in facts)), overflow="fold")
    if first.outcome is not None:
        console.print(_overview(results, console.width))
    console.print()
    for heading, findings in told(results):
        if findings and len(results) > 1:
            console.print(Text(heading, style="bold underline" if console.color_system else ""))
        for finding in (first_of := [f for f in findings if f.consequence == "refused"] or findings):
            console.print(_finding(finding))
            console.print()
        if later := [finding for finding in findings if finding not in first_of]:
            console.print(_beside(Text(), MARGIN, Text("once the model loads:", style="dim")))
            briefly = {(finding.severity, finding.rule, finding.subject): finding for finding in later}  # causes that differ in their sentences alone
            console.print(Group(*(_finding(finding, brief=True) for finding in briefly.values())))
            console.print()
    if first.notes:
        console.print(_beside(Text("reader", style="dim", justify="right"), MARGIN, *(Text(note, style="dim") for note in _some(first.notes))))
        console.print()


def told(results: list[Result]) -> list[tuple[str, list[Finding]]]:
    """What is said about a model under which heading: each backend's findings, and once what is the model's own business and the same on all."""
    on: dict[str, list[int]] = {}  # which backends a note is about, by what it says
    for number, result in enumerate(results):
        for line in {finding.line for finding in result.findings if finding.consequence in ("note", "slow")}:
            on.setdefault(line, []).append(number)
    shared = {line: tuple(numbers) for line, numbers in on.items() if len(numbers) > 1}
    alike: dict[tuple[int, ...], list[Finding]] = {}
    for number, result in enumerate(results):
        for finding in result.findings:
            if finding.line in shared and shared[finding.line][0] == number:
                alike.setdefault(shared[finding.line], []).append(finding)
    groups = sorted(alike.items(), key=lambda group: (-len(group[0]), group[0]))
    return [
        *((result.target, [one for one in result.findings if one.line not in shared]) for result in results),
        *((_on([result.target for result in results], numbers), findings) for numbers, findings in groups),
    ]


def _on(targets: list[str], numbers: tuple[int, ...]) -> str:
    """`on every backend`, `on every backend but tensorrt@11`, `on snpe@v73 and qnn-htp@v73`."""
    others = [target for number, target in enumerate(targets) if number not in numbers]
    if len(others) < len(numbers):
        return f"on every backend but {listing(others, 'and')}" if others else "on every backend"
    return f"on {listing([targets[number] for number in numbers], 'and')}"


def _fixed(console: Console, fixed: Fixed) -> None:
    """What was done to a model, what was not and why, and what that led to."""
    target = fixed.output if fixed.output else "would change" if fixed.diff else "left as it is"
    console.print(Text.assemble((fixed.model, "bold"), f" → {target}"), overflow="fold")
    for change in fixed.changes:
        said = Text(f"{change.text} · {change.applicability}")
        done = "would fix" if fixed.diff else "fixed"
        console.print(_beside(Text(done, style="green", justify="right"), len(done) if fixed.diff else MARGIN, *([_places(change.rule, change.code, change.sites)] if change.rule else []), said))
    for refused in fixed.refused:
        lines = [_places(refused.rule, refused.code, refused.sites)] if refused.rule else []
        console.print(_beside(Text("refused", style="yellow", justify="right"), MARGIN, *lines, Text(refused.why)))
    if not fixed.changes and not fixed.refused:
        console.print(_beside(Text(), MARGIN, Text("nothing to fix")))
    for each in fixed.progress if fixed.changes else ():
        console.print(_beside(Text(), MARGIN, Text(f"{each.backend}: {_progress(each)}")))
    for real in fixed.measured:
        console.print(_beside(Text(), MARGIN, Text(f"{real.backend} itself ({', '.join(f'{name} {version}' for name, version in real.versions.items())}): {_progress(real)}")))
    if (proof := proven(fixed)) and fixed.changes:
        console.print(_beside(Text(), MARGIN, Text(proof)))
    for line in fixed.diff:
        console.print(Text(line, style="green" if line[:1] == "+" else "red" if line[:1] == "-" else "dim"), overflow="ignore", no_wrap=True, crop=False)
    console.print()


def _places(rule: str, code: str, sites: list[str]) -> Text:
    more = f" … ({len(sites) - DRAGS} more)" if len(sites) > DRAGS else ""
    return Text.assemble((rule, "bold"), f" {code} · {', '.join(sites[:DRAGS])}{more}")


def _progress(each: Progress | Measured) -> str:
    if each.outcome_after == "refused":
        return "still refuses the model"
    before = "refused the model" if each.outcome_before == "refused" else str(each.before)
    return f"{before} → {each.after} of {count(each.ops, 'operator')} in integer"


def proven(fixed: Fixed) -> str:
    """How the outputs before and after compare."""
    numbers = fixed.numbers
    if numbers is None:
        return f"outputs not compared: {fixed.unproven}" if fixed.unproven else ""
    where = f"({numbers.runtime}, {numbers.inputs})"
    if numbers.equal:
        return f"outputs are bit-equal {where}"
    steps = f", {numbers.steps:.1f} steps of the output's grid" if numbers.steps is not None else ""
    sqnr = f", SQNR {numbers.sqnr:.1f} dB" if numbers.sqnr is not None else ""
    return f"outputs differ by at most {numbers.largest:.3g}{steps}{sqnr} {where}"


def _some(told: list[str]) -> list[str]:
    """What the reader says, as far as it is not too much to read."""
    more = len(told) - NOTES
    return told if more <= 1 else [*told[:NOTES], f"… and {more} more: qlint graph lists them"]


def _overview(results: list[Result], width: int) -> RenderableType:
    """A line for each backend: `qnn-htp@v73  █████████████████░░░  87 % of MACs in integer · 54 integer, 8 float`."""
    margin = max(len(result.target) for result in results)
    longest = max(len(f"{_said(result)} · {placed(result.summary)}") for result in results)
    bar = BAR if margin + BAR + longest + 4 <= width else SHORT_BAR
    fits = margin + bar + longest + 4 <= width
    return Group(*(_beside(Text(result.target, style="bold"), margin, _line(result, bar, " · " if fits else "\n")) for result in results))


def _line(result: Result, bar: int, separator: str) -> Text:
    part = share(result.summary)
    if result.outcome == "refused" or part is None:
        return Text(_said(result), style=STYLE["error"] if result.outcome == "refused" else "")
    filled = part[0] * bar // 100
    return Text.assemble(("█" * filled, "green"), "░" * (bar - filled), f"  {_said(result)}{separator}{placed(result.summary)}")


def _said(result: Result) -> str:
    if result.outcome == "refused":
        explained = any(finding.consequence == "refused" for finding in result.findings)
        return "refuses the model" if explained or not result.reasons else f"refuses the model: {result.reasons[0]}"
    if (part := share(result.summary)) is None:
        return placed(result.summary) or "no ops to place"
    return f"{part[0]:3} % of {part[1]} in integer"


def share(summary: Summary) -> tuple[int, str] | None:
    """(percent, of what) in integer: of the multiply-accumulates if they are known, else of the ops; None if there are none, or of none it is known.

    Rounded, but 100 only if it is all, and 0 only if it is nothing.
    """
    working = summary.ops - summary.absorbed
    if (summary.integer_macs is None and not working) or summary.unknown == working > 0:
        return None
    part, of = (summary.integer_macs, "MACs") if summary.integer_macs is not None else (summary.integer / working, "ops")
    return round(100 * part) if part in (0, 1) else min(99, max(1, round(100 * part))), of


def placed(summary: Summary) -> str:
    """`54 integer (1 wrong), 6 float, 2 cpu`."""
    wrong = f" ({summary.wrong} wrong)" if summary.wrong else ""
    return ", ".join(f"{n} {name}{wrong if name == 'integer' else ''}" for name in SHOWN if (n := getattr(summary, name)))


def _finding(finding: Finding, *, brief: bool = False) -> RenderableType:
    """Severity on the left; rule and sites, the sentence, what it drags along, evidence and advice on the right."""
    left = Text(finding.severity, style=STYLE[finding.severity], justify="right")
    lines = [Text.assemble((finding.rule, "bold"), f" {finding.code} · {finding.subject}")]
    if brief:
        return _beside(left, MARGIN, *lines)
    lines.append(Text(finding.message))
    if finding.drags:
        lines.append(Text(dragged(finding), style="dim"))
    if told := notes(finding):
        lines.append(Text(" · ".join(told), style="dim"))
    return _beside(left, MARGIN, *lines)


def dragged(finding: Finding) -> str:
    """The first ops that a finding drags along, and how many more there are."""
    what = "also loses integer" if finding.consequence in LOST else "also affected"
    more = f" … ({len(finding.drags) - DRAGS} more)" if len(finding.drags) > DRAGS else ""
    return f"{what}: {', '.join(finding.drags[:DRAGS])}{more}"


def notes(finding: Finding) -> list[str]:
    """Evidence and what to do: `measured: onnxruntime 1.32.0`, `advice: fold the batch-norm`."""
    told = [f"{one.kind}: {_source(one.kind, one.ref, one.version)}" for one in finding.evidence[:1]]
    if finding.fix is not None:
        kind = "advice" if finding.fix.applicability == "display" else f"fix ({finding.fix.applicability})"
        told.append(f"{kind}: {finding.fix.text}")
    return told


def accepted(suppressed: Suppressed) -> str:
    """Why a finding does not count: `accepted: the head stays in float (model.onnx.qlint.toml)`."""
    return f"accepted: {suppressed.reason} ({suppressed.source})" if suppressed.by == "suppression" else f"in the baseline ({suppressed.source})"


def _source(kind: str, ref: str, version: str) -> str:
    """What was measured, the title of what was read (without its address and what it says there), or what an inference is."""
    if kind == "measured" and version:
        return version
    whole = ADDRESS.sub("", ref) or ref
    title = whole.partition(": ")[0]
    return whole if kind == "inferred" or title.count("(") != title.count(")") else title


def _beside(left: Text, margin: int, *lines: RenderableType) -> RenderableType:
    """Lines that wrap beside a margin of fixed width."""
    grid = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    grid.add_column(width=margin, no_wrap=True)
    grid.add_column(overflow="fold", ratio=1)
    grid.add_row(left, Group(*lines))
    return grid


def _statistics(report: Report) -> RenderableType:
    counts = Counter((finding.code, finding.rule) for finding in report.findings)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return Group(*(Text(f"{count:8}  {rule} {code}") for (code, rule), count in ranked))


def _footer(report: Report) -> str:
    models = [list(results) for _, results in groupby(report.results, key=lambda result: result.model)]
    shown = [finding for results in models for _, findings in told(results) for finding in findings]
    severities = Counter[str](finding.severity for finding in shown)
    named = (("error", "error"), ("warning", "warning"), ("info", "note"))
    words = [count(severities[severity], noun) for severity, noun in named if severities[severity]] or ["no findings"]
    if report.errors:
        words.append(f"{len(report.errors)} not checked")
    if report.fixes and not report.results:
        words = [f"{sum(bool(one.diff) for one in report.fixes)} of {count(len(report.fixes), 'model')} would change"]
    parts = [", ".join(words)]
    accepted = Counter[str](finding.suppressed.by for finding in report.suppressed if finding.suppressed is not None)
    if accepted:
        parts.append(", ".join(f"{accepted[by]} {said}" for by, said in (("suppression", "suppressed"), ("baseline", "in the baseline")) if accepted[by]))
    curable = [finding.fix.applicability for finding in shown if finding.fix is not None and finding.fix.applicability != "display"]
    if curable:
        parts.append(f"{len(curable)} fixable, {curable.count('safe')} of them safely (--fix)")
    if report.findings:
        worst = min(report.findings, key=lambda finding: SEVERITIES.index(finding.severity))
        parts.append(f"qlint rule {worst.code} tells more")
    if any(result.outcome is None for result in report.results):
        parts.append("--backend NAME says what runs where (qlint backend lists them)")
    return " · ".join(parts)


def count(number: int, noun: str) -> str:
    """`1 op`, `2 ops`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
