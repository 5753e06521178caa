"""Which nodes of an optimized graph do the work of which nodes of the original one.

A tensor that has the same name in both graphs holds the same value in both. So behind such a tensor, up to
the next such tensors, a few nodes of the one graph stand for a few of the other: a *region*. This holds
through fusion, removal, folding and inlining, and needs no list of what optimizers do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import onnx


@dataclass(frozen=True)
class Region:
    """`original` and `optimized` compute the same tensor from the same tensors."""

    tensor: str
    sources: frozenset[str]
    original: tuple[onnx.NodeProto, ...]
    optimized: tuple[onnx.NodeProto, ...]


def regions(original: onnx.GraphProto, optimized: onnx.GraphProto, constant: set[str]) -> list[Region]:
    """One region for each tensor that both graphs compute. `constant`: the original's constant tensors.

    A tensor whose regions do not match (the way back in the original leads past them to an input of the
    graph) is left out.
    """
    before = _producers(original.node)
    after = _producers(optimized.node)
    inputs = {value.name for value in original.input}
    stored = constant | {i.name for i in original.initializer} | {i.name for i in optimized.initializer}
    shared = (before.keys() & after.keys()) | inputs
    found: list[Region] = []
    for tensor in after:
        if tensor not in before or tensor in constant:
            continue
        there, sources = _back(tensor, after, shared, stored)
        here, reached = _back(tensor, before, sources, stored)
        if reached <= sources and not (reached - shared):
            found.append(Region(tensor, frozenset(sources), tuple(here), tuple(there)))
    return found


def _producers(nodes: Iterable[onnx.NodeProto]) -> dict[str, onnx.NodeProto]:
    return {name: node for node in nodes for name in node.output if name}


def _back(
    tensor: str, producers: dict[str, onnx.NodeProto], stop: set[str] | frozenset[str], stored: set[str]
) -> tuple[list[onnx.NodeProto], set[str]]:
    """The nodes from a tensor back to those in `stop`, and where the way back ended; constants are no end."""
    nodes: dict[int, onnx.NodeProto] = {}
    ends: set[str] = set()
    seen: set[str] = set()
    todo = [tensor]
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in stored:
            continue
        if (name in stop and name != tensor) or name not in producers:
            ends.add(name)
            continue
        node = producers[name]
        nodes[id(node)] = node
        todo.extend(n for n in node.input if n)
    return list(nodes.values()), ends
