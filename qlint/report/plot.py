"""Plots for notebooks: where operators run, drawn over the graph; scales; ranges."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from qlint.errors import QlintError
from qlint.graph import Model, Quantizer, Use
from qlint.judge.verdict import WORST
from qlint.report.drawing import Node, layers, nodes
from qlint.report.frames import graph_of
from qlint.report.result import Report, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Point = tuple[float, float]
What = Literal["placement", "scales", "ranges"]
COLOURS = {
    "integer": "#1f8f5f", "absorbed": "#7fbf9f", "float": "#d98200", "cpu": "#c2410c", "rejected": "#a3123a", "unknown": "#7a828c", "": "#d7dde3",
}  # fmt: skip
ROLES = {"activation": "#2b7bba", "weight": "#d9822b", "bias": "#8c8c8c"}
PAGE = 15  # inches that a notebook shows side by side
DEEP = 40  # layers in one column
NAMED = 90  # nodes that still have room for their names
SHOWN = 60  # ranges that a plot has rows for


def plot(report: Report, what: What) -> Figure:
    """A figure of the report, whatever the backend of matplotlib; a notebook shows it.

    Raises:
        QlintError: matplotlib is not installed, there is nothing to plot, no such plot, or several models are in the report.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise QlintError("plot needs matplotlib", hint='pip install "qlint-nn[notebook]"') from error
    if what not in PLOTS:
        raise QlintError(f"no plot {what!r}", hint=f"there are {', '.join(PLOTS)}")
    if len({result.model for result in report.results}) != 1:
        raise QlintError(f"{len({result.model for result in report.results})} models in one plot", hint="check one model, and plot that report")
    figure = Figure(layout="constrained")
    PLOTS[what](figure, report.results)
    setattr(figure, "_repr_png_", lambda: _png(figure))  # noqa: B010 - a notebook shows a figure by itself only once pyplot was imported
    return figure


def _png(figure: Figure) -> bytes:
    from io import BytesIO

    file = BytesIO()
    figure.savefig(file, format="png", dpi=80)
    return file.getvalue()


# -- placement ------------------------------------------------------------------------------------------------------


def _placement(figure: Figure, results: Sequence[Result]) -> None:
    """The graph from top to bottom, once for each backend, each operator in the colour of where it runs."""
    from matplotlib.patches import Patch

    drawn = nodes(graph_of(results[0]))
    named = len(drawn) <= NAMED
    places = _places(drawn, DEEP if named else 2 * DEEP)
    wide, deep = max(x for x, _ in places) - min(x for x, _ in places) + 1, max(y for _, y in places) + 1
    width, height = max(wide * (1.25 if named else 0.3), 3.2), max(deep * (0.42 if named else 0.13), 2.5)
    beside = len(results) * width <= PAGE
    rows, columns = (1, len(results)) if beside else (len(results), 1)
    figure.set_size_inches(min(columns * width, 2 * PAGE), rows * height + 0.6)
    seen: dict[str, None] = {}
    for axes, result in zip(figure.subplots(rows, columns, squeeze=False).flat, results, strict=True):
        where = _where(result, drawn)
        seen |= dict.fromkeys(where)
        _graph(axes, drawn, places, where, named=named)
        refused = " · refuses the model" if result.outcome == "refused" else ""
        axes.set_title((result.target or "no backend") + refused, fontsize=10)
    order = [one for one in (*reversed(WORST), "") if one in seen]
    told = {"": "not an operator" if any(seen) else "no backend named", "rejected": "rejected"}
    figure.legend(handles=[Patch(facecolor=COLOURS[one], edgecolor="#555", label=told.get(one, one)) for one in order], loc="outside lower center", ncols=len(order), frameon=False, fontsize=9)


