"""Quantizers from the tensors and attributes that hold their parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from qlint.graph import FLOAT_GRIDS, INTEGER_RANGES, Op, Quantizer, Tensor
from qlint.graph.axes import channel_axes
from qlint.graph.quantizer import Granularity
from qlint.graph.values import Numbers
from qlint.passes.constants import MAX_ELEMENTS, small

Key = tuple[Any, ...]
# Roles that hold quantization parameters of an integer operator (QLinearConv, QGemm ...).
PARAMETER_ROLES = ("_scale", "_zero_point")
D = TypeVar("D", int, None)
OPEN = (None, None)


BLOCK_WEIGHTS = frozenset(f"com.microsoft::{name}" for name in ("MatMulNBits", "MatMulBnb4", "GatherBlockQuantized"))
LOGARITHM = Quantizer("int8", None, (0,), qmin=-128, qmax=127, grid="log")


class Parameters:
    """Builds quantizers; nodes that share scale and zero point share what is derived from them."""

    def __init__(self) -> None:
        self._built: dict[Key, Quantizer] = {}
        self._forms: dict[Key, Quantizer] = {}  # quantizers without numbers
        self._numbers: dict[int, Sequence[float] | None] = {}

    def of_node(self, op: Op, storage: str) -> Quantizer:
        """What a QuantizeLinear or DequantizeLinear node describes; `storage` is the type of its integers.

        ONNX: without a zero point it is 0; a scale of one element is per tensor; `block_size` > 0 makes `axis` a
        blocked one. MQBench writes the integers that it uses of the type as `quant_min` and `quant_max`, and for NNIE,
        whose 8-bit codes are those of a logarithm, only where they end: `data_max`.
        """
        uses, attrs = op.uses, op.attrs
        if "data_max" in attrs and "scale" not in uses:
            return LOGARITHM
        scale = uses["scale"].tensor if "scale" in uses else None
        zero_point = uses["zero_point"].tensor if "zero_point" in uses else None
        axis, block_size = _integer(attrs.get("axis"), 1), _integer(attrs.get("block_size"), 0)
        bounds = (_integer(attrs.get("quant_min"), None), _integer(attrs.get("quant_max"), None)) if "quant_min" in attrs or "quant_max" in attrs else OPEN
        rank = uses["x"].tensor.rank if axis < 0 and "x" in uses else None
        found = self.build(storage or (zero_point.dtype if zero_point is not None else ""), scale, zero_point, axis, block_size, rank, bounds)
        return _flat(found) if op.domain == "torchao" else found

    @staticmethod
    def has_ports(op: Op) -> bool:
        """Whether an operator says anything of its ports."""
        return op.native in BLOCK_WEIGHTS or any(role.endswith(PARAMETER_ROLES) for role in op.uses)

    def of_port(self, op: Op, role: str, storage: str) -> Quantizer | None:
        """What an integer operator says of one of its ports (`x_scale`, `y_zero_point` ...); None if it says nothing."""
        scale, zero_point = op.uses.get(f"{role}_scale"), op.uses.get(f"{role}_zero_point")
        if op.native in BLOCK_WEIGHTS:
            return self._of_blocks(op) if role == "w" else None
        if scale is None and zero_point is None:
            return self._of_bias(op, storage) if role == "b" else None
        axis = channel_axes(op, role)[0] or 0 if role in op.uses else 0
        # ConvInteger, MatMulInteger: integers whose scale the operator never sees.
        return self.build(
            storage, None if scale is None else scale.tensor, None if zero_point is None else zero_point.tensor, axis=axis, origin="qoperator"
        )

    def _of_bias(self, op: Op, storage: str) -> Quantizer | None:
        """An int32 bias of QLinearConv, QGemm ... is on the grid of the accumulator: scale x * w, zero point 0."""
        x, w = (None if (use := op.uses.get(f"{role}_scale")) is None else use.tensor for role in ("x", "w"))
        if storage != "int32" or x is None or w is None:
            return None
        key = ("bias", id(x), id(w))
        if key not in self._built:
            self._built[key] = self._accumulator(x, w)
        return self._built[key]

    def _accumulator(self, x: Tensor, w: Tensor) -> Quantizer:
        left, right = self.numbers(x), self.numbers(w)
        scale = None if left is None or right is None or len(left) != 1 else tuple(left[0] * s for s in right)
        per_channel = w.shape is not None and math.prod(d for d in w.shape if isinstance(d, int)) != 1
        low, high = INTEGER_RANGES["int32"]
        return Quantizer(
            "int32", scale, (0,), () if scale is None or len(scale) == 1 else (len(scale),), granularity="channel" if per_channel else "tensor",
            axis=0 if per_channel else None, qmin=low, qmax=high, origin="qoperator",
        )  # fmt: skip

    def _of_blocks(self, op: Op) -> Quantizer | None:
        """Weight-only blocks along K; without zero points they are in the middle, Bnb4's 16 levels are a table (ORT, ContribOperators.md)."""
        bits, scales = _integer(op.attrs.get("bits"), 4), op.uses.get("scales")
        if scales is None or bits not in (2, 4, 8):
            return None
        middle = (1 << bits - 1,) if "zero_points" not in op.uses else None
        return Quantizer(
            f"uint{bits}", self.numbers(scales.tensor), middle, granularity="block", axis=_integer(op.attrs.get("quantize_axis"), 0),
            block_size=_integer(op.attrs.get("block_size"), 0), qmin=0, qmax=(1 << bits) - 1, origin="qoperator",
            grid="codebook" if op.native.endswith("Bnb4") else "affine",
        )  # fmt: skip

    def build(
        self, storage: str, scale: Tensor | None, zero_point: Tensor | None, axis: int = 1, block_size: int = 0, rank: int | None = None,
        bounds: tuple[int | None, int | None] = OPEN, origin: Any = "qdq",
    ) -> Quantizer:  # fmt: skip
        """A quantizer from the tensors that hold its parameters; unknown values stay None."""
        if axis < 0 and rank is not None:
            axis += rank
        key = (storage, id(scale), id(zero_point), axis, block_size, bounds, origin)
        found = self._built.get(key)
        if found is None:
            found = self._built[key] = self._build(storage, scale, zero_point, axis, block_size, bounds, origin)
        return found

    def numbers(self, tensor: Tensor | None) -> Sequence[float] | None:
        """The elements of a scale or a zero point, those of a scale that is stored quantized itself included.

        One that a caller may replace is none: ONNX Runtime runs such a conv in float (measured with 1.32).
        """
        if tensor is None:
            return None
        if id(tensor) not in self._numbers:
            self._numbers[id(tensor)] = None if tensor.overridable else _elements(tensor)
        return self._numbers[id(tensor)]

    def _build(
        self, storage: str, scale: Tensor | None, zero_point: Tensor | None, axis: int, block_size: int, bounds: tuple[int | None, int | None], origin: Any
    ) -> Quantizer:
        shape, zero_point_shape = _numbers_of(scale), None if zero_point is None else _numbers_of(zero_point)
        numbers = self.numbers(scale)
        dynamic = numbers is None and scale is not None and scale.data is None and scale.producer is not None and scale.producer.role != "constant"
        key = (storage, shape, zero_point_shape, axis, block_size, bounds, dynamic, origin)
        form = self._forms.get(key)
        if form is None:
            granularity: Granularity = "block" if block_size else "tensor" if math.prod(shape) == 1 else "channel"
            low, high = grid_range(storage)
            form = self._forms[key] = Quantizer(
                storage, None, None, shape, zero_point_shape, granularity, None if granularity == "tensor" else axis, block_size,
                low if bounds[0] is None else max(low, bounds[0]), high if bounds[1] is None else min(high, bounds[1]),
                "float" if storage in FLOAT_GRIDS else "affine", dynamic, origin=origin,
            )  # fmt: skip
        return form.placed(scale=numbers, zero_point=(0,) if zero_point is None else self.numbers(zero_point))


