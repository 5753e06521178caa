"""A network under test: its plan, and the handles on one of its operators that the factors turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .builder import OUTPUT, Plan, render
from .net import Net, Node
from .quant import Quant, Series, of_range
from .style import Style, bias, plan, role


class Skip(Exception):
    """The factor does not apply to this operator."""


class Subject:
    """A clean network with one operator in focus, the last if none is named. A factor edits it in place; `render`
    writes the file."""

    def __init__(self, net: Net, style: Style | None = None, node: Node | None = None) -> None:
        self.style = style or Style()
        self.net = net
        self.node = node or net.nodes[-1]
        self.plan: Plan = plan(net, self.style)
        self.biases: dict[str, float | Series] = {}  # biases that do not fit: a factor on the scale, or the quantizer
        self.domains: dict[str, int] | None = None

    # -- handles ----------------------------------------------------------------------------------

    def slots(self, kind: str) -> list[int]:
        return slots(self.net, self.node, kind)

    @property
    def xs(self) -> list[str]:
        """The activations that the operator reads."""
        return [self.node.inputs[slot] for slot in self.slots("x")]

    @property
    def ys(self) -> list[str]:
        return [tensor for tensor in self.node.outputs if tensor in self.plan.series]

    @property
    def x(self) -> str:
        return one(self.xs)

    @property
    def y(self) -> str:
        return one(self.ys)

    @property
    def w(self) -> str:
        return self.node.inputs[one(self.slots("w"))]

    @property
    def b(self) -> str:
        return self.node.inputs[one(self.slots("b"))]

    @property
    def tensors(self) -> list[str]:
        """The activations of the network that carry a quantizer."""
        return [tensor for tensor, series in self.plan.series.items() if series.pairs and tensor not in self.net.consts]

    def series(self, tensor: str) -> Series:
        return self.plan.series.get(tensor, Series())

    def quant(self, tensor: str) -> Quant:
        return one(list(self.series(tensor).pairs[-1:]))

    def grid(self, tensor: str, grid: str) -> Quant:
        """The quantizer of this grid for the range that `tensor` has now."""
        now = self.quant(tensor)
        if not isinstance(now.scale, float) or not isinstance(now.zero, int):
            raise Skip
        low, high = ((edge - now.zero) * now.scale for edge in (now.storage.qmin, now.storage.qmax))
        return of_range(grid, low, high).but(domain=now.domain)

    # -- edits ----------------------------------------------------------------------------------------

    def put(self, tensor: str, *pairs: Quant, **options: Any) -> None:
        """Give `tensor` these Q/DQ pairs; none makes it float. Skip if the network's opset cannot say them."""
        if any(quant.since > self.net.opset for quant in pairs):
            raise Skip
        self.plan.series[tensor] = self.series(tensor).but(pairs=pairs, **options)

    def change(self, tensors: list[str], edit: Callable[[Quant], Quant]) -> None:
        for tensor in tensors:
            self.put(tensor, *(edit(quant) for quant in self.series(tensor).pairs))

    def options(self, tensors: list[str], **options: Any) -> None:
        for tensor in tensors:
            self.plan.series[tensor] = self.series(tensor).but(**options)

    def append(self, kind: str, *inputs: str, **more: Any) -> str:
        """One more operator behind, with a quantizer of its own, read by a graph output."""
        out = self.net.op(kind, *inputs, **more)
        self.put(out, of_range("u8", -2.0, 2.2))
        self.net.output(out)
        return out

    def output_float(self, tensor: str) -> None:
        """Make `tensor` itself a graph output, without a quantizer in between."""
        self.plan.uses[OUTPUT, len(self.net.outputs)] = Series()
        self.net.output(tensor)

    def render(self) -> bytes:
        for node in self.net.nodes:
            for slot in slots(self.net, node, "b"):
                tensor = node.inputs[slot]
                wanted = self.biases.get(tensor, 1.0 if self.style.bias == "s32" else Series())
                self.plan.series[tensor] = bias(self.net, self.plan, node, wanted) if isinstance(wanted, float) else wanted
        return render(self.net, self.plan, self.domains)


def slots(net: Net, node: Node, kind: str) -> list[int]:
    return [slot for slot in range(len(node.inputs)) if role(net, node, slot) == kind]


def one(found: list[Any]) -> Any:
    if not found:
        raise Skip
    return found[0]