def _places(drawn: Sequence[Node], deep: int) -> list[Point]:
    """Where each node is: its layer, and in it the place that its neighbours above pull it to; after so many layers a new column begins."""
    links = [(feed.source, number) for number, node in enumerate(drawn) for feed in node.feeds if feed.source is not None]
    layer = layers(len(drawn), links)
    above: dict[int, list[int]] = {}
    for a, b in links:
        above.setdefault(b, []).append(a)
    rows: dict[int, list[int]] = {}
    for number in range(len(drawn)):
        rows.setdefault(layer[number], []).append(number)
    at: dict[int, float] = {}
    for depth in sorted(rows):
        pulled = {number: sum(at[a] for a in above[number]) / len(above[number]) if number in above else 0.0 for number in rows[depth]}
        row = sorted(rows[depth], key=lambda number: (pulled[number], number))
        middle = sum(pulled.values()) / len(row)
        for place, number in enumerate(row):
            at[number] = middle + place - (len(row) - 1) / 2
    wide, depth = max(at.values()) - min(at.values()) + 2, max(layer[number] for number in at) + 1
    deep = -(-depth // -(-depth // deep))  # columns of equal length
    return [(at[number] + layer[number] // deep * wide, float(layer[number] % deep)) for number in range(len(drawn))]


def _where(result: Result, drawn: Sequence[Node]) -> list[str]:
    """The placement of each node: of its worst part; empty for inputs and outputs."""
    verdict, told = result.verdict, {op.name: op.placement for op in result.ops}
    ranks = {placement: rank for rank, placement in enumerate((*WORST, ""))}
    return ["" if verdict is None else min((told.get(part.label, "") for part in node.parts), key=ranks.__getitem__, default="") for node in drawn]


def _graph(axes: Axes, drawn: Sequence[Node], places: Sequence[Point], where: Sequence[str], *, named: bool) -> None:
    from matplotlib.collections import PathCollection

    links = [(places[feed.source], places[number]) for number, node in enumerate(drawn) for feed in node.feeds if feed.source is not None]
    paths = [_path(above, below) for above, below in links if above[1] < below[1]]  # from one column to the next nothing is drawn
    axes.add_collection(PathCollection(paths, facecolors="none", edgecolors="#8a939c", linewidths=1 if named else 0.6, zorder=1))
    if named:
        for node, (x, y), one in zip(drawn, places, where, strict=True):
            dark = one in ("integer", "rejected", "cpu")
            style = {"boxstyle": "round,pad=0.3", "facecolor": COLOURS[one], "edgecolor": "none"}
            axes.text(x, y, " + ".join(part.kind for part in node.parts) or node.name[:16], ha="center", va="center", fontsize=8, color="white" if dark else "#222", bbox=style, zorder=2)
    else:
        axes.scatter([x for x, _ in places], [y for _, y in places], c=[COLOURS[one] for one in where], s=14, zorder=2)
    low, high = min(x for x, _ in places), max(x for x, _ in places)
    axes.set_xlim(low - 0.7, high + 0.7)
    axes.set_ylim(max(y for _, y in places) + 0.7, -0.7)
    axes.axis("off")


def _path(above: Point, below: Point) -> Any:
    """Of an edge; one that passes by other layers bends out of their way."""
    from matplotlib.path import Path

    (x, y), (u, v) = above, below
    if v - y <= 1 or abs(u - x) > 0.4:
        return Path([above, below])
    aside = max(x, u) + 0.75
    return Path([above, (aside, y + 0.6), (aside, v - 0.6), below], [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4])


def _row(figure: Figure, count: int) -> list[Axes]:
    return list(figure.subplots(1, count, squeeze=False)[0])


# -- scales and ranges ------------------------------------------------------------------------------------------------


def _grids(model: Model) -> Iterator[tuple[Use, Quantizer, str]]:
    """Each quantizer once for each tensor, with the part that the tensor plays."""
    seen: set[tuple[int, Quantizer]] = set()
    for use, quantizer in model.quantizers():
        if quantizer.scale and (id(use.tensor), quantizer) not in seen:
            seen.add((id(use.tensor), quantizer))
            weight = use.tensor.constant or (use.tensor.producer is not None and use.tensor.producer.role == "constant")
            yield use, quantizer, "bias" if use.role == "b" or quantizer.storage in ("int32", "int64") else "weight" if weight else "activation"


def _scales(figure: Figure, results: Sequence[Result]) -> None:
    """Scales in the order of the file, on a logarithmic axis; channels of one tensor as a line from the smallest to the largest."""
    grids = [one for one in _grids(graph_of(results[0])) if any(scale > 0 for scale in one[1].scale or ())]
    (axes,) = _row(figure, 1)
    figure.set_size_inches(min(max(len(grids) * 0.16, 6), 20), 3.6)
    for role, colour in ROLES.items():
        mine = [(at, [scale for scale in q.scale or () if scale > 0]) for at, (_, q, part) in enumerate(grids) if part == role]
        if mine:
            axes.vlines([at for at, _ in mine], [min(scales) for _, scales in mine], [max(scales) for _, scales in mine], color=colour, linewidth=2.5, alpha=0.45)
            points = [(at, sorted(scales)[len(scales) // 2]) for at, scales in mine]
            axes.plot(*zip(*points, strict=True), "o", color=colour, markersize=4, label=role)
    _dress(axes, results[0], grids, "scale (median of channels, and their span)")
    axes.set_yscale("log")
    axes.set_xlabel("quantizers, in the order of the file")


def _ranges(figure: Figure, results: Sequence[Result]) -> None:
    """What each activation's quantizer can stand for, from its lowest to its highest number; zero is the line in the middle."""
    grids = [(use, q, q.range) for use, q, part in _grids(graph_of(results[0])) if part == "activation" and q.range is not None][:SHOWN]
    (axes,) = _row(figure, 1)
    figure.set_size_inches(8, max(len(grids) * 0.22, 2) + 0.6)
    for at, (_, _, span) in enumerate(grids):
        axes.barh(at, span[1] - span[0], left=span[0], height=0.62, color=ROLES["activation"], alpha=0.8)
    axes.axvline(0, color="#555", linewidth=0.8)
    widest = max((max(-span[0], span[1]) for *_, span in grids), default=0)
    narrowest = min((max(-span[0], span[1]) for *_, span in grids), default=0)
    if narrowest > 0 and widest / narrowest > 50:
        axes.set_xscale("symlog", linthresh=narrowest)
    axes.set_yticks(range(len(grids)), [f"{use.tensor.name[-38:]} · {q.storage}" for use, q, _ in grids], fontsize=7)
    axes.invert_yaxis()
    _dress(axes, results[0], grids, "")
    axes.set_xlabel("real numbers that the grid reaches")
    axes.margins(y=0.01)


def _dress(axes: Axes, result: Result, grids: Sequence[Any], label: str) -> None:
    if not grids:
        raise QlintError("no quantizer with a scale that is known", subject=result.model, hint="there is nothing to plot")
    axes.set_title(result.model, fontsize=10)
    axes.set_ylabel(label)
    axes.grid(alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=9)


PLOTS: dict[str, Callable[[Figure, Sequence[Result]], None]] = {"placement": _placement, "scales": _scales, "ranges": _ranges}
