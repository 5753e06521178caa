"""Looking into weights for graph rules: a few elements first, all of them only where those look suspicious.

A check must not cost what the weights weigh, so nothing here reads a healthy weight to its end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qlint.graph import Data, Model, Op, Quantizer, Use, once
from qlint.graph.axes import channel_axes
from qlint.graph.kinds import CLASSES
from qlint.graph.lazy import lazy
from qlint.graph.values import part
from qlint.lint.sweep import graphs

if TYPE_CHECKING:
    import numpy

SMALL = 128  # elements of a weight that is looked at whole
HEAD = 8  # elements of a channel that are looked at first
FIRST = 32  # elements of a larger one that are looked at first
PLACES = 4  # where, spread over a weight whose first ones do not tell
SLAB = 1 << 20  # elements that are looked at together where all are looked at
MAX_BYTES = 8 << 20  # of a weight that may be read whole; nothing is said of larger ones that look suspicious


@dataclass(eq=False)
class Weight:
    """A constant that a weighted op multiplies with, and its quantizer if it has one."""

    use: Use
    op: Op
    data: Data
    quantizer: Quantizer | None
    _seen: list[Sequence[float]] = field(default_factory=list)  # at the places that were looked at

    @property
    def readable(self) -> bool:
        """Whether all of it may be read to be sure."""
        return self.data.nbytes <= MAX_BYTES

    @lazy
    def size(self) -> int:
        return math.prod(self.data.shape)

    @lazy
    def axis(self) -> int | None:
        """Of the output channels."""
        return channel_axes(self.op, self.use.role)[0]

    def some(self) -> Iterator[Sequence[float]]:
        """Elements at a few places, those at the beginning first, or all of a small weight; nothing if the bytes cannot be had."""
        yield from self._seen
        size = self.size
        length, places = (size, 1) if size <= SMALL else (FIRST, PLACES)
        for number in range(len(self._seen), places):
            start = size * number // places
            found = part(self.data, start, min(length, size - start))
            if found is None:
                return
            self._seen.append(found)
            yield found

    @lazy
    def heads(self) -> list[Sequence[float] | None]:
        """A few elements of each output channel, where channels lie so that these are quickly had; else nothing."""
        return list(self._channels())

    def _channels(self) -> Iterator[Sequence[float] | None]:
        shape, axis = self.data.shape, self.axis
        if axis is None or axis >= len(shape) or not shape[axis] or self.size % shape[axis]:
            return
        count = shape[axis]
        each = self.size // count
        if axis == 0 and each >= HEAD:
            if self.size <= SMALL:
                whole = next(self.some(), ())
                yield from (whole[start : start + HEAD] for start in range(0, len(whole), each))
            else:
                yield from (part(self.data, i * each, HEAD) for i in range(count))
        elif axis == len(shape) - 1:
            rows = [part(self.data, i * count, count) for i in range(min(2, each))]
            yield from (None if any(row is None for row in rows) else tuple(row[i] for row in rows if row) for i in range(count))

    def channel(self, number: int) -> Iterable[Sequence[float]]:
        """The elements of one output channel piece by piece; of channels that do not lie in one piece only the first ones."""
        if self.axis != 0 or self.size <= SMALL:
            return [head for head in self.heads[number : number + 1] if head is not None]
        return self._pieces(number)

    def _pieces(self, number: int) -> Iterator[Sequence[float]]:
        each = self.size // max(1, self.data.shape[0])
        for start in range(0, each, FIRST):
            found = part(self.data, number * each + start, min(FIRST, each - start))
            if found is None:
                return
            yield found

    def array(self) -> numpy.ndarray:
        """All of it: for what looks suspicious only."""
        return self.data.array()

    def slabs(self) -> Iterator[numpy.ndarray]:
        """All of it in steps of its grid, counted from the zero point, as int64: a few output channels at a time.

        (output channels, input channels, kernel ...); of a product (columns, inner), matrix by matrix. Only where the grid is
        affine and not in blocks, and the axis of the output channels is known.
        """
        import numpy as np

        q, (out, inner) = self.quantizer, channel_axes(self.op, self.use.role)
        assert q is not None and q.scale is not None and q.zero_point is not None and out is not None
        values = self.array()
        shape = [1] * values.ndim
        if q.granularity == "channel" and q.axis is not None and q.axis < len(shape):
            shape[q.axis] = -1
        grids = [np.broadcast_to(np.asarray(list(v), np.float64).reshape(shape if len(v) > 1 else [1] * len(shape)), values.shape) for v in (q.scale, q.zero_point)]
        values, scale, zero = (self._rows(one, out, inner) for one in (values, *grids))
        step = max(1, SLAB // max(1, math.prod(values.shape[1:])))
        for start in range(0, values.shape[0], step):
            part, z = values[start : start + step].astype(np.float64), zero[start : start + step]
            if not self.stored:
                s = scale[start : start + step]
                part = np.clip(np.round(part / np.where(s > 0, s, np.inf)) + z, q.qmin, q.qmax)
            yield (part - z).astype(np.int64)

    def _rows(self, values: numpy.ndarray, out: int, inner: int | None) -> numpy.ndarray:
        """A view with the output channels first, the input channels behind them; the groups of a transposed conv are output channels."""
        import numpy as np

        if inner is None:
            return np.moveaxis(values, out, 0)
        if self.op.kind in ("linear", "matmul"):
            return np.moveaxis(values, (out, inner), (-2, -1)).reshape(-1, values.shape[inner])
        rows, group = np.moveaxis(values, (out, inner), (0, 1)), self.op.attrs.get("group", 1)
        if self.op.kind == "conv_transpose" and group > 1 and rows.shape[1] % group == 0:
            parts = rows.reshape(rows.shape[0], group, -1, *rows.shape[2:])
            rows = np.moveaxis(parts, 1, 0).reshape(-1, *parts.shape[2:])
        return rows

    @lazy
    def stored(self) -> bool:
        """Whether the file holds the integers, and not the numbers that they stand for."""
        return self.data.dtype.startswith(("int", "uint"))


@once
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
