"""The range that a new quantizer gets, and where it comes from; without a sound source there is none.

Best first: calibration data; a quantizer that determines it (another reader's, or that of what is only moved); the
operator's own range; bounds by interval arithmetic from quantized inputs and weights; batch-norm statistics.
Interval bounds hold for every input and are wide; statistics hold for nearly all and are narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from qlint.fixing.edits import NoCure
from qlint.graph import Model, Op, Quantizer, Tensor, Use
from qlint.graph.axes import channel_axes
from qlint.graph.kinds import CLASSES

if TYPE_CHECKING:
    import numpy

Interval = tuple[float, float]
DEPTH = 24  # operators that interval arithmetic goes through
SIGMAS = 6  # of a batch-norm's output that its range spans: all but 2 in a billion of a normal distribution
MOVES = CLASSES["move"] | {"max_pool", "global_max_pool"}  # hand on some of the numbers that come in
_MEANS = frozenset({"avg_pool", "global_avg_pool", "reduce_mean"})  # stay within the range that comes in
_OWN: dict[str, Interval] = {"sigmoid": (0, 1), "hard_sigmoid": (0, 1), "softmax": (0, 1), "tanh": (-1, 1), "softsign": (-1, 1), "erf": (-1, 1)}
_LOWEST = {"hard_swish": -0.375, "swish": -0.2785, "gelu": -0.17, "mish": -0.3089}  # and not above their input where that is positive
PERMUTES = CLASSES["view"] | {"transpose", "depth_to_space", "space_to_depth"}  # hand on all of the numbers that come in
# Scale and zero point that TFLite's kernels take for granted (LiteRT 8-bit quantization specification).
_PRESCRIBED: dict[tuple[str, str], tuple[float, float]] = {
    (kind, storage): (scale / (1 << (8 if storage.endswith("int8") else 16)), {"int8": low, "uint8": low + 128, "int16": 0}[storage])
    for kind, scale, low in (("softmax", 1, -128), ("sigmoid", 1, -128), ("tanh", 2, 0)) for storage in ("int8", "uint8", "int16")
} | {(kind, "int16"): (1 / 32768, 0.0) for kind in ("softmax", "sigmoid", "tanh")}
ITSELF, READER, MOVED, BEHIND, OWN, BOUNDS, STATISTICS = (
    "the constant itself", "another reader's quantizer", "the quantizer in front", "the quantizer behind", "the operator's own range", "interval bounds", "batch-norm statistics",
)  # fmt: skip


class NoRange(Exception):
    """Nobody knows the range that a new quantizer should have."""


@dataclass(slots=True)
class Ranges:
    """Ranges of the tensors of one model. `measured` looks a tensor up in calibration data, if there is any."""

    model: Model
    measured: Callable[[str], Interval | None] = lambda name: None
    channels: Callable[[str], tuple[Any, Any] | None] = lambda name: None  # (smallest, largest) values of each channel (axis 1) in calibration data
    calibration: str = ""  # what reports call the data
    _symmetric: dict[str, bool] = field(default_factory=dict)  # by container
    _bounds: dict[int, tuple[int, Interval | None]] = field(default_factory=dict)  # by tensor: how deep was looked, and what was found

    def forget(self) -> None:
        """Other quantizers are on the model than before: bounds that rest on them hold no more."""
        self._bounds.clear()
        self._symmetric.clear()

    def fill(self, use: Use, sequence: tuple[Quantizer, ...]) -> tuple[tuple[Quantizer, ...], str]:
        """A planned sequence with numbers in place of placeholders, and where they come from; '' if nothing was missing.

        Raises:
            NoRange: there is no sound source.
        """
        if not any(q.uncalibrated for q in sequence):
            if any(q.scale is not None and not all(0 < s < math.inf for s in q.scale) for q in sequence):
                raise NoRange("its scale is not a positive number, and nothing says what it should be")
            if sequence and not use.quantizers and self._gains_a_clamp(use.tensor, sequence[0]):
                raise NoRange("the quantizer of its other readers begins at zero, and what this one sees may be negative")
            return sequence, READER if sequence and not use.quantizers else ""
        if len(sequence) > 1:
            raise NoRange("several quantizers in a row without a range")
        q = replace(sequence[0], uncalibrated=False)
        made = use.tensor.producer
        if self.model.format == "tflite" and made is not None and (fixed := _PRESCRIBED.get((made.kind, q.storage))) is not None:
            return (replace(q, scale=fixed[:1], zero_point=fixed[1:]),), OWN
        if use.tensor.constant:
            return ((self._bias(use, q) if use.role == "b" and q.storage == "int32" else self._weight(use, q)),), ITSELF
        for found, source in ((self._in_front(use.tensor), MOVED), (self._behind(use.tensor), BEHIND)):
            if found is not None and (found.storage, found.qmin, found.qmax, found.rounding) == (q.storage, q.qmin, q.qmax, q.rounding):
                return (replace(q, scale=found.scale, zero_point=found.zero_point),), source
        interval, source = self.of(use.tensor)
        return (on_range(q, interval, symmetric=self._centred(q)),), source

    def loses(self, use: Use, new: tuple[Quantizer, ...]) -> str:
        """What other quantizers in front of a reader would not do any more; '' if there is nothing."""
        return loses_a_clamp(use, new)

    def of(self, tensor: Tensor) -> tuple[Interval, str]:
        """(smallest and largest value of a tensor, where that comes from).

        Raises:
            NoRange: nothing bounds it.
        """
        if (seen := self.measured(tensor.name)) is not None:
            return seen, self.calibration
        made = tensor.producer
        if made is not None and made.kind in _OWN:
            return _OWN[made.kind], OWN
        if made is not None and made.kind == "clip" and (ends := _clip(made))[0] > -math.inf and ends[1] < math.inf:
            return ends, OWN
        bounds = self.bounds(tensor, DEPTH)
        if bounds is not None and all(map(math.isfinite, bounds)):
            return bounds, BOUNDS
        if (guess := statistics(tensor)) is not None:
            return guess, STATISTICS
        raise NoRange("nothing bounds it: --calibration FILE gives it a range")

    def _gains_a_clamp(self, tensor: Tensor, q: Quantizer) -> bool:
        """Whether a grid that begins at zero would cut off what a reader sees without it."""
        if tensor.constant or q.range is None or q.range[0] != 0 or _clamped(tensor, 0.0, math.inf, DEPTH):
            return False
        seen = self.measured(tensor.name)
        return seen is None or seen[0] < 0

    def _behind(self, tensor: Tensor) -> Quantizer | None:
        """The one quantizer behind operators that hand on every number as it is."""
        found: set[Quantizer] = set()
        for use in tensor.uses:
            if use.quantizers:
                found.add(use.quantizers[0])
            elif use.op is not None and use.op.kind in PERMUTES and use.role == "x":
                further = self._behind(use.op.outputs[0])
                found |= {further} if further is not None else set()
        return _fixed(found.pop()) if len(found) == 1 else None

    def _in_front(self, tensor: Tensor) -> Quantizer | None:
        """The one quantizer in front of an operator that only moves data."""
        for _ in range(DEPTH):
            made = tensor.producer
            if made is None or made.kind not in MOVES or made.kind in ("concat", "pad", "stack") or "x" not in made.uses:
                return None
            use = made.uses["x"]
            if use.quantizers:
                return _fixed(use.quantizers[-1])
            tensor = use.tensor
        return None

    def _centred(self, q: Quantizer) -> bool:
        """Whether the model's activations in this container are symmetric; signed ones are unless most are not."""
        if q.storage not in self._symmetric:
            alike = [other for use, other in self.model.quantizers() if other.storage == q.storage and not use.tensor.constant and other.constant]
            self._symmetric[q.storage] = sum(other.symmetric for other in alike) * 2 >= len(alike) if alike else q.signed
        return self._symmetric[q.storage]

    # -- constants ----------------------------------------------------------------------------

    def _weight(self, use: Use, q: Quantizer) -> Quantizer:
        """Per tensor or per channel around zero, wide enough for every value."""
        import numpy as np

        values = np.abs(_real(use))
        if q.granularity == "channel" and q.axis is not None:
            others = tuple(i for i in range(values.ndim) if i != q.axis % values.ndim)
            largest = [float(v) for v in values.max(axis=others)]
        elif q.granularity == "tensor":
            largest = [float(values.max())] if values.size else [0.0]
        else:
            raise NoRange("qlint does not choose blocks")
        middle = 0 if q.qmin < 0 else (q.qmin + q.qmax + 1) / 2
        scale = tuple((v or 1.0) / (q.qmax - middle) for v in largest)
        return replace(q, scale=scale, zero_point=(middle,) * len(scale))

    def _bias(self, use: Use, q: Quantizer) -> Quantizer:
        """The grid of the accumulator: scale of the input times scale of the weight."""
        op = use.op
        x, w = ((op.uses[role].quantizers if op is not None and role in op.uses else ()) for role in ("x", "w"))
        if not x or not w or not x[-1].scale or not w[-1].scale or len(x[-1].scale) != 1:
            raise NoRange("a bias takes its scale from a quantized input and weight")
        scale = tuple(x[-1].scale[0] * s for s in w[-1].scale)
        shape = (len(scale),) if len(scale) > 1 else ()
        granularity: Any = "channel" if shape else "tensor"
        return replace(q, scale=scale, zero_point=(0,) * len(scale), scale_shape=shape, zero_point_shape=shape, granularity=granularity, axis=0 if shape else None)

    # -- interval arithmetic ----------------------------------------------------------------------

    def seen(self, use: Use, depth: int) -> Interval | None:
        """What a reader sees: behind the quantizers in front of it."""
        ranges = [q.range for q in use.quantizers if q.granularity == "tensor" and q.grid == "affine" and q.range is not None]
        bounds = self.bounds(use.tensor, depth)
        if not ranges:
            return bounds
        low, high = max(r[0] for r in ranges), min(r[1] for r in ranges)
        return (low, high) if bounds is None else (min(max(bounds[0], low), high), max(min(bounds[1], high), low))

    def bounds(self, tensor: Tensor, depth: int) -> Interval | None:
        """Bounds that hold whatever the input is, None if nothing bounds the tensor."""
        looked, found = self._bounds.get(id(tensor), (-1, None))
        if looked < depth:
            found = self._bounded(tensor, depth)
            self._bounds[id(tensor)] = depth, found
        return found

    def _bounded(self, tensor: Tensor, depth: int) -> Interval | None:
        if tensor.data is not None:
            array = tensor.data.array()
            return (float(array.min()), float(array.max())) if array.size and array.dtype.kind in "fiu" else None
        op = tensor.producer
        if op is None or depth == 0 or (tensor is not op.outputs[0] and op.kind not in MOVES):  # each part of a split is of its input
            return None
        if op.kind in _OWN:
            return _OWN[op.kind]
        ends = {role: self.seen(use, depth - 1) for role, use in op.uses.items() if role not in ("w", "b") or op.kind not in CLASSES["weighted"]}
        rule = _INTERVALS.get(op.kind)
        found = rule(op, ends) if rule is not None else None
        return None if found is None or any(math.isnan(v) for v in found) else found


