"""The report as a page: one file that opens offline, with the graph, the findings and the quantizers to look around in.

The page is data (JSON) with a style sheet and a script of our own. Names from the model file become text nodes and
never markup; the content security policy lets no other script run and nothing load.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Sequence
from functools import cache
from hashlib import sha256
from html import escape
from importlib.resources import files
from itertools import groupby
from typing import Any

from qlint.errors import QlintError
from qlint.graph import Quantizer, Shape
from qlint.graph.macs import macs
from qlint.judge.verdict import WORST, Placement
from qlint.lint.finding import Finding
from qlint.lint.words import value
from qlint.report.drawing import Group, Node, fold, lay_out, nodes
from qlint.report.result import Report, Result
from qlint.report.text import FORMATS, accepted, notes, share
from qlint.version import __version__

SCALES = 48  # of a per-channel quantizer that are drawn
EXACT = 4096  # scales that are looked at one by one; of more, that many at equal distances

Json = dict[str, Any]


def render(report: Report) -> str:
    """The page.

    Raises:
        QlintError: igraph is not installed, or the report was read back from JSON and its graphs are gone.
    """
    models = [_model(list(results)) for _, results in groupby(report.results, key=lambda result: result.model)]
    failures = [{"model": error.model, "message": error.message, "hint": error.hint} for error in report.errors]
    data = json.dumps({"qlint": __version__, "models": models, "failures": failures}, ensure_ascii=False, separators=(",", ":"))
    style, script = _part("page.css"), _part("page.js")
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'; img-src data:"
    return _part("page.html").format(
        title=escape(f"qlint · {', '.join(dict.fromkeys(result.model for result in report.results)) or 'nothing checked'}"),
        policy=policy, style=style, script=script, data=data.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"),
    )  # fmt: skip


@cache
def _part(name: str) -> str:
    return files("qlint.report").joinpath(name).read_text(encoding="utf-8")


def _model(results: list[Result]) -> Json:
    first = results[0]
    if first.canonical is None:
        raise QlintError("the graph is not in this report", subject=first.model, hint="check the model again and write the page from that report")
    drawn = nodes(first.canonical)
    tree = fold(drawn)
    lay_out(tree, drawn)
    grids = _Grids()
    return {
        "name": first.model,
        "format": FORMATS.get(first.format, first.format),
        "quantization": first.summary.quantization,
        "ops": first.summary.ops,
        "notes": first.notes,
        "nodes": [_node(node, grids) for node in drawn],
        "quantizers": grids.told,
        "tree": _group(tree),
        "results": [_result(result, drawn if result.canonical is first.canonical else _again(result)) for result in results],
    }


def _again(result: Result) -> list[Node]:
    """The same nodes, of the graph that this result was judged on."""
    return nodes(result.canonical) if result.canonical is not None else []


def _node(node: Node, grids: _Grids) -> Json:
    told: Json = {"name": node.name, "kind": " + ".join(part.kind for part in node.parts) or node.kind}
    told["in"] = [
        {
            "role": feed.role, "tensor": feed.tensor.name, "shape": _shape(feed.tensor.shape), "dtype": feed.tensor.dtype,
            "from": feed.source, "constant": feed.tensor.constant, "q": [grids.number(one) for one in feed.use.quantizers],
        }
        for feed in node.feeds
    ]  # fmt: skip
    if node.parts:
        first, last = node.parts[0], node.parts[-1]
        counts = [macs(part) for part in node.parts]
        told |= {
            "native": first.native, "role": first.role, "source": first.source, "macs": None if None in counts else sum(filter(None, counts)),
            "out": [{"tensor": tensor.name, "shape": _shape(tensor.shape), "dtype": tensor.dtype} for tensor in last.outputs],
            "attrs": {key: value(attribute)[:80] for key, attribute in first.attrs.items() if isinstance(attribute, (bool, int, float, str, list, tuple))},
        }  # fmt: skip
    return told


def _shape(shape: Shape | None) -> str:
    return "?" if shape is None else " × ".join("?" if size is None else str(size) for size in shape) or "scalar"


class _Grids:
    """Each distinct quantizer once, by number."""

    def __init__(self) -> None:
        self.told: list[Json] = []
        self._numbers: dict[Quantizer, int] = {}

    def number(self, quantizer: Quantizer) -> int:
        if quantizer not in self._numbers:
            self._numbers[quantizer] = len(self.told)
            self.told.append(_grid(quantizer))
        return self._numbers[quantizer]


def _grid(quantizer: Quantizer) -> Json:
    told: Json = {"text": str(quantizer), "storage": quantizer.storage or "?", "bits": quantizer.bits, "granularity": quantizer.granularity}
    if quantizer.scale is None or not len(quantizer.scale):
        return told
    scales = _sample(quantizer.scale, EXACT)
    told["scale"] = [min(scales), max(scales)]
    told["count"] = len(quantizer.scale)
    if len(scales) > 1:
        told["scales"] = [float(f"{scale:.4g}") for scale in _sample(scales, SCALES)]
    if quantizer.zero_point is not None and len(quantizer.zero_point):
        points = _sample(quantizer.zero_point, EXACT)
        told["zero"] = [min(points), max(points)]
        if len(quantizer.scale) <= EXACT and quantizer.range is not None:
            told["range"] = [*quantizer.range]
    return {key: _finite(one) for key, one in told.items()}


def _sample(values: Sequence[float], limit: int) -> list[float]:
    return [values[place * len(values) // limit] for place in range(limit)] if len(values) > limit else list(values)


def _finite(told: Any) -> Any:
    """JSON has no infinity."""
    if isinstance(told, list):
        return [_finite(one) for one in told]
    return None if isinstance(told, float) and not abs(told) < float("inf") else told


def _group(group: Group) -> Json:
    return {
        "name": group.name,
        "children": [_group(child) if isinstance(child, Group) else child for child in group.children],
        "at": [coordinate for place in group.places for coordinate in place],
        "edges": [[a, b, *(coordinate for point in bends for coordinate in point)] for a, b, bends in group.edges],
        "doors": {str(door): [*place] for door, place in group.doors.items()},
    }


def _result(result: Result, drawn: list[Node]) -> Json:
    numbers: dict[str, int] = {}
    for number, node in enumerate(drawn):
        for name in (*(part.label for part in node.parts), *(tensor.name for part in node.parts for tensor in part.outputs), node.name):
            numbers.setdefault(name, number)
    for number, node in enumerate(drawn):  # a quantizer stands on the edge to its reader
        for quantizer in (one for feed in node.feeds for one in feed.use.quantizers):
            for made in (quantizer.quantize, quantizer.dequantize):
                if made is not None:
                    numbers.setdefault(made.label, number)
    part = share(result.summary)
    return {
        "target": result.target,
        "outcome": result.outcome,
        "reasons": result.reasons,
        "share": part,
        "placed": [_placed(result, node) for node in drawn],
        "findings": [_finding(finding, numbers) for finding in (*result.findings, *result.suppressed)],
    }


def _placed(result: Result, node: Node) -> list[str] | None:
    """[placement, kernel, evidence, note] of the part that fares worst; of a refused model, as if it loaded."""
    verdict = result.verdict
    if verdict is None or not node.parts:
        return None
    taken: Placement = min((verdict.of(part) for part in node.parts), key=lambda placed: WORST.index(placed.where))
    return [taken.where, taken.kernel, taken.basis, taken.note]


def _finding(finding: Finding, numbers: dict[str, int]) -> Json:
    what, meaning = finding.clauses
    return {
        "rule": finding.rule, "code": finding.code, "severity": finding.severity, "consequence": finding.consequence,
        "subject": finding.subject, "what": what, "meaning": meaning, "notes": notes(finding), "fingerprint": finding.fingerprint,
        "accepted": accepted(finding.suppressed) if finding.suppressed is not None else "",
        "sites": list(_sites(finding, numbers)),
        "drags": sorted({numbers[name] for name in finding.drags if name in numbers}),
    }  # fmt: skip


def _sites(finding: Finding, numbers: dict[str, int]) -> Iterator[Json]:
    for site in finding.sites:
        node = numbers.get(site.op, numbers.get(site.tensor))
        yield {"op": site.op, "port": site.port, "tensor": site.tensor, "found": value(site.found), "wanted": value(site.wanted), "node": node}
