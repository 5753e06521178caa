"""The graph as it is drawn: operators of the file with what flows between them, folded by module, in layers.

A network of thousands of operators is unreadable at once. Its operators are folded into groups by the modules that
their names tell (`encoder/layer.3/attention`), and where names tell nothing into runs of neighbours, cut where few
tensors cross. What is in one group stands together in the file, so that data flows downwards only. Each group is laid out by itself (Sugiyama, Tagawa & Toda 1981, as igraph implements it); a page can
then unfold any of them without a layout of its own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from qlint.errors import QlintError
from qlint.graph import Model, Op, Tensor, Use

FOLD = 60  # more children than this in one group are folded further
WORTH = 4  # fewer operators of a module are not worth a group
WIDTH, GAP = 164, 26  # of a node, and between two of a layer
ROW = 84  # from one layer to the next
TAKEN = 0.2  # of the length of a run, by which its ends may move to a better place to cut

Point = tuple[int, int]


@dataclass(slots=True, eq=False)
class Node:
    """An operator with the activations fused into it, or an input or output of the graph (without operators)."""

    name: str
    parts: tuple[Op, ...]
    path: tuple[str, ...] = ()
    feeds: list[Feed] = field(default_factory=list)
    kind: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """What flows into one input of a node; `source` is None for constants."""

    role: str
    tensor: Tensor
    use: Use
    source: int | None


@dataclass(slots=True)
class Group:
    """A fold: its children (numbers of nodes, or groups), where they are, and how the edges between them run.

    Positions are centres. The entrance and the exit, where edges from and to the outside meet, are the children -1 and -2.
    """

    name: str
    children: list[int | Group]
    places: list[Point] = field(default_factory=list)
    edges: list[tuple[int, int, list[Point]]] = field(default_factory=list)  # children by position in the list
    doors: dict[int, Point] = field(default_factory=dict)

    def nodes(self) -> Iterable[int]:
        """The numbers of all nodes inside."""
        for child in self.children:
            if isinstance(child, Group):
                yield from child.nodes()
            else:
                yield child


def nodes(model: Model) -> list[Node]:
    """What is drawn, in the order of the file: inputs, operators (bodies of control flow after the one that holds them), outputs."""
    found = [Node(tensor.name, (), kind="input") for tensor in model.inputs]
    sources: dict[int, int] = {id(tensor): number for number, tensor in enumerate(model.inputs)}
    _collect(model, (), found, sources)
    for node in found:
        inner = {id(tensor) for op in node.parts for tensor in op.outputs}
        for op in node.parts:
            node.feeds += [Feed(role, use.tensor, use, sources.get(id(use.tensor))) for role, use in op.uses.items() if id(use.tensor) not in inner]
    for use in model.outputs:
        node = Node(use.name or use.tensor.name, (), kind="output")
        node.feeds.append(Feed("", use.tensor, use, sources.get(id(use.tensor))))
        found.append(node)
    return found


def _collect(model: Model, within: tuple[str, ...], found: list[Node], sources: dict[int, int]) -> None:
    owners: dict[int, Node] = {}
    for op in model.ops:
        made = next((use.tensor.producer for use in op.uses.values()), None) if op.fused else None
        if made is not None and id(made) in owners:
            node = owners[id(op)] = owners[id(made)]
            node.parts += (op,)
            number = sources[id(made.outputs[0])]
        else:
            node = owners[id(op)] = Node(op.label, (op,), (*within, *_path(op)), kind=op.kind)
            number = len(found)
            found.append(node)
        sources.update((id(tensor), number) for tensor in op.outputs)
        for body in op.bodies.values():
            sources.update((id(tensor), number) for tensor in body.inputs)
            _collect(body, (*node.path, op.label), found, sources)


def _path(op: Op) -> tuple[str, ...]:
    """The modules that an operator is in, from its name or from where it comes from."""
    told = next((text for text in (op.name, op.source.rpartition(";")[2]) if "/" in text or "." in text), "")
    if re.search(r":\d+$", told):  # a line of a source file, or a number in place of a name
        return ()
    return tuple(part for part in re.split(r"/" if "/" in told else r"\.", told)[:-1] if part)


def fold(drawn: Sequence[Node]) -> Group:
    """All nodes as one group, with groups inside if they are many."""
    edges = [(feed.source, number) for number, node in enumerate(drawn) for feed in node.feeds if feed.source is not None]
    return Group("", _children([(number, node.path) for number, node in enumerate(drawn)], edges))


def _children(members: list[tuple[int, tuple[str, ...]]], edges: list[tuple[int, int]]) -> list[int | Group]:
    if len(members) <= FOLD:
        return [number for number, _ in members]
    children: list[int | Group] = []
    seen: Counter[str] = Counter()
    for name, run in groupby(members, key=lambda member: member[1][0] if member[1] else ""):
        inside = [(number, path[1:]) for number, path in run]
        if name and len(inside) == len(members):
            return _children(inside, edges)  # all are in one module: it says nothing
        if name and len(inside) >= WORTH:
            seen[name] += 1
            children.append(_grouped(name if seen[name] == 1 else f"{name} ({seen[name]})", inside, edges))
        else:
            children += [number for number, _ in inside]
    return children if len(children) <= FOLD else _runs(children, edges)


def _grouped(name: str, inside: list[tuple[int, tuple[str, ...]]], edges: list[tuple[int, int]]) -> Group:
    """A module; if all it holds is in one module again, that is meant (`encoder/layer`)."""
    children = _children(inside, edges)
    if len(children) == 1 and isinstance(children[0], Group):
        return Group(f"{name}/{children[0].name}", children[0].children)
    return Group(name, children)


def _runs(children: list[int | Group], edges: list[tuple[int, int]], prefix: str = "part ") -> list[int | Group]:
    """Neighbours together, cut where few tensors cross."""
    owner = _owners(children)
    crossing = [0] * (len(children) + 1)
    for source, target in edges:
        first, last = sorted((owner.get(source, -1), owner.get(target, -1)))
        if first >= 0:
            for cut in range(first + 1, last + 1):
                crossing[cut] += 1
    count = min(-(-len(children) // ((FOLD * 4) // 5)), FOLD)
    size = len(children) / count
    reach = max(0, round(min(TAKEN * size, (FOLD - size) / 2)))
    cuts = [0]
    for number in range(1, count):
        ideal = round(number * size)
        cuts.append(min(range(ideal - reach, ideal + reach + 1), key=lambda cut: (crossing[cut], abs(cut - ideal))))
    runs: list[int | Group] = []
    for start, end in zip(cuts, [*cuts[1:], len(children)], strict=True):
        name, inside = f"{prefix}{len(runs) + 1}", children[start:end]
        runs.append(Group(name, inside if len(inside) <= FOLD else _runs(inside, edges, f"{name}.")))
    return runs


def _owners(children: Sequence[int | Group]) -> dict[int, int]:
    """Which child a node is in."""
    return {number: place for place, child in enumerate(children) for number in (child.nodes() if isinstance(child, Group) else (child,))}


def lay_out(group: Group, drawn: Sequence[Node]) -> None:
    """Place what is in a group and its groups, in layers from top to bottom.

    Raises:
        QlintError: igraph is not installed.
    """
    edges = [(feed.source, number) for number, node in enumerate(drawn) for feed in node.feeds if feed.source is not None]
    _place(group, edges)


def _place(group: Group, edges: list[tuple[int, int]]) -> None:
    """`edges` are all that touch the group."""
    owner = _owners(group.children)
    count = len(group.children)
    entrance, leaving = count, count + 1
    links: dict[tuple[int, int], None] = {}
    for source, target in edges:
        a, b = owner.get(source, entrance), owner.get(target, leaving)
        if a != b and not (a == entrance and b == leaving):
            links[a, b] = None
    # What runs against the order of the file (two modules that feed each other) is turned round for the layout.
    forward = [(a, b) if (a, b) == (a, leaving) or a == entrance or a < b else (b, a) for a, b in links]
    doors = sorted({end for link in forward for end in link if end >= count})
    layer = layers(count, forward, doors)
    vertices = [*range(count), *doors]
    number = {vertex: place for place, vertex in enumerate(vertices)}
    places, routes = _layered(len(vertices), [(number[a], number[b]) for a, b in forward], [layer[vertex] for vertex in vertices])
    group.places = places[:count]
    group.doors = {-1 - (door - count): places[number[door]] for door in doors}
    for (a, b), turned, bends in zip(links, forward, routes, strict=True):
        ends = [-1 - (end - count) if end >= count else end for end in (a, b)]
        group.edges.append((ends[0], ends[1], bends if (a, b) == turned else bends[::-1]))
    for child in group.children:
        if isinstance(child, Group):
            inside = set(child.nodes())
            _place(child, [(a, b) for a, b in edges if a in inside or b in inside])


def layers(count: int, links: Iterable[tuple[int, int]], doors: Iterable[int] = ()) -> dict[int, int]:
    """The longest way from the top; what only feeds others stands right above the first of them."""
    into: dict[int, list[int]] = {}
    out: dict[int, list[int]] = {}
    for a, b in links:
        into.setdefault(b, []).append(a)
        out.setdefault(a, []).append(b)
    layer = {count: 0}
    first = int(count in doors)
    for child in range(count):
        layer[child] = max((layer[a] + 1 for a in into.get(child, ())), default=first)
    for child in range(count - 1, -1, -1):
        if child not in into and child in out:
            layer[child] = max(first, min((layer[b] for b in out[child] if b != count + 1), default=first + 1) - 1)
    layer[count + 1] = max((layer[child] for child in range(count)), default=0) + 1
    return layer


def library() -> Any:
    """igraph.

    Raises:
        QlintError: it is not installed.
    """
    try:
        import igraph
    except ImportError as error:
        raise QlintError("the HTML report needs igraph to lay the graph out", hint='pip install "qlint-nn[html]"') from error
    return igraph


def _layered(count: int, links: list[tuple[int, int]], layers: list[int]) -> tuple[list[Point], list[list[Point]]]:
    """Centres of the vertices, and the bends of each link from top to bottom."""
    igraph = library()
    graph = igraph.Graph(n=count, edges=links, directed=True)
    centres: list[Point] = [(0, 0)] * count
    bends: list[list[Point]] = [[]] * len(links)
    right = 0
    # One component at a time, side by side: igraph (1.0) mixes up the bends of several.
    for vertices in graph.connected_components(mode="weak"):
        inside = {vertex: place for place, vertex in enumerate(vertices)}
        mine = [number for number, (a, _) in enumerate(links) if a in inside]
        part = igraph.Graph(n=len(vertices), edges=[(inside[links[n][0]], inside[links[n][1]]) for n in mine], directed=True)
        layout = part.layout_sugiyama(layers=[layers[vertex] for vertex in vertices], hgap=WIDTH + GAP, vgap=ROW)
        left = min(x for x, _ in [*layout.coords, *(point for points in layout.edge_routing for point in points)])
        for vertex, (x, _) in zip(vertices, layout.coords, strict=True):
            centres[vertex] = (round(x - left) + right, layers[vertex] * ROW)
        for number, points in zip(mine, layout.edge_routing, strict=True):
            bends[number] = [(round(x - left) + right, round(y)) for x, y in points]
        right = max(x for x, _ in [*(centres[vertex] for vertex in vertices), *(point for number in mine for point in bends[number])]) + WIDTH + GAP
    return centres, bends
