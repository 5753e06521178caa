"""What is varied around an operator's clean form: the quantizers of its activations, one factor at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import onnx

from .builder import MICROSOFT
from .net import Shape
from .quant import Quant, Series
from .subject import Skip, Subject

Act = Callable[[Subject], object]


@dataclass(frozen=True)
class Factor:
    """`{name}={value}` in the probe's id; `act` edits the subject or raises Skip. `core`: only for core operators."""

    name: str
    value: str
    act: Act
    core: bool = True


def regrid(s: Subject, grid: str, tensors: list[str]) -> None:
    for tensor in tensors:
        s.put(tensor, s.grid(tensor, grid))


def same(s: Subject) -> None:
    """Equal quantizers on all inputs and outputs; where the clean form has them, different ones."""
    quants = {s.quant(tensor) for tensor in s.xs + s.ys}
    target = s.quant(s.x)
    for tensor in s.ys + s.xs[1:]:
        s.put(tensor, target.times(1.25) if len(quants) == 1 else target)


def zero(s: Subject, value: int | str) -> None:
    """A zero point for y at a corner of the grid, its range moving along."""
    quant = s.quant(s.y)
    place = {"qmin": quant.storage.qmin, "mid": quant.storage.qmin // 2 + quant.storage.qmax // 2 + 1}.get(str(value), value)
    if quant.zero == place:
        raise Skip
    s.put(s.y, quant.but(zero=place))


def drop(s: Subject, *tensors: str) -> None:
    for tensor in tensors:
        s.put(tensor)


def inside(s: Subject) -> None:
    """No quantizer at the operator, but quantized neighbours before and behind."""
    for at, tensor in enumerate(s.xs):
        first = s.net.input(f"before{at}", s.net.inputs.pop(tensor))
        s.put(first, s.quant(tensor))
        s.net.nodes.insert(0, s.net.nodes.pop(s.net.nodes.index(neighbour(s, first, tensor))))
        s.put(tensor)
    y = s.y
    s.net.outputs.clear()
    s.append("LeakyRelu", y)
    s.put(y)


def neighbour(s: Subject, source: str, tensor: str) -> object:
    out = s.net.op("LeakyRelu", source)
    node = s.net.nodes[-1]
    node.outputs = [tensor]
    del s.net.ranges[out]
    return node


def per_channel(s: Subject, tensor: str) -> None:
    quant = s.quant(tensor)
    shape = s.net.inputs.get(tensor) or s.net.shapes.get(tensor) or inferred(s, tensor)
    channels = shape[1] if shape and len(shape) > 1 and isinstance(shape[1], int) else 4
    if not isinstance(quant.scale, float) or not isinstance(quant.zero, int):
        raise Skip
    scales = tuple(quant.scale * (1 + i / 10) for i in range(channels))
    s.put(tensor, quant.but(scale=scales, zero=(quant.zero,) * channels, shape=(channels,), axis=1))


def inferred(s: Subject, tensor: str) -> Shape:
    """What shape inference says of a tensor."""
    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(s.render())).graph
    value = next((v for v in graph.value_info if v.name == tensor), None)
    return tuple(d.dim_value for d in value.type.tensor_type.shape.dim) if value is not None else None


def twice(s: Subject, tensor: str, factor: float) -> None:
    quant = s.quant(tensor)
    s.put(tensor, quant, quant.times(factor))


def mismatch(s: Subject, tensor: str, other: Callable[[Quant], Quant]) -> None:
    s.change([tensor], lambda q: q.but(dq=other(q)))


def readers(s: Subject, tensor: str, count: int) -> None:
    """`count` more operators read the tensor through its quantizer."""
    for _ in range(count):
        s.append("LeakyRelu", tensor)


def float_reader(s: Subject, tensor: str) -> None:
    s.append("LeakyRelu", tensor)
    s.plan.uses[s.net.nodes[-1].name, 0] = Series()


def other_quantizer(s: Subject, tensor: str, change: Callable[[Quant], Quant]) -> None:
    """A second reader sees the tensor through a quantizer of its own."""
    s.append("LeakyRelu", tensor)
    s.plan.uses[s.net.nodes[-1].name, 0] = Series((change(s.quant(tensor)),))


def dynamic(s: Subject, how: str) -> None:
    for name, shape in s.net.inputs.items():
        assert shape is not None
        s.net.inputs[name] = {"batch": ("N", *shape[1:]), "all": tuple(f"d{i}" for i in range(len(shape))), "rank": None}[how]


def on(pick: str, act: Callable[[Subject, str], object]) -> Act:
    return lambda s: act(s, getattr(s, pick))


def everywhere(edit: Callable[[Quant], Quant]) -> Act:
    return lambda s: s.change(s.tensors, edit)


def grids() -> Iterator[Factor]:
    for grid in ("s8", "s8a", "u16", "s16", "s16a"):
        yield Factor("a", grid, lambda s, g=grid: regrid(s, g, s.tensors), core=grid in ("s8a", "s16", "s16a"))  # type: ignore[misc]
    for grid in ("u4", "f8e4"):
        yield Factor("a", grid, lambda s, g=grid: regrid(s, g, s.tensors))  # type: ignore[misc]
    for first, second in (("u8", "s8"), ("s8", "u8"), ("u8", "u16"), ("u16", "u8"), ("s8", "s16")):
        yield Factor("x-y", f"{first}-{second}", lambda s, f=first, g=second: (regrid(s, g, s.ys), regrid(s, f, s.xs)))  # type: ignore[misc]
    for grid in ("s8", "u16"):
        yield Factor("x2", grid, lambda s, g=grid: regrid(s, g, [s.xs[1]] if len(s.xs) > 1 else (s.w and []) or skip()))  # type: ignore[misc]


