"""Operators that a partitioner cannot cut out of the graph, because they depend on each other in a circle.

ExecuTorch's partitioner (exir/backend/canonical_partitioners: config_partitioner.py, group_partitioner.py) keeps what a delegate
takes as one unit together: the operators, the dequantize in front of each, the quantize behind. Units with a node in common are
one group: those that read one dequantize. Any other node that the delegate takes is a group of its own. From the end of the graph
on, each group is then joined with every later one, if no path leads out of both and back. A group out of which one still leads, and
back, is no partition ("Invalid partition, found dependency cycles").

A dequantize that is a part of a unit is nothing of its own any more: its tensor is one of integers. What the delegate computes on
floats gets those if it reads it, too, and the runtime says no. So does the lowering if something outside reads an image that operators
of the same partition want to have with its channels last (backends/xnnpack/_passes/channels_last_tagged_reshape_pass.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from qlint.graph import Model, Op, Quantizer, Use
from qlint.graph.kinds import QUANTIZER_KINDS
from qlint.judge.pattern import Chain

CHANNELS_LAST = frozenset("conv conv_transpose resize max_pool avg_pool global_avg_pool reduce_mean reduce_max prelu".split())


class Uncut(NamedTuple):
    """A dequantize that several operators read, and what is in the way: one that is no unit, or on a path between two of its group."""

    dequantize: Op
    outside: Op | None  # None: a graph output


def uncut(model: Model, units: Iterable[Chain], others: Iterable[Chain]) -> Uncut | None:
    """The first group that cannot be cut out. `units` take quantizers with them, `others` are delegated without any."""
    groups, floats = [_unit(chain) for chain in units], [set(chain.ops) for chain in others]
    inside = set[Op]().union(*groups)
    shared = {node: readers for node, readers in _readers(model).items() if len(readers) > 1 and node in inside}
    if not shared:  # then every path out of a unit leads away
        return None
    strangers = [(node, reader) for node, readers in shared.items() for reader in readers if not any(node in group and reader in group for group in groups)]
    computed = set[Op]().union(*floats)
    for node, reader in strangers:
        if reader in computed:
            return Uncut(node, reader)
    lone = [{node} for _, q in model.quantizers() for node in (q.quantize, q.dequantize) if node is not None and q.granularity == "tensor" and q.storage == "int8"]
    graph = _Graph(model)
    masks = graph.joined([*groups, *floats, *lone])
    if strangers or not all(graph.convex(mask) for mask in masks):
        masks = graph.merged(masks)
    for mask in masks:
        if not graph.convex(mask):
            return Uncut(next(node for node in shared if graph.bit(node) & mask), graph.between(mask))
        laid_out = any(op.kind in CHANNELS_LAST and graph.bit(op) & mask for op in model.ops)
        for node, reader in strangers if laid_out else ():
            if graph.bit(node) & mask and node.outputs[0].rank == 4 and (reader is None or reader.kind not in QUANTIZER_KINDS):
                return Uncut(node, reader)
    return None


def _unit(chain: Chain) -> set[Op]:
    """The nodes of the file that a unit consists of."""
    nodes: set[Op | None] = set(chain.ops)
    dynamic = False
    for op in chain.ops:
        for use in op.uses.values():
            if use.tensor.producer in chain.ops:
                continue
            for quantizer in use.quantizers[-1:]:
                nodes.add(quantizer.dequantize)
                if quantizer.dynamic:
                    nodes.add(quantizer.quantize)
                    dynamic = True
    if not dynamic:
        nodes.update(use.quantizers[0].quantize for use in chain.ops[-1].outputs[0].uses if use.quantizers)
    return {node for node in nodes if node is not None}


def _steps(use: Use) -> Iterator[Op]:
    """The nodes between a producer and a reader, both included, where the file has them."""
    if use.tensor.producer is not None:
        yield use.tensor.producer
    for quantizer in use.quantizers:
        yield from _nodes(quantizer)
    if use.op is not None:
        yield use.op


def _nodes(quantizer: Quantizer) -> Iterator[Op]:
    yield from (node for node in (quantizer.quantize, quantizer.dequantize) if node is not None)


def _readers(model: Model) -> dict[Op, list[Op | None]]:
    """What reads each dequantize: operators, quantizers, None for a graph output."""
    readers: dict[Op, list[Op | None]] = {}
    seen: set[tuple[Op, Op | None]] = set()
    for tensor in model.tensors.values():
        for use in tensor.uses:
            for quantizer, behind in zip(use.quantizers, (*use.quantizers[1:], None), strict=False):
                reader = use.op if behind is None else behind.quantize
                if quantizer.dequantize is not None and (behind is None or (quantizer.dequantize, reader) not in seen):
                    seen.add((quantizer.dequantize, reader))
                    readers.setdefault(quantizer.dequantize, []).append(reader)
    return readers


def _order(model: Model) -> dict[Op, tuple[int, int]]:
    """Where the operators are in the file; what a node of it was taken apart into is directly behind its first part."""
    written = {id(node) for node in model.nodes}
    order: dict[Op, tuple[int, int]] = {}
    for op in model.flow:
        if id(op) in written:
            order[op] = (op.index, 0)
        else:
            place, part = max((order.get(node, (node.index, 0)) for use in op.uses.values() for node in [*_steps(use)][:-1]), default=(op.index, 0))
            order[op] = (place, part + 1)
    return order


class _Graph:
    """The nodes of the file in its order, and sets of them as bits of a number: the last node is the highest bit."""

    def __init__(self, model: Model) -> None:
        steps = [list(_steps(use)) for tensor in model.tensors.values() for use in tensor.uses]
        order = _order(model)
        self.nodes = sorted({*model.ops, *(node for path in steps for node in path)}, key=lambda node: order.get(node, (node.index, 0)))
        self.places = {node: place for place, node in enumerate(self.nodes)}
        self.behind = [0] * len(self.nodes)  # who reads a node
        for path in steps:
            for node, reader in pairwise(path):
                self.behind[self.places[node]] |= self.bit(reader)
        self.below = list(self.behind)  # whatever depends on it
        for place in reversed(range(len(self.nodes))):
            for behind in _bits(self.behind[place]):
                self.below[place] |= self.below[behind]

    def bit(self, node: Op) -> int:
        return 1 << self.places[node]

    def joined(self, groups: list[set[Op]]) -> list[int]:
        """Groups without a node in common, the one that ends last first."""
        found: list[int] = []
        for group in groups:
            mask = 0
            for node in group:
                mask |= self.bit(node)
            apart = []
            for other in found:
                if other & mask:
                    mask |= other
                else:
                    apart.append(other)
            found = [*apart, mask]
        return sorted(found, reverse=True)

    def convex(self, mask: int) -> bool:
        """Whether no path leads out of a set of nodes and back."""
        return not any(self.below[place] & mask for place in _bits(self._outside(mask)))

    def between(self, mask: int) -> Op:
        """A node on a path out of the set and back."""
        return next(self.nodes[place] for place in _bits(self._outside(mask)) if self.below[place] & mask)

    def _outside(self, mask: int) -> int:
        readers = 0
        for place in _bits(mask):
            readers |= self.behind[place]
        return readers & ~mask

    def merged(self, masks: list[int]) -> list[int]:
        left = list(masks)
        for first in range(len(left)):
            for second in range(first + 1, len(left) if left[first] else 0):
                if left[second] and self.convex(left[first] | left[second]):
                    left[first] |= left[second]
                    left[second] = 0
        return [mask for mask in left if mask]


def _bits(mask: int) -> Iterator[int]:
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