def _fixed(q: Quantizer) -> Quantizer | None:
    """A quantizer whose numbers can be taken over."""
    return q if q.granularity == "tensor" and q.grid == "affine" and not q.dynamic and q.constant and q.read_as is None else None


def on_range(q: Quantizer, interval: Interval, *, symmetric: bool) -> Quantizer:
    """A per-tensor grid that covers a range, zero included."""
    low, high = min(interval[0], 0.0), max(interval[1], 0.0)
    if not high - low > 0:
        raise NoRange("it is zero for every input")
    if symmetric:
        middle = 0.0 if q.qmin < 0 else (q.qmin + q.qmax + 1) / 2
        scale = max(high / (q.qmax - middle), -low / (middle - q.qmin))
        return replace(q, scale=(scale,), zero_point=(middle,))
    scale = (high - low) / (q.qmax - q.qmin)
    return replace(q, scale=(scale,), zero_point=(min(max(round(q.qmin - low / scale), q.qmin), q.qmax),))


def loses_a_clamp(use: Use, new: tuple[Quantizer, ...]) -> str:
    """What a quantizer does beside rounding that another one in its place would not; '' if there is nothing.

    A grid that begins at zero is a relu, one that ends at six as well a relu6: converters leave the operator out then. There is
    none in front of a model's inputs.
    """
    old = use.quantizers
    if not old or use.tensor.constant or _handed_in(use.tensor) or (was := old[0].range) is None or was[0] != 0:
        return ""
    now = new[0].range if new else (-math.inf, math.inf)
    if now is None or (not _clamped(use.tensor, 0.0, math.inf, DEPTH) and now[0] < 0):
        return RELU
    step = max(old[0].scale or (0.0,))
    if abs(was[1] - 6) <= step and now[1] > 6 + 2 * step and not _clamped(use.tensor, -math.inf, 6.0, DEPTH):
        return "its grid ends at six, which may stand for a relu6 that is not in the file; the other grid would let larger numbers through"
    return ""


