"""What raising a file's opset changes in the meaning of its operators, and what keeps it.

From opset 7 on, most new versions of an operator only take more types, or have further attributes whose default is what was
before. What is here are the others, from the differences between all versions of all schemas of the default domain (onnx 1.23,
opsets 8 to 23): attributes that became inputs are written as inputs, an `axis` whose default moved is written down, and what
means something else, or cannot be written, stops it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from qlint.graph import Model, Op

OLDEST, NEWEST = 7, 23  # opsets between which all differences are known
_AXES = ("axes",)
# Operator → the version since which some attributes are inputs, and those attributes, in the order of the inputs behind `x`.
MOVED: dict[str, tuple[int, tuple[str, ...]]] = {
    "Slice": (10, ("starts", "ends", "axes")), "TopK": (10, ("k",)), "Clip": (11, ("min", "max")), "Pad": (11, ("pads", "value")), "Dropout": (12, ()),
    "ReduceSum": (13, _AXES), "Squeeze": (13, _AXES), "Unsqueeze": (13, _AXES), "Split": (13, ("split",)),
    **dict.fromkeys("ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSumSquare".split(), (18, _AXES)),
}  # fmt: skip
GONE = {"Dropout": "ratio"}  # attributes that say nothing at inference
_COERCED = ("Softmax", "LogSoftmax", "Hardmax")  # up to 12 over all axes from `axis` (1) on, since 13 over one (-1)
_CEIL = "with ceil_mode"


def _several_outputs(op: Op) -> str:
    return "with statistics as outputs" if len(op.outputs) > 1 else ""


def _coerced(op: Op) -> str:
    rank, axis = op.uses["x"].tensor.rank if "x" in op.uses else None, op.attrs.get("axis", 1)
    return "" if axis == -1 or (rank is not None and axis == rank - 1) else f"over all axes from {axis} on"


def _always(op: Op) -> str:
    return " "


# Operator → (version, what of a node does not survive it; '' if nothing).
CHANGED: dict[str, tuple[tuple[int, Callable[[Op], str]], ...]] = {
    **dict.fromkeys(_COERCED, ((13, _coerced),)), "BatchNormalization": ((9, _always), (14, _several_outputs)), "Scan": ((9, _always),),
    "Upsample": ((9, _always), (10, _always)), "Scatter": ((11, _always),), "Resize": ((11, _always),), "RoiAlign": ((16, _always),),
    "AveragePool": ((19, lambda op: _CEIL if op.attrs.get("ceil_mode") else ""),), "GridSample": ((20, _always),), "DFT": ((20, _always),),
    "GroupNormalization": ((21, _always),),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Respelled:
    """One node as the new opset has it: attributes that go, inputs that come behind the first one, attributes that are set."""

    op: Op
    gone: tuple[str, ...]
    inputs: tuple[tuple[str, object], ...]  # by attribute; None: the input is left out
    attributes: tuple[tuple[str, int], ...] = ()


def obstacle(model: Model, to: int) -> str:
    """What of a model would not mean the same in another opset, as a clause; '' if everything would."""
    now = model.opsets.get("", 0)
    if not OLDEST <= now <= NEWEST or not now <= to <= NEWEST:
        return f"opset {now} cannot be raised to {to}: qlint knows opsets {OLDEST} to {NEWEST}"
    for graph in model.graphs():
        for op in graph.nodes:
            if op.domain or op.dialect:
                continue
            for version, trouble in CHANGED.get(op.native, ()):
                if now < version <= to and (what := trouble(op)):
                    return f"{op.native}{f' {what}' if what.strip() else ''} ({op.label}) means something else, or is written otherwise, in opset {version}"
            if graph is not model and _moves(op, now, to) is not None:
                return f"{op.native} ({op.label}) is in the body of a control-flow operator, and written otherwise in opset {MOVED[op.native][0]}"
    return ""


def respelled(model: Model, to: int) -> Iterator[Respelled]:
    """The nodes of the main graph that are written otherwise in another opset."""
    now = model.opsets.get("", 0)
    for op in model.nodes:
        if not op.domain and not op.dialect and (moves := _moves(op, now, to)) is not None:
            yield moves


def _moves(op: Op, now: int, to: int) -> Respelled | None:
    if op.native in _COERCED and now < 13 <= to:
        return Respelled(op, (), (), (("axis", -1),))
    since, names = MOVED.get(op.native, (0, ()))
    if not now < since <= to:
        return Respelled(op, (), (), (("num_outputs", len(op.outputs)),)) if op.native == "Split" and now < 18 <= to and "split" not in op.uses and len(op.uses) < 2 else None
    given = [(name, op.attrs.get(name)) for name in names]
    while given and given[-1][1] is None:
        given.pop()
    extra = (("num_outputs", len(op.outputs)),) if op.native == "Split" and not given and to >= 18 else ()
    gone = (*names, *([GONE[op.native]] if op.native in GONE else []))
    return Respelled(op, gone, tuple(given), extra) if given or extra or op.native in GONE else None
