"""For rules about training: operands whose quantizer is spelled out and is no grid that a scale describes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from qlint.graph import Model, Op, Use
from qlint.judge.verdict import Mismatch
from qlint.passes.trained import Trained, gridless, group_of, trained


def spelled(model: Model, *algorithms: str) -> Iterator[Trained]:
    """Operands of some algorithms that have no quantizer which a scale describes; a tensor that several ops read comes once."""
    seen: set[int] = set()
    for one in trained(model):
        if one.algorithm in algorithms and gridless(one) and id(one.use.tensor) not in seen:
            seen.add(id(one.use.tensor))
            yield one


def within(*algorithms: str) -> Callable[[Mismatch], bool]:
    """Whether a mismatch is about what spells such an operand out, or about the operand."""
    return lambda m: last(m, *algorithms) is not None


def last(m: Mismatch, *algorithms: str) -> Op | None:
    """The op that ends the spelled-out quantizer which a mismatch is about: it stands for all of them."""
    near = [m.anchor, *([m.tensor.producer] if m.tensor is not None else []), *(use.op for use in (m.tensor.uses if m.tensor is not None else ()))]
    group = next((group for op in near if op is not None and (group := group_of(op, algorithms))), "")
    op = next((op for op in near if op is not None and group and group in op.groups), None)
    while op is not None:
        behind = next((use.op for tensor in op.outputs for use in tensor.uses if use.op is not None and group in use.op.groups), None)
        if behind is None:
            return op
        op = behind
    return None


def sources(use: Use) -> Iterator[Op]:
    """The ops that a constant operand is computed with, from the last one on, as far as it keeps its size: not those that compute its scale."""
    tensor = use.tensor
    for _ in range(64):
        op = tensor.producer
        if op is None or op.role != "constant":
            return
        yield op
        same = [one.tensor for one in op.uses.values() if one.tensor.size == tensor.size and one.tensor.rank == tensor.rank]
        if not same:
            return
        tensor = next((one for one in same if one.producer is not None), same[0])