def _handed_in(tensor: Tensor) -> bool:
    """Whether a tensor is an input of the model, or one that was only moved."""
    for _ in range(DEPTH):
        made = tensor.producer
        if made is None or made.kind not in PERMUTES or "x" not in made.uses or made.uses["x"].quantizers:
            break
        tensor = made.uses["x"].tensor
    return tensor.is_input


RELU = "its grid begins at zero, which may stand for a relu that is not in the file; the other grid would let negative numbers through"
_POSITIVE = frozenset({"relu", "sigmoid", "hard_sigmoid", "softmax", "abs", "exp", "softplus"})
_KEEP = MOVES | _MEANS | {"add", "mul", "max"}  # of numbers that are not negative they make none


def _clamped(tensor: Tensor, low: float, high: float, depth: int) -> bool:
    """Whether every value of a tensor is known to lie between two bounds, one of which is infinite."""
    if tensor.data is not None:
        array = tensor.data.array()
        return bool(array.size == 0 or (array.min() >= low and array.max() <= high))
    op = tensor.producer
    if op is None or depth == 0 or (tensor is not op.outputs[0] and op.kind not in MOVES):  # each part of a split is of its input
        return False
    if op.kind == "clip":
        return _clip(op)[0] >= low and _clip(op)[1] <= high
    if low == 0 and op.kind in _POSITIVE:
        return True
    if op.kind not in (_KEEP if low == 0 else MOVES | _MEANS | {"relu"}):
        return False
    inputs = [use for role, use in op.uses.items() if role.startswith("x") or role in ("lhs", "rhs")]
    seen = [(use, use.quantizers[-1].range if use.quantizers else None) for use in inputs]
    return bool(seen) and all((ends is not None and ends[0] >= low and ends[1] <= high) or _clamped(use.tensor, low, high, depth - 1) for use, ends in seen)


