"""Constants on other grids: what a reader sees of stored integers, and the integers of real numbers."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from qlint.errors import QlintError
from qlint.fixing.edits import same_grid
from qlint.graph import Data, Quantizer
from qlint.readers.data import bits

_CODES = {"float32": "f", "float16": "e", "float64": "d", "int64": "q", "int32": "i"}


class WriteError(QlintError):
    """An edit that this format, or this writer, has no form for."""


def same_codes(old: Quantizer, new: Quantizer) -> bool:
    """Whether the stored integers mean the same numbers under either."""
    same = (old.storage, old.granularity, old.axis) == (new.storage, new.granularity, new.axis)
    return same and old.read_as is None and list(old.pairs()) == list(new.pairs())


def _spread(values: Sequence[float], q: Quantizer, rank: int) -> Any:
    """Parameters in a form that numpy spreads over the tensor; float64."""
    import numpy as np

    array = np.asarray(values, np.float64)
    if array.size == 1 or q.axis is None:
        return array.reshape(())
    shape = [1] * rank
    shape[q.axis % rank] = array.size
    return array.reshape(shape)


def quantized(values: Any, q: Quantizer) -> Any:
    """Real values as integers of a grid: rounded half to even and clamped, in float32 as QuantizeLinear does it."""
    import numpy as np

    assert q.scale is not None and q.zero_point is not None
    scale, zero_point = (_spread(part, q, values.ndim) for part in (q.scale, q.zero_point))
    steps = np.asarray(values, np.float32) / scale.astype(np.float32) if q.storage != "int32" else np.asarray(values, np.float64) / scale
    return np.clip(np.rint(steps).astype(np.float64) + zero_point, q.qmin, q.qmax).astype(np.int64)


def dequantized(integers: Any, q: Quantizer) -> Any:
    """The real values of integers: in float32, as DequantizeLinear computes them."""
    import numpy as np

    assert q.scale is not None and q.zero_point is not None
    scale, zero_point = (_spread(part, q, integers.ndim) for part in (q.scale, q.zero_point))
    return (np.asarray(integers, np.int64) - zero_point.astype(np.int64)).astype(np.float32) * scale.astype(np.float32)


def requantized(integers: Any, old: Quantizer, new: Quantizer) -> Any:
    """Integers of one grid as those of another: shifted if only the container differs, else rounded again."""
    import numpy as np

    if same_grid(old, new):
        return np.asarray(integers, np.int64) + int(new.qmin - old.qmin)
    return quantized(dequantized(integers, old), new)


def real(data: Data, sequence: Sequence[Quantizer]) -> Any:
    """The numbers that a reader of a constant sees through its quantizers."""
    values = data.array()
    for q in sequence:
        if q.block_size or q.grid != "affine" or q.dynamic:
            raise WriteError(f"qlint cannot compute a constant that is {q}")
        values = dequantized(values if q.quantize is None else quantized(values, q), q.read_as or q)
    return values


def packed(dtype: str, values: Sequence[float]) -> bytes:
    """Numbers as the little-endian bytes of a tensor of this type; types of less than a byte lie side by side, lowest first."""
    import numpy as np

    if dtype in _CODES and not isinstance(values, np.ndarray):
        return struct.pack(f"<{len(values)}{_CODES[dtype]}", *values)
    array = np.asarray(values)
    width = bits(dtype)
    if width >= 8 and not dtype.startswith(("bfloat", "float8")):
        return array.astype(np.dtype(dtype).newbyteorder("<")).tobytes()
    if dtype == "bfloat16":
        return (array.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    if width == 8 or width == 6 or dtype == "float4e2m1":
        raise WriteError(f"qlint does not write the type {dtype}")
    flat = array.astype(np.int64).reshape(-1) & (1 << width) - 1
    per_byte = 8 // width
    padded = np.zeros(-(-flat.size // per_byte) * per_byte, np.int64)
    padded[: flat.size] = flat
    out = np.zeros(padded.size // per_byte, np.uint8)
    for at in range(per_byte):
        out |= (padded[at::per_byte] << at * width).astype(np.uint8)
    return out.tobytes()
