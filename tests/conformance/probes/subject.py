"""One operator under test: its network and plan, with the handles that the factors turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .builder import OUTPUT, Plan, render
from .case import Case
from .net import Net
from .quant import Quant, Series, of_range
from .style import Style, bias, plan, role


class Skip(Exception):
    """The factor does not apply to this operator."""


class Subject:
    """A clean network around one operator. A factor edits it in place; `render` writes the file."""

    def __init__(self, case: Case, style: Style | None = None, opset: int = 0) -> None:
        self.style = style or Style()
        self.net: Net = case.net(opset)
        self.node = self.net.nodes[-1]
        self.plan: Plan = plan(self.net, self.style)
        self.own_bias = False  # a factor has set the bias itself
        self.domains: dict[str, int] | None = None

    # -- handles ----------------------------------------------------------------------------------

    def slots(self, kind: str) -> list[int]:
        return [slot for slot in range(len(self.node.inputs)) if role(self.net, self.node, slot) == kind]

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
        return [tensor for tensor in self.plan.series if tensor not in self.net.consts]

    def quant(self, tensor: str) -> Quant:
        return one(list(self.plan.series[tensor].pairs[-1:]))

    def grid(self, tensor: str, grid: str) -> Quant:
        """The quantizer of this grid for the range that `tensor` has now."""
        now = self.quant(tensor)
        if not isinstance(now.scale, float) or not isinstance(now.zero, int):
            raise Skip
        low, high = ((edge - now.zero) * now.scale for edge in (now.storage.qmin, now.storage.qmax))
        return of_range(grid, low, high)

    # -- edits ----------------------------------------------------------------------------------------

    def put(self, tensor: str, *pairs: Quant, **options: Any) -> None:
        """Give `tensor` these Q/DQ pairs; none makes it float."""
        self.plan.series[tensor] = self.plan.series.get(tensor, Series()).but(pairs=pairs, **options)

    def change(self, tensors: list[str], edit: Callable[[Quant], Quant]) -> None:
        for tensor in tensors:
            self.put(tensor, *(edit(quant) for quant in self.plan.series[tensor].pairs))

    def options(self, tensors: list[str], **options: Any) -> None:
        for tensor in tensors:
            self.plan.series[tensor] = self.plan.series[tensor].but(**options)

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
        for slot in self.slots("b") if self.style.bias == "s32" and not self.own_bias else ():
            self.plan.series[self.node.inputs[slot]] = bias(self.net, self.plan, self.node)
        return render(self.net, self.plan, self.domains)


def one(found: list[Any]) -> Any:
    if not found:
        raise Skip
    return found[0]
