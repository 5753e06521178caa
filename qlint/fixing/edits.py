"""Edits: what is to be different in a model, whatever format it is in. Each writer applies them to its own."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from qlint.graph import Model, Op, Quantizer, Use

Sequence = tuple[Quantizer, ...]
Changes = Mapping[int, tuple[Use, Sequence]]  # by id of the use


@dataclass(frozen=True, slots=True)
class Requantize:
    """Other quantizers on some uses: other parameters, or one more, or one less."""

    changes: Changes


@dataclass(frozen=True, slots=True)
class Remove:
    """Quantizer nodes that lead nowhere."""

    nodes: tuple[Op, ...]


@dataclass(frozen=True, slots=True)
class Rename:
    """A node gets a name of its own."""

    node: Op


@dataclass(frozen=True, slots=True)
class Sort:
    """The nodes in the order of the data."""


@dataclass(frozen=True, slots=True)
class RaiseOpset:
    """The default domain's opset; only to one in which every node means the same."""

    version: int


@dataclass(frozen=True, slots=True)
class Fold:
    """A batch-norm vanishes into the operator in front of it, and with it a constant scaling in between (`residue`).

    The weights of each output channel are multiplied by `factor` (1.0 leaves a channel as it is), and `bias` takes the
    place of the operator's own.
    """

    batch_norm: Op
    into: Op
    factor: tuple[float, ...]
    bias: tuple[float, ...]
    residue: Op | None = None


@dataclass(frozen=True, slots=True)
class Depthwise:
    """A batch-norm that stands alone becomes a depthwise 1x1 convolution with these weights and biases."""

    batch_norm: Op
    factor: tuple[float, ...]
    bias: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Freeze:
    """The observers of fake quantizers are switched off: their ranges stay as they are."""

    nodes: tuple[Op, ...]


@dataclass(frozen=True, slots=True)
class Clamp:
    """A relu in front of quantizers whose grid begins at zero, which did its work until now. Nothing changes by it."""

    quantizers: tuple[Op, ...]  # QuantizeLinear nodes


@dataclass(frozen=True, slots=True)
class Explicit:
    """Quantizers of other tools, and operators on integers with the quantizers around them, as QuantizeLinear and DequantizeLinear."""

    quantizers: tuple[tuple[Op, Quantizer], ...]  # nodes of the file, with what is written in their place
    operators: tuple[Op, ...] = ()  # nodes of the file
    opset: int = 0  # that this takes; 0: the file's own is enough
    exact: bool = True  # in real arithmetic


@dataclass(frozen=True, slots=True)
class Swap:
    """An activation exchanged for another one: `members` go, and what `last` made comes from it."""

    kind: str
    source: Use  # what goes in, as its reader sees it
    members: tuple[Op, ...]
    last: Op
    into: str


@dataclass(frozen=True, slots=True)
class Store:
    """A constant that is computed in the graph is stored, in front of the quantizers of its readers."""

    use: Use
    shape: tuple[int, ...]
    values: Any = field(compare=False)  # a numpy array


@dataclass(frozen=True, slots=True)
class Equalize:
    """Output channel i of one layer is divided by a factor, and what the next one does with it multiplied."""

    first: Op
    second: Op
    factors: tuple[float, ...]
    between: tuple[Use, ...]  # quantized uses on the way, whose grids move too
    grids: Sequence = ()  # of them, afterwards


Edit = Freeze | Equalize | Swap | Store | Explicit | Clamp | Requantize | Remove | Rename | Sort | RaiseOpset | Fold | Depthwise
REAL = (Fold, Depthwise, Explicit, Store)  # exact in real arithmetic; float32 rounds otherwise
STRUCTURAL = (*REAL, Clamp, Swap, Equalize)  # change the operators, and not only the quantizers between them


class NoCure(Exception):
    """Why a cure has no edit for a finding, as a sentence; `sites`: for which places of it, if not for all."""

    def __init__(self, why: str, *sites: str) -> None:
        super().__init__(why)
        self.sites = sites


@dataclass(slots=True)
class Proposal:
    """Edits that belong together, and the finding that they are to cure. They are made whole or not at all."""

    rule: str
    code: str
    sites: tuple[str, ...]
    text: str
    safe: bool
    edits: list[Edit] = field(default_factory=list)
    worth: bool = False  # for the finding alone, even where no operator gets to run in integer

    @property
    def key(self) -> tuple[object, ...]:
        """What tells it from others, in whichever file it is proposed."""
        return (self.rule, self.sites, self.text)


