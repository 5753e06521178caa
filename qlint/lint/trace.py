"""Which of a mismatch's prepare steps belong in its message: those without which the value would differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qlint.graph import Quantizer
from qlint.judge.verdict import Mismatch

# Dimensions in which no prepare step can be the reason, or in which it is the dimension itself.
_NEVER = frozenset({"quantizer", "kernel", "presence", "constant", "dtype", "native", "refusal", "format", "opset", "rank",
                     "static_shape", "dynamic_shape", "unknown_shape"})  # fmt: skip
_VALUES: dict[str, Callable[[Quantizer], Any]] = {
    "storage": lambda q: q.storage,
    "same_storage": lambda q: q.storage,
    "granularity": lambda q: q.granularity,
    "zero_point": lambda q: None if q.zero_point is None else q.zero_point[0],
    "range": lambda q: q.range,
    "symmetric": lambda q: q.symmetric,
    "same": str,
}


def because(mismatch: Mismatch) -> tuple[str, ...]:
    """The trace, if what was found does not stand in the file like that."""
    if not mismatch.trace or mismatch.dimension in _NEVER or mismatch.tensor is None:
        return ()
    value = _VALUES.get(mismatch.dimension)
    if value is None:
        return mismatch.trace
    written = [value(q) for use in mismatch.tensor.uses for q in use.quantizers]
    found = mismatch.found[0] if mismatch.dimension == "zero_point" and isinstance(mismatch.found, tuple) else mismatch.found
    return () if found in written else mismatch.trace
