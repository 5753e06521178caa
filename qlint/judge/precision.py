"""Float types between float operators, for backends whose compiler does not convert one into the other.

Such a compiler decides for every tensor between two float operators whether it is fp16 or fp32. A tensor
that comes from the graph's input, from a DequantizeLinear behind an integer operator or from another
device can be either; what an operator makes of it is the `precision` of the kernel that runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from qlint.graph import Op, Use
from qlint.profile.schema import Precision

# open: either will do; dequantized: the same, and nothing but a DequantizeLinear and such operators before it;
# late: by an fp32 kernel from fp16; both: of operands that disagree.
Found = Literal["open", "dequantized", "fp16", "fp32", "late", "both"]
_OPEN: set[Found] = {"open", "dequantized"}
FLOATS = ("float32", "float16", "bfloat16", "float64", "")


def conflicts(ops: list[Op], precision: Callable[[Op], Precision | None]) -> Iterator[tuple[Op, Use, Found, Found]]:
    """(op, input, type it has, type it can take) for each op that reads a type it has no kernel for.

    `precision`: that of the kernel an op runs in, None if it is not on the device. `ops` are in data-flow order.
    The type of a tensor outlives its quantization: it is the compiler's choice for the region around it.
    """
    made: dict[int, Found] = {}  # by id of the tensor
    for op in ops:
        kind = precision(op)
        if kind is None:
            continue
        read = {id(use.tensor): (use, made[id(use.tensor)]) for use in op.uses.values() if id(use.tensor) in made}
        types = {found for _, found in read.values()}
        dequantized = "dequantized" in types or any(use.quantizers for use in op.uses.values() if not use.tensor.constant)
        types -= _OPEN
        wrong = _refused(kind, read)
        if wrong is not None:
            use, found = wrong
            yield op, use, found, "fp16" if kind in ("fp16", "packed") else "open"
        out: Found = "open" if kind == "reduces" and dequantized and not types else _MAKES[kind](types)
        if kind == "either" and out == "open" and dequantized:
            out = "dequantized"
        for tensor in op.outputs:
            if tensor.dtype in FLOATS:
                made[id(tensor)] = out


def _refused(kind: Precision, read: Mapping[int, tuple[Use, Found]]) -> tuple[Use, Found] | None:
    """The input that keeps an op from being compiled."""
    if kind in ("converts", "restarts"):
        return None
    types = {found for _, found in read.values()}
    mixed = "both" in types or {"fp16", "fp32"} <= types
    if mixed or types & _REFUSED.get(kind, set()):
        return next((use, found) for use, found in read.values() if found not in _OPEN | {"fp16"})
    return None


_REFUSED: dict[Precision, set[Found]] = {"fp16": {"fp32"}, "packed": {"fp32", "late"}}


def _either(types: set[Found]) -> Found:
    if not types:
        return "open"
    return next(iter(types)) if len(types) == 1 else "late" if types == {"fp16", "late"} else "both"


def _from_fp16(types: set[Found]) -> Found:
    return "late" if types and types <= {"fp16", "late"} else "fp32"


_MAKES: dict[Precision, Callable[[set[Found]], Found]] = {
    "either": _either,
    "fp16": lambda types: "fp16",
    "fp32": _from_fp16,
    "reduces": lambda types: "fp16" if types == {"fp16"} else "fp32",
    "packed": lambda types: "open",
    "converts": lambda types: "fp16",
    "restarts": lambda types: "open",
}
