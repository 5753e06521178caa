"""Walks over a model for graph rules: every graph, and every quantizer once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from qlint.graph import Model, Op, Quantizer, Shape, Use, once

EPSILON = 2.0**-23  # of float32: the floor that observers have
LARGEST_FLOAT16 = 65504.0
TOLERANCE = 1e-6  # relative, between scales that mean the same


class Grid(NamedTuple):
    """A quantizer as one node of the file describes it, with the first use that sees it."""

    use: Use
    quantizer: Quantizer
    node: Op | None

    @property
    def constant(self) -> bool:
        """Whether it is on a constant: a weight or bias."""
        return self.use.tensor.data is not None

    @property
    def stored(self) -> bool:
        """Whether the file holds the integers themselves: a weight that is only dequantized."""
        return self.constant and self.quantizer.quantize is None

    @property
    def shape(self) -> Shape | None:
        """The shape of what the node quantizes: a Transpose may stand between it and the tensor of the use."""
        data = self.node.uses.get("x") if self.node is not None else None
        return data.tensor.shape if data is not None else self.use.tensor.shape


@once
def graphs(model: Model) -> Iterator[Model]:
    """As `Model.graphs`: many rules ask."""
    yield from model.graphs()


@once
def grids(model: Model) -> Iterator[Grid]:
    """Every quantizer of the file once, however many uses see it; a DequantizeLinear on another grid counts too."""
    seen: set[object] = set()
    for graph in graphs(model):
        for use, q in graph.quantizers():
            for grid in _written_and_read(use, q):
                key: object = id(grid.node) if grid.node is not None else (id(use.tensor), grid.quantizer)
                if key not in seen:
                    seen.add(key)
                    yield grid


def meant(quantizer: Quantizer) -> bool:
    """Whether some scale can have been meant: it is neither invalid nor what calibration leaves of a tensor without values. Those have rules of their own."""
    return quantizer.scale is None or any(2 * EPSILON < scale <= LARGEST_FLOAT16 for scale in quantizer.scale)


def _written_and_read(use: Use, q: Quantizer) -> Iterator[Grid]:
    if q.quantize is not None or q.read_as is None:
        yield Grid(use, q, q.quantize or q.dequantize)
    if q.read_as is not None:
        yield Grid(use, q.read_as, q.dequantize or q.read_as.dequantize)


def same_grid(one: Quantizer, other: Quantizer) -> bool:
    """Whether two quantizers have the same levels at the same real values, whatever the shapes in the file."""
    mine, theirs = list(one.pairs()), list(other.pairs())
    if len(mine) != len(theirs):
        short, long = sorted((mine, theirs), key=len)
        if len(short) != 1:
            return False
        mine, theirs = short * len(long), long
    return (one.qmin, one.qmax) == (other.qmin, other.qmax) and all(
        math.isclose(s, t, rel_tol=TOLERANCE) and z == y for (s, z), (t, y) in zip(mine, theirs, strict=True)
    )
