"""How a network was trained for quantization, told from what its file still shows of it.

For each operand that is quantized, the strongest sign counts: the class and the parameters of the module that computes it, then an
operator that only one algorithm has, then its arithmetic. An operand without any of them is uniform, and its algorithm not visible.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from qlint.graph import Model, Module, Op, Use, once
from qlint.graph.kinds import CLASSES
from qlint.passes.algorithms import ALGORITHMS, TABLE, Algorithm
from qlint.passes.composites import matches
from qlint.passes.constants import small

MAX_OPS = 64  # that compute one operand
# What quantizers are spelled out with; any other operator is the network.
ARITHMETIC = frozenset(
    "abs add sub mul div pow neg sign round floor ceil clip min max exp exp2 log log2 tanh sigmoid sqrt square reciprocal reduce_max reduce_min reduce_mean "
    "reduce_sum arg_min arg_max gather gather_nd index unsqueeze squeeze reshape expand where less greater equal cast fill_like random_uniform_like identity".split()
)
# Kinds that no form of an algorithm does without: a model must have all of one row, or only names and operators can tell.
_TELLING = (
    *({kind} for kind in ("round", "floor", "ceil", "sign", "arg_min", "reduce_min")), {"tanh", "abs", "reduce_max"}, {"where", "random_uniform_like"},
    {"where", "fill_like"},
)  # fmt: skip


class Trained(NamedTuple):
    """An operand, the algorithm that it is quantized by, and how that is seen."""

    use: Use
    algorithm: str
    sign: str  # "the class LsqWeight of a module", "the operator aten::…", "what is computed"
    ops: tuple[Op, ...]  # that compute the operand, where they are spelled out


def name_quantizers(model: Model) -> None:
    """Set `Op.groups` of what spells out a quantizer that no scale describes: `APoT quantizer:1`."""
    numbers: dict[int, int] = {}
    for one in trained(model):
        if gridless(one) and id(one.use.tensor) not in numbers:
            numbers[id(one.use.tensor)] = len(numbers) + 1
            for op in one.ops:
                op.groups = (*op.groups, f"{one.algorithm}{_GROUP}{len(numbers)}")


_GROUP = " quantizer:"


def group_of(op: Op, algorithms: Iterable[str]) -> str:
    """The group of a spelled-out quantizer of one of these algorithms that an op is part of; '' if it is of none."""
    return next((group for group in op.groups for algorithm in algorithms if group.startswith(f"{algorithm}{_GROUP}")), "")


def gridless(one: Trained) -> bool:
    """Whether an operand is quantized, and not on a grid with a scale."""
    return not one.use.quantizers and bool(one.ops)


@once
def trained(model: Model) -> Iterator[Trained]:
    """Every operand whose algorithm is visible, in the order of the ops."""
    modules = {**model.modules, **_named(model)}
    called = {path: algorithm for path, module in modules.items() if (algorithm := _called(module)) is not None}
    forms: dict[int, list[str]] = defaultdict(list)  # names of rows of the table, by the op that they end with
    if any(kinds <= model.by_kind.keys() for kinds in _TELLING):
        for match in matches(model, TABLE):
            if _fits(match.name, match.root):
                forms[id(match.root)].append(match.name)
    if not called and not forms and not any(q.algorithm for _, q in model.quantizers()):
        return
    shown = {name for names in forms.values() for name in names}
    for op in model.ops:
        for use in op.uses.values():
            if use.quantizers or (op.kind in CLASSES["weighted"] and use.role in ("x", "w", "lhs", "rhs")):
                ops = tuple(_ops(use)) if forms or not use.quantizers else ()
                one = _by_module(use, ops, modules, called) or _by_operator(use) or _by_arithmetic(ops, forms, shown)
                if one is not None:
                    yield Trained(use, _offset(one[0], use), one[1], ops)


Seen = tuple[str, str]  # algorithm, sign


def _by_module(use: Use, ops: tuple[Op, ...], modules: dict[str, Module], called: dict[str, type[Algorithm]]) -> Seen | None:
    """From the innermost module around what rounds, or around the op that ends it."""
    for op in (_rounding(use), *ops[:1]):
        at, path = (None, None) if op is None or not called else (_path(op), _path(op))
        while at is not None:
            if at in called and (at or not path):  # the network itself counts for what it calls by itself
                cls = modules[at].cls
                return called[at].name, f"the class {cls} of a module" if cls else f"the parameters of {at}"
            at = at.rpartition(".")[0] if at else None
    return None


def _by_operator(use: Use) -> Seen | None:
    told = next((q.algorithm for q in reversed(use.quantizers) if q.algorithm), None)
    rounding = _rounding(use)
    return (told, f"the operator {rounding.native}") if told is not None and rounding is not None else None


def _by_arithmetic(ops: tuple[Op, ...], forms: dict[int, list[str]], shown: set[str]) -> Seen | None:
    seen = {name for op in ops for name in forms.get(id(op), ())}
    for algorithm in ALGORITHMS if seen else ():
        if algorithm.name in seen or (f"{algorithm.name}?" in seen and algorithm.name in shown):
            return algorithm.name, "what is computed"
    return None


def _rounding(use: Use) -> Op | None:
    return next((q.quantize for q in reversed(use.quantizers) if q.quantize is not None), None)


def _offset(algorithm: str, use: Use) -> str:
    """LSQ with an offset is LSQ+, whatever operator or module computes it."""
    q = use.quantizers[-1] if use.quantizers else None
    if algorithm != "LSQ" or q is None or q.zero_point is None or q.symmetric:
        return algorithm
    return "LSQ+" if any(q.zero_point) else algorithm


def _ops(use: Use) -> Iterator[Op]:
    """The ops that compute an operand, back to what the network computes or to another quantizer; the last one first."""
    seen: set[int] = set()
    waiting = [use.tensor.producer]
    while waiting and len(seen) < MAX_OPS:
        op = waiting.pop(0)
        if op is None or op.kind not in ARITHMETIC or id(op) in seen:
            continue
        seen.add(id(op))
        yield op
        waiting += [operand.tensor.producer for operand in op.uses.values() if not operand.quantizers]


# -- signs ------------------------------------------------------------------------------------------------


def _fits(name: str, root: Op) -> bool:
    """Whether the table that a form looks into has the levels of its algorithm."""
    algorithm = next((one for one in ALGORITHMS if one.name == name), None)
    if algorithm is None or root.kind not in ("gather", "gather_nd", "index"):
        return True
    values = small(next(iter(root.uses.values())).tensor)
    return values is not None and algorithm.levels(values)


@lru_cache(maxsize=1024)  # most modules of a network are alike
def _called(module: Module) -> type[Algorithm] | None:
    """The algorithm that a module is named after, or whose parameters it has."""
    own = module.cls.rpartition(".")[2]
    named = next((algorithm for algorithm in ALGORITHMS if algorithm.classes and _pattern(algorithm.classes).search(own)), None)
    return named or next((algorithm for algorithm in ALGORITHMS if any(names <= module.names for names in algorithm.parameters)), None)


@lru_cache(maxsize=64)
def _pattern(classes: str) -> re.Pattern[str]:
    return re.compile(classes)


def _path(op: Op) -> str:
    """Of the module that calls an op; torch.onnx writes it into the name of the node (`/stem/w/Round`)."""
    if op.module or not op.name.startswith("/"):
        return op.module
    return op.name[1:].rpartition("/")[0].replace("/", ".")


def _named(model: Model) -> dict[str, Module]:
    """Modules of an ONNX file with the parameters that its initializers are called after: `stem.w.log2_t`."""
    held: dict[str, set[str]] = defaultdict(set)
    for tensor in model.tensors.values() if model.format == "onnx" else ():
        owner, dot, name = tensor.name.rpartition(".")
        if dot and tensor.constant and "/" not in tensor.name:
            held[owner].add(name)
    return {path: Module(model.modules[path].cls if path in model.modules else "", frozenset(names)) for path, names in held.items()}
