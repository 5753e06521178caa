"""Numbers of a constant that is too long to hold: read when they are looked at, one tensor at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qlint.graph.model import Data

SMALL = 1 << 14  # bytes of a constant that is read whole without a second thought
_last: tuple[Data | None, tuple[Any, ...]] = (None, ())  # the one that was looked at last


class Numbers(Sequence[float]):
    """All elements of a constant, flat, like a tuple of them; a block-wise quantized weight has millions of scales."""

    __slots__ = ("_length", "data")

    def __init__(self, data: Data, length: int) -> None:
        self.data = data
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, at: Any) -> Any:
        return self._decoded()[at]

    def __iter__(self) -> Iterator[float]:
        return iter(self._decoded())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Numbers) and other.data is self.data:
            return True
        return isinstance(other, (Numbers, tuple)) and len(other) == len(self) and all(a == b for a, b in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash(self._length)

    def _decoded(self) -> tuple[Any, ...]:
        global _last
        if _last[0] is not self.data:
            _last = self.data, self.data.values()
        return _last[1]

    def __repr__(self) -> str:
        return f"Numbers({self._length})"


def part(data: Data, start: int, count: int) -> tuple[Any, ...] | None:
    """`count` elements of a constant from position `start` on, flat; None if they cannot be had without reading it all.

    For looking into weights: only the bytes that are asked for are touched.
    """
    read = getattr(data, "part", None)
    if read is not None:
        found = read(start, count)
        return None if found is None else tuple(found)
    return data.values()[start : start + count] if data.nbytes <= SMALL else None
