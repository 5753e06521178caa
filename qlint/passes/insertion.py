"""Where quantizers stand around adds and concats: the three graphs of the MQBench paper (arXiv 2111.03759, Figures 4, 13 and 14).

    1   none at the inputs of adds and concats: only convolutions and matrix products have them (academic, ACL)
    2   at one input of each add; the other comes from a convolution that the add is fused into (TensorRT)
    3   at all inputs of each add (FBGEMM, TVM, SNPE)

Inputs of concats share one grid in 2 and 3.
"""

from __future__ import annotations

from typing import NamedTuple

from qlint.graph import Model, Op, Quantizer, Use
from qlint.graph.kinds import CLASSES


class Scheme(NamedTuple):
    """Which graphs an add or a concat is drawn in; of none if it is in no one of them."""

    op: Op
    graphs: frozenset[int]


NONE: frozenset[int] = frozenset()


def schemes(model: Model) -> list[Scheme]:
    """Each add of two activations and each concat of activations, in a model whose activations are quantized."""
    if not any(use.op is not None and use.op.kind in CLASSES["weighted"] and not use.tensor.constant and not q.dynamic for use, q in model.quantizers()):
        return []
    found = []
    for op in model.ops:
        uses = list(op.uses.values())
        if op.kind not in ("add", "concat") or op.role != "data" or op.groups or len(uses) < 2 or any(use.tensor.constant for use in uses):
            continue
        found.append(Scheme(op, _add(uses) if op.kind == "add" else _concat(uses)))
    return found


def scheme(model: Model) -> str:
    """In a few words: `insertion scheme 3`; nothing where adds or concats do not agree."""
    common: dict[str, frozenset[int]] = {}
    for one in schemes(model):
        common[one.op.kind] = common.get(one.op.kind, one.graphs) & one.graphs
    if not common or not all(common.values()):
        return ""
    both = frozenset.intersection(*common.values())
    if both:
        return f"insertion scheme {_either(both)}"
    words = (f"{kind}s by {_either(graphs)}" for kind, graphs in sorted(common.items()))
    return f"insertion schemes: {', '.join(words)}"


def _either(graphs: frozenset[int]) -> str:
    return " or ".join(map(str, sorted(graphs)))


def _add(uses: list[Use]) -> frozenset[int]:
    bare = [use for use in uses if not use.quantizers]
    if len(bare) == len(uses):
        return frozenset({1})
    if not bare:
        return frozenset({3})
    return frozenset({2}) if len(bare) == 1 and _fused(bare[0]) else NONE


def _fused(use: Use) -> bool:
    """Whether an operand comes straight from a weighted operator, which nobody else reads."""
    tensor = use.tensor
    while tensor.producer is not None and len(tensor.uses) == 1:
        if tensor.producer.kind in CLASSES["weighted"]:
            return True
        if tensor.producer.kind not in ("batch_norm", "div") or not tensor.producer.uses:
            return False
        tensor = next(iter(tensor.producer.uses.values())).tensor
    return False


def _concat(uses: list[Use]) -> frozenset[int]:
    bare = [use for use in uses if not use.quantizers]
    if len(bare) == len(uses):
        return frozenset({1})
    grids = {_values(use.quantizers[-1]) for use in uses if use.quantizers}
    return frozenset({2, 3}) if not bare and len(grids) == 1 else NONE


def _values(q: Quantizer) -> tuple[object, ...]:
    return tuple(q.pairs()), q.qmin, q.qmax