def exact(old: Sequence, new: Sequence) -> bool:
    """Whether the same numbers come out: the same grids, however stored, or one less of two equal ones in a row."""
    if len(new) < len(old):
        return bool(new) and all(q == new[0] and q.read_as is None for q in (*old, *new))
    return len(old) == len(new) and all(same_grid(a, b) for a, b in zip(old, new, strict=True))


def keeps(use: Use, new: Sequence) -> bool:
    """Whether a reader gets the same numbers through a new sequence. A constant that is only read back may as well be stored as what is read."""
    old = use.quantizers
    if not new and use.tensor.constant and all(q.quantize is None and not q.block_size and q.grid == "affine" for q in old):
        return True
    return exact(old, new)


def same_grid(a: Quantizer, b: Quantizer) -> bool:
    """Whether two quantizers have the same levels: scales equal, zero points and bounds shifted by the same number."""
    if (a.grid, a.block_size, a.dynamic, a.rounding) != (b.grid, b.block_size, b.dynamic, b.rounding):
        return False
    spread = "tensor" in (a.granularity, b.granularity) and "block" not in (a.granularity, b.granularity)  # one scale for all channels, or the same for each
    if not spread and (a.granularity, a.axis) != (b.granularity, b.axis):
        return False
    if a.scale is None or b.scale is None or a.zero_point is None or b.zero_point is None or a.read_as is not None or b.read_as is not None:
        return False
    first, second = list(a.pairs()), list(b.pairs())
    if spread and len(first) != len(second):
        first, second = (pairs * (max(len(first), len(second)) if len(pairs) == 1 else 1) for pairs in (first, second))
    if a.grid != "affine" or len(first) != len(second):
        return a == b
    offset = b.qmin - a.qmin
    same = all(s == t and y - z == offset for (s, z), (t, y) in zip(first, second, strict=True))
    return same and b.qmax - a.qmax == offset


def scale_type_of(use: Use) -> str:
    """The float type in which the scale of a quantizer in front of a reader is stored: as it is, or as the tensor is."""
    for q in use.quantizers:
        for op in (q.quantize, q.dequantize):
            if op is not None and "scale" in op.uses:
                dtype = op.uses["scale"].tensor.dtype
                return dtype if dtype in _FORMS else "float32"
    return use.tensor.dtype if use.tensor.dtype in _FORMS else "float32"


def storable(q: Quantizer, dtype: str = "float32") -> Quantizer:
    """A quantizer whose scales are numbers of a float type, and whose zero points are integers of the container."""
    if q.scale is None or q.grid != "affine":
        return q
    zero_point = None if q.zero_point is None else tuple(min(max(round(z), q.qmin), q.qmax) for z in q.zero_point)
    return replace(q, scale=tuple(rounded(s, dtype) for s in q.scale), zero_point=zero_point)


_FORMS = {"float32": "<f", "float16": "<e", "float64": "<d"}


def rounded(value: float, dtype: str = "float32") -> float:
    """The nearest number of a float type."""
    form = _FORMS[dtype]
    try:
        number: float = struct.unpack(form, struct.pack(form, value))[0]
    except OverflowError:
        return math.inf
    return number


def realized(planned: Model, written: Model) -> str:
    """What of the quantizers of a model is not as planned in the one that was written; '' if all is.

    Both must have the same operators in the same order.
    """
    before, after = list(planned.walk()), list(written.walk())
    if [op.kind for op in before] != [op.kind for op in after]:
        return "the operators are not the same"
    for one, other in zip(before, after, strict=True):
        for role, use in one.uses.items():
            there = other.uses.get(role)
            if there is None or not _equal(use.quantizers, there.quantizers):
                return f"{one.label}.{role} would have {_said(there)} in place of {_said(use)}"
    for left, right in zip(planned.outputs, written.outputs, strict=False):
        if not _equal(left.quantizers, right.quantizers):
            return f"the output {left.name} would have {_said(right)} in place of {_said(left)}"
    return ""


def _equal(a: Sequence, b: Sequence) -> bool:
    return len(a) == len(b) and all(
        p == q or (same_grid(p, q) and (p.storage, p.scale_shape, p.zero_point_shape) == (q.storage, q.scale_shape, q.zero_point_shape))
        for p, q in zip(a, b, strict=True)
    )


def _said(use: Use | None) -> str:
    return ", then ".join(map(str, use.quantizers)) or "no quantizer" if use is not None else "nothing"
