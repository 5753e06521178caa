"""What is varied about one operator: each factor edits a clean network in place, or raises `Skip`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .net import INTEGERS, Grid, Net, Op, Tensor
from .style import BIAS, OUT_AXIS, WEIGHTED, data, of_bias, of_range, of_weights

STORAGE = {"u8": "uint8", "s8": "int8", "s16": "int16", "s4": "int4", "s2": "int2", "s32": "int32", "s64": "int64", "bool": "bool"}


class Skip(Exception):
    """The factor does not apply to this operator."""


class Subject:
    """An operator of a network, and the names of what it reads and writes."""

    def __init__(self, net: Net, op: Op | None = None) -> None:
        self.net = net
        self.op = op or net.ops[-1]
        used = [net.tensors[name] for name in self.op.inputs if name]
        self.ys = [net.tensors[name] for name in self.op.outputs if net.tensors[name].type != "bool" and not net.tensors[name].dtype]
        self.xs = [t for t in used if t.values is None and not t.dtype]
        self.ints = [t for t in used if t.values is not None and t.dtype]
        weight, bias = WEIGHTED.get(self.op.kind), BIAS.get(self.op.kind)
        self.w = [net.tensors[self.op.inputs[weight]]] if weight is not None and len(self.op.inputs) > weight else []
        self.b = [net.tensors[self.op.inputs[bias]]] if bias is not None and len(self.op.inputs) > bias and self.op.inputs[bias] else []
        self.cs = [t for t in used if t.values is not None and not t.dtype and t not in self.w and t not in self.b]

    def of(self, port: str) -> list[Tensor]:
        found = {"x": self.xs[:1], "x2": self.xs[1:2], "xs": self.xs, "y": self.ys[:1], "ys": self.ys, "w": self.w, "b": self.b, "c": self.cs[:1], "xy": self.xs + self.ys + self.cs}[port]
        if not found:
            raise Skip
        return found

    def refit(self) -> None:
        """Biases follow the scales of inputs and weights, as a converter would have it."""
        for op in self.net.ops:
            slot = BIAS.get(op.kind, 99)
            if slot >= len(op.inputs) or not op.inputs[slot]:
                continue
            bias, x, w = (self.net.tensors[op.inputs[n]] for n in (slot, data(op), WEIGHTED[op.kind]))
            if bias.grid and x.grid and w.grid and x.grid.scales and w.grid.scales:
                bias.grid = of_bias(x.grid, w.grid, bias.grid.dtype)


@dataclass(frozen=True)
class Factor:
    """One thing to vary. `core`: only for operators that get every factor."""

    name: str
    value: str
    act: Callable[[Subject], None]
    core: bool = False
    styles: tuple[str, ...] = ("s8",)

    @property
    def id(self) -> str:
        return f"{self.name}={self.value}"


def _retype(port: str, kind: str) -> Callable[[Subject], None]:
    """Another type with a grid for the same range; floats and integers without a grid as well."""

    def act(s: Subject) -> None:
        for tensor in s.of(port):
            if kind == "float":
                tensor.grid = None
            elif kind == "f16":
                tensor.grid, tensor.dtype = None, "float16"
            elif kind == "no-scale":
                tensor.grid = _of(tensor).but(scale=None)
            else:
                now = _of(tensor)
                if now.dtype == STORAGE[kind]:
                    raise Skip
                tensor.grid = Grid("int32", 1e-4, 0) if kind == "s32" else of_range(STORAGE[kind], *_range(now))
        s.refit()

    return act


def _mixed(port: str, kind: str) -> Callable[[Subject], None]:
    """Types that do not go together, for the operators whose kernels look at both."""

    def act(s: Subject) -> None:
        if s.op.kind not in ("CONV_2D", "FULLY_CONNECTED", "ADD", "SOFTMAX", "CONCATENATION", "MAX_POOL_2D"):
            raise Skip
        _retype(port, kind)(s)

    return act


def _of(tensor: Tensor) -> Grid:
    if tensor.grid is None or tensor.grid.scale is None:
        raise Skip
    return tensor.grid


def _range(grid: Grid) -> tuple[float, float]:
    low, high = INTEGERS[grid.dtype]
    return (low - grid.zeros[0]) * grid.scales[0], (high - grid.zeros[0]) * grid.scales[0]


def _regrid(port: str, edit: Callable[[Grid], Grid], refit: bool = True) -> Callable[[Subject], None]:
    def act(s: Subject) -> None:
        for tensor in s.of(port):
            if isinstance(_of(tensor).scale, tuple) and port not in ("w", "b"):
                raise Skip
            tensor.grid = edit(_of(tensor))
        if refit:
            s.refit()

    return act


def _shifted(grid: Grid, by: int) -> Grid:
    return grid.but(zero=tuple(z + by for z in grid.zeros) if isinstance(grid.scale, tuple) else grid.zeros[0] + by)


def _channels(port: str) -> Callable[[Subject], None]:
    def act(s: Subject) -> None:
        for tensor in s.of(port):
            grid, axis = _of(tensor), len(tensor.shape) - 1
            count = tensor.shape[axis]
            tensor.grid = grid.but(scale=tuple(grid.scales[0] * (1 + n / 10) for n in range(count)), zero=(grid.zeros[0],) * count, axis=axis)

    return act


def _weights(dtype: str, axis: str) -> Callable[[Subject], None]:
    """axis: out, in, none; the type `like` keeps it."""

    def act(s: Subject) -> None:
        tensor = s.of("w")[0]
        assert tensor.values is not None
        out = OUT_AXIS.get(s.op.kind, 0)
        if tensor.grid is None:
            raise Skip
        kind = tensor.grid.dtype if dtype == "like" else STORAGE[dtype]
        where = {"out": out, "in": 0 if out else tensor.values.ndim - 1, "none": None}[axis]
        grid = of_weights(tensor.values, kind, where)
        if grid == tensor.grid:
            raise Skip
        tensor.grid = grid
        if tensor.grid.dtype == "uint8" and where is not None:
            tensor.grid = of_weights(tensor.values, "int8", where).but(dtype="uint8", zero=(128,) * tensor.shape[where])
        s.refit()
        if s.b and s.b[0].grid and len(s.b[0].grid.scales) not in (1, *s.b[0].shape):
            s.b[0].grid = s.b[0].grid.but(scale=s.b[0].grid.scales[0], zero=0)

    return act


def _fewer_scales(s: Subject) -> None:
    tensor = s.of("w")[0]
    grid = _of(tensor)
    if len(grid.scales) < 4:
        raise Skip
    tensor.grid = grid.but(scale=grid.scales[:3], zero=grid.zeros[:3])


def _variable(port: str) -> Callable[[Subject], None]:
    """A constant becomes an input of the graph."""

    def act(s: Subject) -> None:
        for tensor in s.of(port):
            tensor.values = None
            s.net.inputs.append(tensor.name)

    return act


def _fused(kind: str) -> Callable[[Subject], None]:
    def act(s: Subject) -> None:
        if s.op.kind not in FUSES or s.op.options.get("fusedActivationFunction"):
            raise Skip
        s.op.options["fusedActivationFunction"] = kind

    return act


FUSES = frozenset("CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED TRANSPOSE_CONV ADD SUB MUL DIV AVERAGE_POOL_2D MAX_POOL_2D L2_POOL_2D CONCATENATION L2_NORMALIZATION".split())


def _dynamic(s: Subject) -> None:
    for tensor in (*s.xs, *s.ys):
        tensor.dynamic = True


def _bias_type(kind: str) -> Callable[[Subject], None]:
    def act(s: Subject) -> None:
        tensor = s.of("b")[0]
        grid = tensor.grid
        tensor.grid = None if kind == "float" or grid is None else grid.but(dtype=STORAGE[kind])
        if grid is None and kind != "float":
            raise Skip

    return act


def _no_bias(s: Subject) -> None:
    slot = BIAS.get(s.op.kind)
    s.of("b")
    assert slot is not None
    s.op.inputs[slot] = ""


def _one_bias_scale(s: Subject) -> None:
    grid = _of(s.of("b")[0])
    if len(grid.scales) < 2:
        raise Skip
    s.b[0].grid = grid.but(scale=grid.scales[0], zero=0)


def _bias_type_option(s: Subject) -> None:
    if s.op.options.pop("quantizedBiasType", None) is None:
        raise Skip


def _float_island(s: Subject) -> None:
    """The operator computes in floats, between a DEQUANTIZE and a QUANTIZE."""
    net, op = s.net, s.op
    at = net.ops.index(op)
    before, after = list[Op](), list[Op]()
    for slot, name in enumerate(op.inputs):
        tensor = net.tensors.get(name)
        if tensor is None or tensor.grid is None:
            continue
        if tensor.values is not None:
            tensor.grid = None
            continue
        real = net.add(f"{name}_real", tensor.shape)
        before.append(Op("DEQUANTIZE", [name], [real]))
        op.inputs[slot] = real
    for slot, name in enumerate(op.outputs):
        tensor = net.tensors[name]
        if tensor.grid is not None:
            real = net.add(f"{name}_real", tensor.shape)
            after.append(Op("QUANTIZE", [real], [name]))
            op.outputs[slot] = real
    op.options.pop("quantizedBiasType", None)
    net.ops[at : at + 1] = [*before, op, *after]


def _requantized(port: str) -> Callable[[Subject], None]:
    """A QUANTIZE to another grid in front of the operator, or behind it."""

    def act(s: Subject) -> None:
        tensor = s.of(port)[0]
        grid = _of(tensor)
        other = s.net.add(f"{tensor.name}_other", tensor.shape, grid=grid.times(1.3))
        at = s.net.ops.index(s.op)
        if port == "x":
            s.op.inputs[s.op.inputs.index(tensor.name)] = other
            s.net.ops.insert(at, Op("QUANTIZE", [tensor.name], [other]))
            s.refit()
        else:
            s.op.outputs[s.op.outputs.index(tensor.name)] = other
            s.net.ops.insert(at + 1, Op("QUANTIZE", [other], [tensor.name]))

    return act


def _factors() -> Iterator[Factor]:
    for kind in ("float", "u8", "s16"):
        yield Factor("x", kind, _mixed("x", kind), True)
        yield Factor("y", kind, _mixed("y", kind), True)
        yield Factor("x2", kind, _retype("x2", kind), True)
        yield Factor("c", kind, _retype("c", kind), kind != "float")
    for port in ("x", "y"):
        yield Factor(port, "per-channel", _channels(port), port == "y")
    yield Factor("y-scale", "zero", _regrid("y", lambda g: g.but(scale=0.0)), True)
    both = ("s8", "s16")
    yield Factor("y-scale", "x2", _regrid("y", lambda g: g.times(2)), styles=(*both, "u8"))
    yield Factor("y-scale", "x1.1", _regrid("y", lambda g: g.times(1.1)))
    yield Factor("y-scale", "x1.0001", _regrid("y", lambda g: g.times(1.0001)), True)
    yield Factor("y-scale", "/1000", _regrid("y", lambda g: g.times(1e-3)), True)
    yield Factor("y-scale", "x1000", _regrid("y", lambda g: g.times(1e3)), True)
    yield Factor("y-zero", "+7", _regrid("y", lambda g: _shifted(g, 7 if g.zeros[0] < 100 else -7)), styles=("s8", "u8"))
    yield Factor("y-zero", "+700", _regrid("y", lambda g: _shifted(g, 700)), styles=("s16",))
    yield Factor("y-zero", "+40", _regrid("y", lambda g: _shifted(g, 40 if g.zeros[0] < 80 else -40)), True)
    yield Factor("x-zero", "+700", _regrid("x", lambda g: _shifted(g, 700)), True, styles=("s16",))
    yield Factor("xy-zero", "+700", _regrid("xy", lambda g: _shifted(g, 700)), styles=("s16",))
    yield Factor("x2-scale", "x2", _regrid("x2", lambda g: g.times(2)), styles=both)
    yield Factor("x2-zero", "+7", _regrid("x2", lambda g: _shifted(g, 7)))
    yield Factor("c-scale", "x2", _regrid("c", lambda g: g.times(2)))
    yield Factor("c-zero", "+7", _regrid("c", lambda g: _shifted(g, 7)))
    yield Factor("c", "variable", _variable("c"), True)
    for kind in ("s8", "u8", "s4", "s16", "s2"):
        for axis in ("out", "none"):
            yield Factor("w", f"{kind}-{axis}", _weights(kind, axis), kind in ("s2", "s16"), ("s8", "hybrid", "s16") if kind in ("s8", "s4") else ("s8",))
    yield Factor("w", "in", _weights("like", "in"), styles=("s8", "hybrid"))
    yield Factor("w", "fewer-scales", _fewer_scales, True)
    yield Factor("w", "float", _retype("w", "float"))
    yield Factor("w", "no-scale", _retype("w", "no-scale"), True)
    yield Factor("w", "variable", _variable("w"), styles=("s8", "float"))
    yield Factor("w-zero", "40", _regrid("w", lambda g: _shifted(g, 40)), styles=("s8", "s8-tensor", "u8", "hybrid"))
    yield Factor("w-zero", "one", _regrid("w", lambda g: g.but(zero=(40, *g.zeros[1:])) if isinstance(g.scale, tuple) else _shifted(g, 30)), True)
    for kind in ("s64", "s32", "s16", "s8", "float"):
        yield Factor("b", kind, _bias_type(kind), kind in ("s16", "s8"), both if kind in ("s64", "s32", "float") else ("s8",))
    yield Factor("b", "none", _no_bias, styles=("s8", "s16"))
    yield Factor("b", "one-scale", _one_bias_scale)
    yield Factor("b", "no-scale", _retype("b", "no-scale"), True)
    yield Factor("b", "variable", _variable("b"))
    yield Factor("b-scale", "x4", _regrid("b", lambda g: g.times(4), refit=False), styles=(*both, "s8-tensor"))
    yield Factor("b-scale", "x1.001", _regrid("b", lambda g: g.times(1.001), refit=False), True)
    yield Factor("b-zero", "50000", _regrid("b", lambda g: _shifted(g, 50000), refit=False), True)
    yield Factor("bias-type", "not-said", _bias_type_option, styles=("s16", "s16-s32"))
    for kind in ("RELU", "RELU6", "RELU_N1_TO_1", "TANH", "SIGN_BIT"):
        yield Factor("act", kind.lower(), _fused(kind), kind in ("TANH", "SIGN_BIT"))
    yield Factor("batch", "dynamic", _dynamic, True)
    yield Factor("island", "float", _float_island)
    yield Factor("requantized", "x", _requantized("x"), True)
    yield Factor("requantized", "y", _requantized("y"), True)


FACTORS: tuple[Factor, ...] = tuple(_factors())
