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
from weakref import WeakKeyDictionary

from qlint.graph import Model, Module, Op, Use
from qlint.graph.kinds import CLASSES
from qlint.passes.algorithms import ALGORITHMS, TABLE, Algorithm
from qlint.passes.composites import matches
from qlint.passes.constants import small

MAX_OPS = 64  # that compute one operand
# What quantizers are spelled out with; any other operator is the network.
ARITHMETIC = frozenset(
    "abs add sub mul div pow neg sign round floor ceil clip min max exp exp2 log log2 tanh sigmoid sqrt square reciprocal reduce_max reduce_min reduce_mean "
    "reduce_sum arg_min arg_max gather index unsqueeze squeeze reshape expand where less greater equal cast fill_like random_uniform_like identity".split()
)
# Without one of these kinds nothing but names and operators can tell.
_TELLING = frozenset({"round", "floor", "ceil", "sign", "tanh", "arg_min", "reduce_min", "where"})


class Trained(NamedTuple):
    """An operand, the algorithm that it is quantized by, and how that is seen."""

    use: Use
    algorithm: str
    sign: str  # "module stem.w of class LsqWeight", "operator aten::…", "arithmetic"
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


def trained(model: Model) -> tuple[Trained, ...]:
    """Every operand whose algorithm is visible, in the order of the ops."""
    found = _trained.get(model)
    if found is None:
        found = _trained[model] = tuple(_found(model))
    return found


_trained: WeakKeyDictionary[Model, tuple[Trained, ...]] = WeakKeyDictionary()  # report and rules ask


def _found(model: Model) -> Iterator[Trained]:
    modules = model.modules or dict(_named(model))
    if not modules and not model.by_kind.keys() & _TELLING and not any(q.algorithm for _, q in model.quantizers()):
        return
    forms: dict[int, list[str]] = defaultdict(list)  # names of rows of the table, by the op that they end with
    if model.by_kind.keys() & _TELLING:
        for match in matches(model, TABLE):
            if _fits(match.name, match.root):
                forms[id(match.root)].append(match.name)
    shown = {name for names in forms.values() for name in names}
    for op in model.ops:
        for use in op.uses.values():
            if use.quantizers or (op.kind in CLASSES["weighted"] and use.role in ("x", "w", "lhs", "rhs")):
                ops = tuple(_ops(use))
                one = _of(use, ops, modules, forms, shown)
                if one is not None:
                    yield Trained(use, _offset(one[0], use), one[1], ops)


def _of(use: Use, ops: tuple[Op, ...], modules: dict[str, Module], forms: dict[int, list[str]], shown: set[str]) -> tuple[str, str] | None:
    """(algorithm, sign) of one operand."""
    rounding = next((q.quantize for q in reversed(use.quantizers) if q.quantize is not None), None)
    callers = [_path(op) for op in (rounding, *ops[:1]) if op is not None]
    for path in dict.fromkeys(callers):
        for owner in _owners(path, modules):
            algorithm = _called(modules[owner])
            if algorithm is not None:
                return algorithm.name, f"module {owner or 'at the root'} of class {modules[owner].cls}" if modules[owner].cls else f"parameters of {owner}"
    told = next((q.algorithm for q in reversed(use.quantizers) if q.algorithm), None)
    if told is not None and rounding is not None:
        return told, f"operator {rounding.native}"
    seen = {name for op in ops for name in forms.get(id(op), ())}
    for algorithm in ALGORITHMS:
        if algorithm.name in seen or (f"{algorithm.name}?" in seen and algorithm.name in shown):
            return algorithm.name, "arithmetic"
    return None


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
    if algorithm is None or root.kind not in ("gather", "index"):
        return True
    values = small(next(iter(root.uses.values())).tensor)
    return values is not None and algorithm.levels(values)


def _called(module: Module) -> type[Algorithm] | None:
    """The algorithm that a module is named after, or whose parameters it has."""
    own = module.cls.rpartition(".")[2]
    named = next((algorithm for algorithm in ALGORITHMS if algorithm.classes and _pattern(algorithm.classes).search(own)), None)
    return named or next((algorithm for algorithm in ALGORITHMS if any(names <= module.names for names in algorithm.parameters)), None)


@lru_cache(maxsize=64)
def _pattern(classes: str) -> re.Pattern[str]:
    return re.compile(classes)


def _owners(path: str, modules: dict[str, Module]) -> Iterator[str]:
    """The modules around a call, from the inside; the network itself only if it calls the operator."""
    at = path
    while at:
        if at in modules:
            yield at
        at = at.rpartition(".")[0]
    if not path and "" in modules:
        yield ""


def _path(op: Op) -> str:
    """Of the module that calls an op; torch.onnx writes it into the name of the node (`/stem/w/Round`)."""
    if op.module or not op.name.startswith("/"):
        return op.module
    return op.name[1:].rpartition("/")[0].replace("/", ".")


def _named(model: Model) -> Iterator[tuple[str, Module]]:
    """Modules of an ONNX file by what its initializers are called: `stem.w.log2_t`."""
    held: dict[str, set[str]] = defaultdict(set)
    for tensor in model.tensors.values() if model.format == "onnx" else ():
        owner, dot, name = tensor.name.rpartition(".")
        if dot and tensor.constant and "/" not in tensor.name:
            held[owner].add(name)
    return ((path, Module("", frozenset(names))) for path, names in held.items())
