"""Looking into weights for graph rules: a few elements first, all of them only where those look suspicious.

A check must not cost what the weights weigh, so nothing here reads a healthy weight to its end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qlint.graph import Data, Model, Op, Quantizer, Use
from qlint.graph.axes import channel_axes
from qlint.graph.kinds import CLASSES
from qlint.graph.values import part
from qlint.lint.sweep import graphs

if TYPE_CHECKING:
    import numpy

FIRST = 32  # elements that are looked at first
PLACES = 4  # where, spread over a weight whose first ones do not tell
MAX_BYTES = 8 << 20  # of a weight that may be read whole; nothing is said of larger ones that look suspicious


@dataclass(frozen=True, slots=True)
class Weight:
    """A constant that a weighted op multiplies with, and its quantizer if it has one."""

    use: Use
    op: Op
    data: Data
    quantizer: Quantizer | None

    @property
    def readable(self) -> bool:
        """Whether all of it may be read to be sure."""
        return self.data.nbytes <= MAX_BYTES

    @property
    def size(self) -> int:
        return math.prod(self.data.shape)

    @property
    def axis(self) -> int | None:
        """Of the output channels."""
        return channel_axes(self.op, self.use.role)[0]

    def some(self) -> Iterator[Sequence[float]]:
        """Elements at a few places, those at the beginning first; nothing if the bytes cannot be had."""
        starts = [0] if self.size <= FIRST else [self.size * i // PLACES for i in range(PLACES)]
        for start in starts:
            found = part(self.data, start, min(FIRST, self.size - start))
            if found is None:
                return
            yield found

    def array(self) -> numpy.ndarray:
        """All of it: for what looks suspicious only."""
        return self.data.array()

    def codes(self) -> numpy.ndarray | None:
        """All of it in steps of its grid, counted from the zero point; None if scale and zero point do not say."""
        import numpy as np

        q = self.quantizer
        if q is None or q.scale is None or q.zero_point is None or q.granularity == "block":
            return None
        shape = [1] * len(self.data.shape)
        if q.granularity == "channel" and q.axis is not None and q.axis < len(shape):
            shape[q.axis] = -1
        scale, zero = (np.asarray(list(v), np.float64).reshape(shape if len(v) > 1 else [1] * len(shape)) for v in (q.scale, q.zero_point))
        values = self.array().astype(np.float64)
        codes: numpy.ndarray = values - zero if self.stored else np.round(values / np.where(scale > 0, scale, np.inf))
        return codes

    @property
    def stored(self) -> bool:
        """Whether the file holds the integers, and not the numbers that they stand for."""
        return self.data.dtype.startswith(("int", "uint"))


def weights(model: Model) -> Iterator[Weight]:
    """Every constant weight once, with the first op that reads it."""
    for graph in graphs(model):
        for op in graph.ops:
            if op.kind not in CLASSES["weighted"] or op.role != "data":
                continue
            for role in ("w", "rhs"):
                use = op.uses.get(role)
                data = use.tensor.data if use is not None else None
                if use is not None and data is not None and use.tensor.uses[0] is use and data.shape:
                    yield Weight(use, op, data, use.quantizers[-1] if use.quantizers else None)
