"""Random networks: a trunk of convs with branches, an average, linear layers."""

from __future__ import annotations

import random

from .cases import ATEN, BINARY, NORMS, UNARY, Case
from .layers import Layers, Style
from .net import Grid, Net

_TABLE: dict[str, Case] = {case.key: case for case in (*UNARY, *NORMS, *BINARY)}
_SAME_SIZE = "relu relu6 hardtanh leaky-relu elu hardswish sigmoid hardsigmoid tanh silu gelu batch-norm instance-norm add-number mul-number clamp prelu".split()
_POOLS = "max-pool avg-pool nearest bilinear".split()
_KEEPING = {"relu", "relu6", "hardtanh", "clamp", "max-pool", "avg-pool", "nearest", "bilinear"}  # share their quantizer with their input
_FIXED = {"sigmoid": (1 / 256, 0), "hardsigmoid": (1 / 256, 0), "tanh": (2 / 256, 128)}


class Random(Layers):
    """Layers whose quantizers are now and then missing, of another type or on another grid than the tools would choose."""

    def __init__(self, net: Net, style: Style, rng: random.Random, trouble: float) -> None:
        super().__init__(net, style)
        self.rng, self.trouble = rng, trouble
        self.grids: dict[str, Grid | None] = {}

    def strange(self) -> bool:
        return self.rng.random() < self.trouble

    def fresh(self) -> Grid:
        of = self.style.x
        high = 255 if of in ("u8", "s8") else 127
        zero = {"u8": 128, "u7": 64, "s8": 0}[of] + self.rng.choice([0, 0, 5, -9])
        return Grid(of, self.rng.choice([0.02, 0.03, 0.05]) * 255 / high, zero)

    def mark(self, x: str, grid: Grid | None) -> str:
        """A tensor with its quantizer, or with what happens to quantizers."""
        if self.strange():
            grid = self.rng.choice([None, None, None if grid is None else grid.but(of="s8", zero=0), self.fresh()])
        y = self.quantized(x, grid)
        self.grids[y] = grid
        return y

    def conv(self, x: str, cin: int, cout: int, kernel: int, stride: int = 1, groups: int = 1, act: str = "", full: bool = False) -> str:
        rng, style = self.rng, self.style
        self.style = style.but(axis=rng.choice([0, 0, 0, None]), full=full, weight="" if self.strange() and rng.random() < 0.3 else style.weight)
        w = self.fake_weight((cout, cin // groups, kernel, kernel))
        self.style = style
        p = kernel // 2
        y = self.net.line(f"{ATEN}.conv2d({x}, {w}, {self._bias(cout)}, [{stride}, {stride}], [{p}, {p}], [1, 1], {groups})")
        if act == "relu" and not self.strange():
            return self.mark(self.net.line(f"{ATEN}.relu({y})"), self.fresh())
        y = self.mark(y, self.fresh())
        return self.op(act, y) if act else y

    def _bias(self, count: int) -> str | None:
        import torch

        return self.net.attribute(torch.from_numpy(self.net.random(count, size=0.1))) if self.rng.random() < 0.8 else None

    def op(self, key: str, x: str, y: str = "", channels: int = 8) -> str:
        case = _TABLE[key]
        text = case.plain
        constants = {}
        for name in "wbmv":
            if f"{{{name}}}" in text:
                import torch

                values = abs(self.net.random(channels)) + 0.5 if name in "wv" else self.net.random(channels, size=0.1)
                constants[name] = self.net.attribute(torch.from_numpy(values.astype("float32")))
        made = self.net.line(text.format(x=x, y=y, **constants))
        if key in _FIXED:
            scale, zero = _FIXED[key]
            grid = Grid("s8", scale, 0) if self.style.x == "s8" else Grid("u8", scale, zero)
            y = self.quantized(made, grid)
            self.grids[y] = grid
            return y
        return self.shared(made, x) if key in _KEEPING else self.mark(made, self.fresh())

    def shared(self, made: str, x: str) -> str:
        """With the quantizer of the input, or with none."""
        grid = None if self.strange() else self.grids.get(x)
        y = self.quantized(made, grid)
        self.grids[y] = grid
        return y


def faked(rng: random.Random, salt: str, of: type[Net] = Net, layers: type[Random] | None = None) -> bytes:
    """With fake quantizers, or with what `layers` have in their place."""
    net = of(salt)
    m = (layers or Random)(net, Style(x=rng.choice(["u8", "u8", "u7", "u7", "s8"])), rng, rng.choice([0.0, 0.05, 0.15, 0.3]))
    x = m.mark(net.input(1, 3, 16, 16), m.fresh())
    act = rng.choice(["relu", "relu", "relu6", "hardswish", "leaky-relu", "silu"])
    full = rng.random() < 0.2
    x = m.conv(x, 3, 8, 3, 2, act=act, full=full)
    for _ in range(rng.randint(1, 4)):
        x = _block(m, x, act, full)
    return net.bytes(_head(m, x))


def _block(m: Random, x: str, act: str, full: bool) -> str:
    """One of the shapes that networks are made of; 8 channels in, 8 channels out."""
    rng = m.rng
    kind = rng.choice(["residual", "residual", "inverted", "dense", "excited", "plain", "plain", "pooled", "branch"])
    if kind == "residual":
        y = m.conv(m.conv(x, 8, 8, 3, act=act, full=full), 8, 8, 3)
        y = m.net.line(f"{ATEN}.add({x}, {y})")
        if act == "relu" and rng.random() < 0.7:
            return m.mark(m.net.line(f"{ATEN}.relu({y})"), m.fresh())
        return m.op(act, m.mark(y, m.fresh()))
    if kind == "inverted":
        y = m.conv(m.conv(x, 8, 8, 3, groups=8, act=act, full=full), 8, 8, 1)
        return m.mark(m.net.line(f"{ATEN}.add({x}, {y})"), m.fresh())
    if kind in ("dense", "branch"):
        y = m.conv(x, 8, 8, 3, act=act)
        other = x if kind == "dense" else m.conv(x, 8, 8, 1, act=act)
        joined = m.mark(m.net.line(f"{ATEN}.cat([{other}, {y}], 1)"), m.fresh() if m.rng.random() < 0.3 else m.grids.get(other) or m.fresh())
        return m.conv(joined, 16, 8, 1, act=act)
    if kind == "excited":
        gate = m.shared(m.net.line(f"{ATEN}.adaptive_avg_pool2d({x}, [1, 1])"), x)
        gate = m.op(rng.choice(["sigmoid", "hardsigmoid"]), m.conv(gate, 8, 8, 1))
        return m.mark(m.net.line(f"{ATEN}.mul({x}, {gate})"), m.fresh())
    if kind == "pooled":
        return m.op(rng.choice(["max-pool", "avg-pool", "nearest", "bilinear"]), x) if rng.random() < 0.5 else m.op(rng.choice(_SAME_SIZE), x)
    return m.op(rng.choice(_SAME_SIZE), m.conv(x, 8, 8, rng.choice([1, 3]), groups=rng.choice([1, 1, 2, 8])))


def _head(m: Random, x: str) -> str:
    rng = m.rng
    if rng.random() < 0.5:
        x = m.shared(m.net.line(f"{ATEN}.adaptive_avg_pool2d({x}, [1, 1])"), x)
        x = m.shared(m.net.line(f"{ATEN}.flatten({x}, 1)"), x)
    else:
        x = m.shared(m.net.line(f"{ATEN}.mean({x}, [2, 3])"), x)
    for width in ((8, 12), (12, 5)):
        y = m.net.line(f"{ATEN}.linear({x}, {m.fake_weight(width[::-1])}, {m._bias(width[1])})")
        if width[1] == 12 and rng.random() < 0.7:
            y = m.net.line(f"{ATEN}.relu({y})")
        x = m.mark(y, m.fresh() if width[1] == 12 or rng.random() < 0.7 else None)
    return m.op("softmax", x) if rng.random() < 0.2 else x


def real(rng: random.Random, salt: str) -> bytes:
    """With operators on quantized tensors, and now and then one on floats between a dequantize and a quantize."""
    net = Net(salt)
    m = Layers(net, Style(real=True))
    x = m.input(1, 8, 6, 6)
    for _ in range(rng.randint(2, 6)):
        step = rng.choice(["conv2d", "conv2d", "conv2d", "conv2d-depthwise", "conv2d-grouped", "add", "mul", "cat", "island", *rng.sample(_SAME_SIZE, 3)])
        if step.startswith("conv"):
            x = m.weighted(step, x, rng.choice(["", "relu({x})"]))
        elif step in ("add", "mul"):
            x = m.apply(_TABLE[step], x, m.weighted("conv2d", x))
        elif step == "cat":
            x = m.weighted("conv2d-1x1", m.apply(_TABLE["cat"], x, m.weighted("conv2d", x)), shape=(8, 16, 1, 1))
        elif step == "island":
            y = net.line(f"{ATEN}.{rng.choice(['silu', 'relu', 'gelu'])}(torch.dequantize({x}))")
            x = net.line(f"torch.quantize_per_tensor({y}, 0.03, 10, 13)")
        elif rng.random() < 0.9 and step in ("silu", "prelu"):  # which have no kernel
            continue
        else:
            x = m.apply(_TABLE[step], x)
    x = net.line(f"{ATEN}.flatten({net.line(f'{ATEN}.adaptive_avg_pool2d({x}, [1, 1])')}, 1)")
    return net.bytes(m.output(m.weighted("linear", x, shape=(5, 8)), True))