def _flat(q: Quantizer) -> Quantizer:
    """Scales along one axis as a vector: torchao keeps the other dimensions, of one element each."""
    length = math.prod(q.scale_shape)
    if q.granularity != "channel" or q.scale_shape in ((), (length,)) or length not in q.scale_shape:
        return q
    return replace(q, scale_shape=(length,), zero_point_shape=(length,) if q.zero_point_shape == q.scale_shape else q.zero_point_shape)


def grid_range(storage: str) -> tuple[float, float]:
    """Inclusive bounds of a container; a type that is no grid has none, which reads as (0, 0)."""
    if storage in FLOAT_GRIDS:
        return -FLOAT_GRIDS[storage], FLOAT_GRIDS[storage]
    return INTEGER_RANGES.get(storage, (0, 0))


def _elements(tensor: Tensor) -> Sequence[float] | None:
    if tensor.data is None:
        return _dequantized(tensor.producer)
    length = math.prod(tensor.data.shape)
    return tensor.data.values() if length <= MAX_ELEMENTS else Numbers(tensor.data, length)


def _dequantized(op: Op | None) -> tuple[float, ...] | None:
    """Scales that are integers on a grid of their own (AIMET's blocks within channels): small ones, per tensor or per leading axis."""
    if op is None or op.kind != "dequantize" or "x" not in op.uses or "scale" not in op.uses:
        return None
    x, scale = small(op.uses["x"].tensor), small(op.uses["scale"].tensor)
    zero_point = small(op.uses["zero_point"].tensor) if "zero_point" in op.uses else (0,)
    if not x or not scale or not zero_point or op.attrs.get("block_size") or len(zero_point) not in (1, len(scale)):
        return None
    shape = op.uses["x"].tensor.shape
    axis = _integer(op.attrs.get("axis"), 1)
    if len(scale) == 1:
        inner = len(x)
    elif shape is None or not all(isinstance(d, int) for d in shape) or not -len(shape) <= axis < len(shape) or shape[axis] != len(scale):
        return None
    else:
        inner = math.prod(d for d in shape[axis % len(shape) + 1 :] if isinstance(d, int))
    groups = [i // inner % len(scale) for i in range(len(x))]
    return tuple(scale[g] * (q - zero_point[g if len(zero_point) > 1 else 0]) for q, g in zip(x, groups, strict=True))


def _numbers_of(tensor: Tensor | None) -> tuple[int, ...]:
    if tensor is None:
        return ()
    return tensor.data.shape if tensor.data is not None else tuple(d for d in tensor.shape or () if isinstance(d, int))


def _integer(value: object, default: D) -> int | D:
    return value if isinstance(value, int) else default