def skip() -> list[str]:
    raise Skip


FACTORS: list[Factor] = [
    *grids(),
    Factor("same", "flipped", same, core=False),
    Factor("y-zero", "qmin", lambda s: zero(s, "qmin")),
    Factor("y-zero", "mid", lambda s: zero(s, "mid")),
    Factor("y-zero", "37", lambda s: zero(s, 37)),
    Factor("x", "none", lambda s: drop(s, s.x), core=False),
    Factor("x2", "none", lambda s: drop(s, s.xs[1] if len(s.xs) > 1 else skip()[0]), core=False),
    Factor("xs", "none", lambda s: drop(s, *s.xs), core=False),
    Factor("y", "none", lambda s: drop(s, s.y), core=False),
    Factor("xy", "none", lambda s: drop(s, *s.tensors), core=False),
    Factor("xy", "none-inside", inside),
    Factor("everything", "float", lambda s: drop(s, *s.plan.series)),
    Factor("x-scale", "vector", lambda s: s.change([s.x], lambda q: q.vector)),
    Factor("y-scale", "vector", lambda s: s.change([s.y], lambda q: q.vector)),
    Factor("scales", "vector", everywhere(lambda q: q.vector)),
    Factor("x", "per-channel", on("x", per_channel)),
    Factor("y", "per-channel", on("y", per_channel)),
    Factor("y", "also-graph-output", on("y", lambda s, t: s.output_float(t))),
    Factor("y", "one-float-reader", on("y", float_reader)),
    *(Factor("y-readers", str(n + 1), on("y", lambda s, t, n=n: readers(s, t, n))) for n in (1, 2)),  # type: ignore[misc]
    *(Factor("x-readers", str(n + 1), on("x", lambda s, t, n=n: readers(s, t, n))) for n in (1, 2)),  # type: ignore[misc]
    *(
        Factor("s8-readers", f"{n + 1}-{of}", lambda s, n=n, of=of: (regrid(s, "s8", s.tensors), readers(s, getattr(s, of), n)))  # type: ignore[misc]
        for n in (1, 2)
        for of in "xy"
    ),
    Factor("x-readers", "dedicated", lambda s: (readers(s, s.x, 1), s.options([s.x], per_use=True))),
    Factor("y-readers", "dedicated", lambda s: (readers(s, s.y, 1), s.options([s.y], per_use=True))),
    Factor("y-readers", "dq-each", lambda s: (readers(s, s.y, 1), s.options([s.y], dq_per_use=True))),
    Factor("y-quantizers", "two-scales", on("y", lambda s, t: other_quantizer(s, t, lambda q: q.times(1.5)))),
    Factor("y-quantizers", "two-types", on("y", lambda s, t: other_quantizer(s, t, lambda q: q.but(dtype="s8", zero=0)))),
    Factor("x-dead", "1", lambda s: s.options([s.x], dead=1)),
    Factor("y-dead", "1", lambda s: s.options([s.y], dead=1)),
    Factor("s8-dead", "x", lambda s: (regrid(s, "s8", s.tensors), s.options([s.x], dead=1))),
    Factor("s8-dead", "y", lambda s: (regrid(s, "s8", s.tensors), s.options([s.y], dead=1))),
    Factor("x-twice", "same", on("x", lambda s, t: twice(s, t, 1.0))),
    Factor("x-twice", "narrower", on("x", lambda s, t: twice(s, t, 0.7))),
    Factor("y-twice", "same", on("y", lambda s, t: twice(s, t, 1.0))),
    Factor("y-twice", "narrower", on("y", lambda s, t: twice(s, t, 0.7))),
    Factor("y-twice", "wider", on("y", lambda s, t: twice(s, t, 1.3))),
    Factor("x-dq", "other-scale", on("x", lambda s, t: mismatch(s, t, lambda q: q.times(2)))),
    Factor("y-dq", "other-scale", on("y", lambda s, t: mismatch(s, t, lambda q: q.times(2)))),
    Factor("y-dq", "other-zero", on("y", lambda s, t: mismatch(s, t, lambda q: q.but(zero=7)))),
    Factor("shape", "dynamic-batch", lambda s: dynamic(s, "batch"), core=False),
    Factor("shape", "dynamic", lambda s: dynamic(s, "all")),
    Factor("zero-point", "omitted", everywhere(lambda q: q.but(zero=None))),
    Factor("x-zero-point", "omitted", lambda s: s.change([s.x], lambda q: q.but(zero=None))),
    Factor("domain", "microsoft", lambda s: s.change(list(s.plan.series), lambda q: q.but(domain=MICROSOFT))),
    Factor("x", "integer-graph-input", lambda s: s.options(s.xs, starts_at_dq=True)),
    Factor("y", "integer-graph-output", lambda s: s.options(s.ys, ends_at_q=True)),
    Factor("xy", "integer-graph", lambda s: (s.options(s.xs, starts_at_dq=True), s.options(s.ys, ends_at_q=True))),
    Factor("scales", "power-of-two", everywhere(lambda q: q.but(scale=0.03125))),
]
