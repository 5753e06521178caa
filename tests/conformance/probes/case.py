"""One operator as a case: what its inputs are, and the smallest network that holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .builder import MICROSOFT
from .net import Net, Shape


@dataclass(frozen=True)
class Slot:
    """One input: an activation, float values (noise if None), integers for shapes and indices, or absent.
    A truth or an index is a graph input that is no float."""

    role: str  # x, w, b, c, int, truth, index, absent
    shape: tuple[int, ...] = ()
    values: Any = None


IMAGE = (1, 4, 8, 8)
NONE = Slot("absent")


def x(*shape: int) -> Slot:
    return Slot("x", shape or IMAGE)


def w(*shape: int) -> Slot:
    return Slot("w", shape)


def b(*shape: int) -> Slot:
    return Slot("b", shape)


def noise(*shape: int) -> Slot:
    return Slot("c", shape)


def floats(values: Any) -> Slot:
    return Slot("c", (), values)


def truth(*shape: int) -> Slot:
    return Slot("truth", shape)


def index(*shape: int) -> Slot:
    return Slot("index", shape)


def ints(*values: Any) -> Slot:
    return Slot("int", (), list(values))


def integer(value: Any) -> Slot:
    return Slot("int", (), value)


@dataclass(frozen=True)
class Case:
    """A row of the operator tables. `span`: range of the outputs, None if they cannot be quantized."""

    key: str
    kind: str
    slots: tuple[Slot, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    span: tuple[float, float] | None = (-2.3, 2.5)
    opset: int = 21
    domain: str = ""
    outputs: int = 1
    shape: Shape = None  # of the output, where shape inference does not know it
    core: bool = False  # gets every factor, not only the main ones

    def net(self, opset: int = 0) -> Net:
        """x → op → y, with the op's constants."""
        net = Net(opset or self.opset)
        names, seen = [], dict[str, int]()
        for slot in self.slots:
            seen[slot.role] = seen.get(slot.role, 0) + 1
            names.append(_fill(net, slot, f"{slot.role}{seen[slot.role]}" if seen[slot.role] > 1 else slot.role))
        out = net.op(self.kind, *names, name="op", span=self.span, outputs=self.outputs, domain=self.domain, **self.attrs)
        if self.kind == "TopK":  # indices cannot be quantized
            del net.ranges[net.nodes[-1].outputs[1]]
        net.output(*net.nodes[-1].outputs)
        if self.shape:
            net.shapes[out] = self.shape
        return net

    def core_case(self) -> Case:
        return replace(self, core=True)


def _fill(net: Net, slot: Slot, name: str) -> str:
    if slot.role == "absent":
        return ""
    if slot.role == "x":
        return net.input(name, slot.shape)
    if slot.role in ("truth", "index"):
        return net.input(name, slot.shape, kind=np.bool_ if slot.role == "truth" else np.int64)
    if slot.role == "int":
        return net.const(name, slot.values, np.int64)
    if slot.values is not None:
        return net.const(name, slot.values)
    return net.weight(name, *slot.shape)


def case(key: str, kind: str, *slots: Slot, **more: Any) -> Case:
    """A row; keywords that are no field of :class:`Case` are attributes of the operator."""
    fields = {name: more.pop(name) for name in list(more) if name in Case.__dataclass_fields__}
    return Case(key, kind, slots or (x(),), more, **fields)


def core(key: str, kind: str, *slots: Slot, **more: Any) -> Case:
    return case(key, kind, *slots, **more).core_case()


def contrib(key: str, kind: str, *slots: Slot, **more: Any) -> Case:
    """An operator of ONNX Runtime's own; its output has the shape of its first input if nothing else is said."""
    more.setdefault("shape", slots[0].shape if slots else IMAGE)
    return case(key, kind, *slots, domain=MICROSOFT, **more)