def statistics(tensor: Tensor) -> Interval | None:
    """The range of a batch-norm's output by its own parameters: beta ± SIGMAS · gamma over all channels."""
    op = tensor.producer
    if op is not None and op.kind in CLASSES["clamp"] and "x" in op.uses:
        inner, (low, high) = statistics(op.uses["x"].tensor), (0.0, math.inf) if op.kind == "relu" else _clip(op)
        return None if inner is None else (min(max(inner[0], low), high), max(min(inner[1], high), low))
    if op is None or op.kind != "batch_norm":
        return None
    gamma, beta = (op.uses[role].tensor.data if role in op.uses else None for role in ("gamma", "beta"))
    if gamma is None or beta is None:
        return None
    import numpy as np

    spread = SIGMAS * np.abs(gamma.array().astype(np.float64))
    return float((beta.array() - spread).min()), float((beta.array() + spread).max())


def _real(use: Use) -> numpy.ndarray[Any, Any]:
    from qlint.fixing.arithmetic import real

    assert use.tensor.data is not None
    array: numpy.ndarray[Any, Any] = real(use.tensor.data, use.quantizers)
    return array


def _clip(op: Op) -> Interval:
    low, high = (op.attrs.get(name) for name in ("min", "max"))
    for role, value in (("min", low), ("max", high)):
        data = op.uses[role].tensor.data if role in op.uses else None
        if value is None and data is not None:
            number = data.values()[0] if data.values() else None
            low, high = (number, high) if role == "min" else (low, number)
    return (-math.inf if low is None else float(low), math.inf if high is None else float(high))


Ends = dict[str, Interval | None]


def _data(ends: Ends) -> list[Interval] | None:
    """Of all inputs that are data; None if one of them is not bounded."""
    found = list(ends.values())
    return None if any(each is None for each in found) else [each for each in found if each is not None]


def _x(function: Callable[[Op, Interval], Interval | None]) -> Callable[[Op, Ends], Interval | None]:
    def run(op: Op, ends: Ends) -> Interval | None:
        x = ends.get("x")
        return None if x is None else function(op, x)

    return run


