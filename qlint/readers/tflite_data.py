"""Constants of TFLite files that are more than raw bytes: texts, and sparse tensors. Both are decoded when someone asks."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from qlint.errors import ReadError
from qlint.readers.data import MAX_DENSE, File, Literal, Stored
from qlint.readers.flatbuffer import Span, Table

if TYPE_CHECKING:
    import numpy


@dataclass(slots=True, eq=False)
class Strings:
    """Texts: their number, where each starts, where the last ends, then their bytes (tflite/string_util.h)."""

    shape: tuple[int, ...]
    file: File
    span: Span
    where: str
    dtype: str = "string"

    @property
    def nbytes(self) -> int:
        return self.span.size

    def values(self) -> tuple[Any, ...]:
        raw, size = self.file.buffer, self.span.size
        count = struct.unpack_from("<i", raw, self.span.start)[0] if size >= 4 else -1
        if count != math.prod(self.shape) or 4 * count + 8 > size:
            raise self._error(f"of shape {list(self.shape)} has {count} texts in {size} bytes")
        places = struct.unpack_from(f"<{count + 1}i", raw, self.span.start + 4)
        if any(not 0 <= a <= b <= size for a, b in pairwise(places)):
            raise self._error("has texts that lie outside of it")
        return tuple(raw[self.span.start + a : self.span.start + b] for a, b in pairwise(places))

    def array(self) -> numpy.ndarray[Any, Any]:
        return Literal(self.dtype, self.shape, self.values()).array()

    def _error(self, what: str) -> ReadError:
        return ReadError(f"{self.where} {what}", subject=str(self.file.path), hint="export or download the model again")


@dataclass(slots=True, eq=False)
class Dense:
    """A sparse tensor, as a dense one.

    The dimensions are walked in `traversal_order`; each is dense, or compressed as the rows of a CSR matrix are. Dimensions
    above the tensor's rank are blocks: `block_map` says of which dimension (schema.fbs, SparsityParameters).
    """

    shape: tuple[int, ...]
    stored: Stored
    sparsity: Table

    @property
    def dtype(self) -> str:
        return self.stored.dtype

    @property
    def nbytes(self) -> int:
        return self.stored.nbytes

    def values(self) -> tuple[Any, ...]:
        size = math.prod(self.shape)
        if size > MAX_DENSE:
            raise self._error("is too large to be written out")
        dense: list[Any] = [0] * size
        found = self.stored.values()
        places = self._places()
        if len(places) != len(found):
            raise self._error(f"has {len(found)} values for {len(places)} places")
        for place, value in zip(places, found, strict=True):
            if not 0 <= place < size:
                raise self._error("has a value outside of it")
            dense[place] = value
        return tuple(dense)

    def array(self) -> numpy.ndarray[Any, Any]:
        return Literal(self.dtype, self.shape, self.values()).array()

    def _places(self) -> list[int]:
        """The linear place of every stored value, in the order in which they are stored."""
        rank, order, levels = len(self.shape), self.sparsity["traversal_order"] or (), self.sparsity["dim_metadata"] or ()
        blocked: Sequence[int] = self.sparsity["block_map"] or ()
        if sorted(order) != list(range(rank + len(blocked))) or len(levels) != len(order) or any(not 0 <= d < rank for d in blocked):
            raise self._error("has dimensions that do not belong to its shape")
        strides = [math.prod(self.shape[d + 1 :]) for d in range(rank)]
        steps = list(strides)  # of one step along a dimension, in elements: those of a blocked one are whole blocks
        for number, d in enumerate(blocked):
            steps[d] *= levels[rank + number]["dense_size"]
        at = [(0, 0)]  # (how many entries of this level lie before, linear place), for each entry
        for dimension, level in zip(order, levels, strict=True):
            step = steps[dimension] if dimension < rank else strides[blocked[dimension - rank]]
            at = [*self._entries(at, level, step)]
        return [place for _, place in at]

    def _entries(self, at: list[tuple[int, int]], level: Table, step: int) -> Iterator[tuple[int, int]]:
        limit = max(math.prod(self.shape), 1)
        if level["format"] == "DENSE":
            count = level["dense_size"]
            if count < 0 or len(at) * count > limit:
                raise self._error("has more values than its shape")
            for before, place in at:
                for i in range(count):
                    yield before * count + i, place + i * step
            return
        segments, indices = (self._indices(level[name]) for name in ("array_segments", "array_indices"))
        for before, place in at:
            if not 0 <= before < len(segments) - 1 or not 0 <= segments[before] <= segments[before + 1] <= len(indices):
                raise self._error("has rows that are not there")
            limit -= segments[before + 1] - segments[before]
            if limit < 0:
                raise self._error("has more values than its shape")
            for i in range(segments[before], segments[before + 1]):
                yield i, place + indices[i] * step

    def _indices(self, vector: Table | None) -> Sequence[int]:
        numbers = None if vector is None else vector["values"]
        if isinstance(numbers, Span):
            return self.stored.file.buffer[numbers.start : numbers.end]
        return numbers or ()

    def _error(self, what: str) -> ReadError:
        where = f"the sparse constant {self.stored.where} of shape {list(self.shape)}"
        return ReadError(f"{where} {what}", subject=str(self.stored.file.path), hint="export or download the model again")
