"""Predicates on mismatches, for `rule.explains(where=...)`."""

from __future__ import annotations

from collections.abc import Callable

from qlint.graph import INTEGER_RANGES
from qlint.graph.kinds import CLASSES
from qlint.judge.verdict import Mismatch

MIXED = "different quantizers for different readers"


def missing(m: Mismatch) -> bool:
    """There is no quantizer, or not in front of every reader."""
    return m.found is None


def unwanted(m: Mismatch) -> bool:
    """There is a quantizer where there should be none."""
    return m.wanted is None


def wrong(m: Mismatch) -> bool:
    """The backend runs the op in integer all the same, with other numbers."""
    return m.consequence == "wrong"


def in_float(m: Mismatch) -> bool:
    """The backend runs the op, and computes in floats."""
    return m.consequence == "float"


def of_weights(m: Mismatch) -> bool:
    """What a conv, a linear layer or the like gives."""
    return m.tensor is not None and m.tensor.producer is not None and m.tensor.producer.kind in CLASSES["weighted"]


def slow(m: Mismatch) -> bool:
    """It costs extra work only."""
    return m.consequence == "slow"


def unestablished(m: Mismatch) -> bool:
    """Whether there is an integer kernel nobody has found out."""
    return m.consequence == "unknown" or m.wanted == "not established"


def mixed(m: Mismatch) -> bool:
    """The readers of an output see different quantizers."""
    return bool(m.found == MIXED)


def weight(m: Mismatch) -> bool:
    """The constant operand of a weighted op (the recurrent kernel and other further weights included)."""
    if m.anchor.kind not in CLASSES["weighted"] or m.port in ("x", "lhs", "y", "b"):
        return False
    return m.port == "w" or (m.tensor is not None and m.tensor.constant)


def bias(m: Mismatch) -> bool:
    return m.port == "b"


def activation(m: Mismatch) -> bool:
    return m.port != "" and not weight(m) and not bias(m)


def read(m: Mismatch) -> bool:
    """An input, seen by the op that reads it."""
    return m.port not in ("", "y")


def absorbs(m: Mismatch) -> bool:
    """About a relu or clip that the output's quantizer should do: the wanted value is a bound of a grid."""
    bound = isinstance(m.wanted, (int, float)) or m.dimension == "range"
    return bound and any(op.kind in CLASSES["clamp"] for op in m.chain)


def found_is(*values: object) -> Callable[[Mismatch], bool]:
    """The value found is one of these."""
    return lambda m: any(m.found is v or (isinstance(v, str) and m.found == v) for v in values)


def wanted_is(*values: object) -> Callable[[Mismatch], bool]:
    """The value wanted is one of these."""
    return lambda m: any(m.wanted is v or (isinstance(v, str) and m.wanted == v) for v in values)


def wants_symmetric(m: Mismatch) -> bool:
    """Zero must lie in the middle of the grid; listed zero points at an input come down to that."""
    return m.dimension == "symmetric" or m.wanted in ("zero", "mid", "byte") or (isinstance(m.wanted, tuple) and m.port != "y")


def in_the_middle(m: Mismatch) -> bool:
    """The zero point found is the middle of its own container."""
    grids = [q for use in m.tensor.uses for q in use.quantizers] if m.tensor is not None else []
    return any(q.symmetric and q.zero_point is not None and m.found == q.zero_point[0] for q in grids)


def wants_fixed(m: Mismatch) -> bool:
    """A scale or zero point is prescribed, not merely a property of it."""
    return (m.wanted in ("qmin", "nonzero") and m.dimension == "zero_point") or isinstance(m.wanted, tuple)


def _storages(value: object) -> tuple[str, ...]:
    return tuple(str(v) for v in value) if isinstance(value, tuple) else (str(value),)


def _facts(storage: str) -> tuple[int, bool] | None:
    """(bits, signed) of an integer container."""
    if storage not in INTEGER_RANGES:
        return None
    return int(storage.lstrip("uint")), not storage.startswith("u")


def other_width(m: Mismatch) -> bool:
    """No container that is wanted has as many bits as the one found."""
    found, wanted = _facts(str(m.found)), [_facts(s) for s in _storages(m.wanted)]
    return found is not None and all(w is None or w[0] != found[0] for w in wanted)


def _other_sign(m: Mismatch, signed: bool) -> bool:
    found, wanted = _facts(str(m.found)), [_facts(s) for s in _storages(m.wanted)]
    same_width = {w[1] for w in wanted if w is not None and found is not None and w[0] == found[0]}
    return found is not None and found[1] is signed and same_width == {not signed}


def unsigned(m: Mismatch) -> bool:
    """Unsigned, where the same width is wanted signed."""
    return _other_sign(m, signed=False)


def signed(m: Mismatch) -> bool:
    """Signed, where the same width is wanted unsigned."""
    return _other_sign(m, signed=True)
