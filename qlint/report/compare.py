"""The comparison as people read it: text for terminals, Markdown for pages and pull requests."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from qlint.lint.words import FORMATS, listing
from qlint.report.comparison import Change, Comparison, Obstacle, OnBackend, Place, Row, Together
from qlint.report.text import count, placed, share

WIDTH = 100
SHOWN = 3  # places that a line names
ROWS = 30  # operators in the table of what runs where


def render(found: Comparison, *, width: int = WIDTH) -> str:
    """Plain text."""
    return "".join(f"{line}\n" for line in _text(found, width))


def markdown(found: Comparison) -> str:
    """Markdown (GitHub's tables)."""
    return "".join(f"{line}\n" for line in _markdown(found))


def _head(found: Comparison) -> str:
    return f"{found.model} · {FORMATS.get(found.format, found.format)} · {count(found.backends[0].summary.ops, 'op')} · {found.summary_quantization}"


def _text(found: Comparison, width: int) -> Iterator[str]:
    yield from _wrapped(_head(found), width, 0)
    yield ""
    margin = max(len(one.target) for one in found.backends)
    for one in found.backends:
        yield from _wrapped(f"{one.target:{margin}}  {_share(one)}", width, margin + 2)
    if not found.quantized:
        yield ""
        yield "The model has no quantizers: quantize it for the backend that matters most, and compare again."
    if rows := _differing(found):
        yield ""
        yield from _table(found, rows, width)
    for one in found.backends:
        yield ""
        yield from _backend(one, found.quantized, width)
    if found.together is not None and len(found.backends) > 1:
        yield ""
        yield from _all(found.together, any(one.blocked_by for one in found.backends), width)


def _table(found: Comparison, rows: list[Row], width: int) -> Iterator[str]:
    """A column for each backend; where that is too wide, a letter under its number."""
    yield "what runs where, as far as they differ or it is not integer"
    targets = [one.target for one in found.backends]
    longest = min(max(len(_op(row)) for row in rows), 48)
    narrow = longest + 2 + sum(max(len(target), 8) + 2 for target in targets) > width
    heads = [str(number) for number in range(1, len(targets) + 1)] if narrow else targets
    if narrow:
        yield from _wrapped("  " + ", ".join(f"{number}:{target}" for number, target in zip(heads, targets, strict=True)), width, 2)
        yield "  i integer, a absorbed, f float, c cpu, r rejected, u unknown"
    sizes = [len(head) if narrow else max(len(head), 8) for head in heads]
    yield "  ".join([" " * (longest + 2), *(f"{head:{size}}" for head, size in zip(heads, sizes, strict=True))]).rstrip()
    for row in rows[:ROWS]:
        cells = (f"{row.placements[target][0] if narrow else row.placements[target]:{size}}" for target, size in zip(targets, sizes, strict=True))
        yield "  ".join([f"  {_shortened(_op(row), longest):{longest}}", *cells]).rstrip()
    if rows[ROWS:]:
        yield f"  … {len(rows) - ROWS} more (--output-format json has all)"


def _share(one: OnBackend) -> str:
    return f"{_integer(one, after=False)}{_placements(one)}" + (f" → {_after(one)}" if one.changes else "")


def _placements(one: OnBackend) -> str:
    return "" if one.outcome == "refused" else f" · {placed(one.summary)}"


def _integer(one: OnBackend, *, after: bool) -> str:
    outcome, summary = (one.outcome_after, one.summary_after) if after else (one.outcome, one.summary)
    if outcome == "refused":
        return "refuses the model" + (f": {one.reasons[0]}" if one.reasons and not after else "")
    part = share(summary)
    return "no ops to place" if part is None else f"{part[0]} % of {part[1]} in integer"


def _after(one: OnBackend) -> str:
    part = share(one.summary_after)
    reached = "it runs" if part is None else f"{part[0]} %" if one.summary_after.integer != one.summary.integer or part != share(one.summary) else "the right numbers"
    return f"{reached} with {_number(one.changes)}"


def _number(changes: list[Change]) -> str:
    return count(sum(change.count for change in changes), "change")


def _backend(one: OnBackend, quantized: bool, width: int) -> Iterator[str]:
    yield one.target
    if not one.blocked_by and not one.changes:
        everything = one.summary.ops == one.summary.integer + one.summary.absorbed
        yield f"  refuses the model: {'; '.join(one.reasons[:3])}" if one.reasons else "  everything runs in integer" if everything else f"  {placed(one.summary)}"
    if one.blocked_by:
        yield "  blocked by"
        for obstacle in one.blocked_by:
            yield from _wrapped(f"    {obstacle.code} {obstacle.subject}: {obstacle.message}", width, 8)
    if one.changes:
        yield f"  {_number(one.changes)} ({_needed(one.irreducible)}), then {_integer(one, after=True)} · {placed(one.summary_after)}"
        for change in one.changes:
            yield from _wrapped(f"    {_change(change)}", width, 8)
    elif one.blocked_by and quantized:
        cut = "" if one.irreducible else "; the search was cut short"
        yield f"  no change of quantizers was found that brings more operators into integer{cut}"
    if one.changes and one.out_of_reach:
        yield "  no change of quantizers was found for"
        for obstacle in one.out_of_reach:
            yield from _wrapped(f"    {obstacle.code} {obstacle.subject}: {obstacle.message}", width, 8)


def _all(common: Together, blocked: bool, width: int) -> Iterator[str]:
    who = "all of them"
    if common.unsatisfied:
        yield from _wrapped(f"all of them: no set of changes was found that leads each as far as changes of its own; {', '.join(common.unsatisfied)} is left out", width, 4)
        who = "the others"
    if common.changes:
        yield from _wrapped(f"{who}: {_number(common.changes)} lead each as far as changes of its own ({_needed(common.irreducible)})", width, 4)
        for change in common.changes:
            yield from _wrapped(f"    {_change(change)}", width, 8)
    elif not common.unsatisfied or common.satisfied:
        yield f"{who}: " + ("no change of quantizers was found" if blocked and not common.unsatisfied else "nothing to change")
    for conflict in common.conflicts:
        told = f"{conflict.backend} wants {conflict.wants}; with that {listing(conflict.against, 'and')} would lose an operator (they have {conflict.instead} there)"
        yield from _wrapped(f"    conflict at {_where(conflict.places)}: {told}", width, 8)


def _needed(irreducible: bool) -> str:
    return "none can be left out" if irreducible else "perhaps not all are needed: the search was cut short"


def _change(change: Change) -> str:
    """`insert a quantizer (int8 per tensor) at add.rhs, add_1.rhs … (6 more)`."""
    where = _where(change.places)
    if change.action == "insert":
        return f"insert a quantizer ({change.what}) at {where}"
    if change.action == "remove":
        return f"remove the quantizer ({change.what}) at {where}"
    return f"{change.what}: at {where}"


def _where(places: list[Place]) -> str:
    named = [at for place in places for at in place.at]
    more = f" … ({len(named) - SHOWN} more)" if len(named) > SHOWN else ""
    return f"{', '.join(named[:SHOWN])}{more}"


def _differing(found: Comparison) -> list[Row]:
    if all(one.outcome == "refused" for one in found.backends):
        return []
    return [row for row in found.ops if any(where not in ("integer", "absorbed") for where in row.placements.values())]


def _op(row: Row) -> str:
    return f"{row.name} · {row.kind}"


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else f"…{text[len(text) - width + 1 :]}"


def _wrapped(text: str, width: int, indent: int) -> list[str]:
    lead = text[: len(text) - len(text.lstrip())]
    return textwrap.wrap(text.strip(), width, initial_indent=lead, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False) or [""]


def _markdown(found: Comparison) -> Iterator[str]:
    yield f"### {_head(found)}"
    yield ""
    yield "| backend | in integer | where the operators run | after changes |"
    yield "|---|---|---|---|"
    for one in found.backends:
        yield f"| `{one.target}` | {_cell(_integer(one, after=False))} | {placed(one.summary) if one.outcome == 'runs' else ''} | {_after(one) if one.changes else 'none found' if one.blocked_by else 'none needed'} |"
    if rows := _differing(found):
        yield ""
        yield f"| operator | {' | '.join(one.target for one in found.backends)} |"
        yield f"|---|{'---|' * len(found.backends)}"
        for row in rows:
            yield f"| `{_cell(row.name)}` {row.kind} | {' | '.join(row.placements[one.target] for one in found.backends)} |"
    for one in found.backends:
        if one.blocked_by or one.changes:
            yield f"\n#### {one.target}"
        yield from _section("Blocked by", [_obstacle(obstacle) for obstacle in one.blocked_by])
        yield from _section(f"{_number(one.changes)} ({_needed(one.irreducible)})", [_change(change) for change in one.changes])
        yield from _section("No change of quantizers was found for", [_obstacle(obstacle) for obstacle in one.out_of_reach] if one.changes else [])
    if found.together is not None and len(found.backends) > 1:
        lines = list(_all(found.together, any(one.blocked_by for one in found.backends), 10_000))
        yield "\n#### Together"
        yield ""
        yield lines[0]
        yield from (f"- {line.strip()}" for line in lines[1:])


def _section(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield f"\n{title}:\n"
        yield from (f"- {line}" for line in lines)


def _obstacle(obstacle: Obstacle) -> str:
    return f"**{obstacle.rule}** {obstacle.code} · {obstacle.subject}: {obstacle.message}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