def _two(function: Callable[[Interval, Interval], Interval]) -> Callable[[Op, Ends], Interval | None]:
    def run(op: Op, ends: Ends) -> Interval | None:
        left, right = ends.get("lhs"), ends.get("rhs")
        return None if left is None or right is None else function(left, right)

    return run


def _products(a: Interval, b: Interval) -> Interval:
    ends = [x * y for x in a for y in b]
    return min(ends), max(ends)


def _hull(op: Op, ends: Ends) -> Interval | None:
    found = _data({role: each for role, each in ends.items() if role.startswith("x")})
    return (min(low for low, _ in found), max(high for _, high in found)) if found else None


def _padded(op: Op, x: Interval) -> Interval | None:
    return (min(x[0], 0.0), max(x[1], 0.0)) if "value" not in op.uses and not op.attrs.get("value") else None


def _weighted(op: Op, ends: Ends) -> Interval | None:
    """Of each output channel: the weights' positive part times one end of the input, the negative part times the other."""
    import numpy as np

    x, use = ends.get("x") or ends.get("lhs"), op.uses.get("w") or op.uses.get("rhs")
    if x is None or use is None or use.tensor.data is None:
        return None
    out, _ = channel_axes(op, use.role)
    if out is None:
        return None
    w = np.moveaxis(_real(use), out, 0)
    groups = op.attrs.get("group", 1) if op.kind == "conv_transpose" else 1
    w = w.reshape(w.shape[0], -1)
    if groups > 1:  # the same output index stands for one channel of each group
        w = np.concatenate([part.reshape(w.shape[0], -1) for part in np.split(w.reshape(w.shape[0], groups, -1), groups, axis=1)])
    low, high = min(x[0], 0.0), max(x[1], 0.0)  # of a border, too
    positive, negative = np.maximum(w, 0).sum(1), np.minimum(w, 0).sum(1)
    least, most = positive * low + negative * high, positive * high + negative * low
    bias = op.uses.get("b")
    if bias is not None:
        if bias.tensor.data is None:
            return None
        b = _real(bias).reshape(-1)
        if b.size not in (1, least.size):
            return None
        least, most = least + b, most + b
    return float(least.min()), float(most.max())


def _batch_norm(op: Op, x: Interval) -> Interval | None:
    from qlint.fixing.batch_norm import affine

    try:
        factor, offset = affine(op)
    except NoCure:
        return None
    ends = [float(v) for end in x for v in (factor * end + offset)]
    return min(ends), max(ends)


_INTERVALS: dict[str, Callable[[Op, Ends], Interval | None]] = {
    **dict.fromkeys(MOVES - {"concat", "pad", "stack"}, _x(lambda op, x: x)), **dict.fromkeys(_MEANS, _x(lambda op, x: (min(x[0], 0.0), max(x[1], 0.0)))),
    "concat": _hull, "stack": _hull, "pad": _x(_padded), "relu": _x(lambda op, x: (max(x[0], 0.0), max(x[1], 0.0))),
    "clip": _x(lambda op, x: (min(max(x[0], _clip(op)[0]), _clip(op)[1]), max(min(x[1], _clip(op)[1]), _clip(op)[0]))),
    "leaky_relu": _x(lambda op, x: (x[0] * (op.attrs.get("alpha", 0.01) if x[0] < 0 else 1), max(x[1], x[1] * op.attrs.get("alpha", 0.01)))),
    **{kind: _x(lambda op, x: (_LOWEST[op.kind], max(x[1], 0.0))) for kind in _LOWEST},
    "neg": _x(lambda op, x: (-x[1], -x[0])), "abs": _x(lambda op, x: (0.0, max(-x[0], x[1]))),
    "add": _two(lambda a, b: (a[0] + b[0], a[1] + b[1])), "sub": _two(lambda a, b: (a[0] - b[1], a[1] - b[0])), "mul": _two(_products),
    "min": _two(lambda a, b: (min(a[0], b[0]), min(a[1], b[1]))), "max": _two(lambda a, b: (max(a[0], b[0]), max(a[1], b[1]))),
    "conv": _weighted, "conv_transpose": _weighted, "linear": _weighted, "matmul": _weighted, "batch_norm": _x(_batch_norm),
}  # fmt: skip
