"""Small networks around what one operator alone does not show: tensors with several readers, and arguments of operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from probes.probe import Probe
from probes.script.cases import ATEN
from probes.script.layers import Style
from probes.script.net import Grid

from .net import DECOMPOSED, Exported, Pairs

GRID = Grid("s8", 0.05, 3)
CHANNELS = 8


class Piece(Pairs):
    """Layers that read what is quantized, and give it quantized."""

    def image(self, channels: int = CHANNELS, size: int = 6) -> str:
        return self.input(1, channels, size, size)

    def rows(self) -> str:
        return self.net.input(2, CHANNELS)

    def weight(self) -> str:
        return self.fake_weight((CHANNELS, CHANNELS, 3, 3))

    def conv(self, x: str, w: str = "", bias: str = "None", grid: Grid = GRID) -> str:
        return self.quantized(self.bare(x, w, bias), grid)

    def bare(self, x: str, w: str = "", bias: str = "None") -> str:
        return self.net.line(f"{ATEN}.conv2d({x}, {w or self.weight()}, {bias}, [1, 1], [1, 1], [1, 1], 1)")

    def linear(self, x: str) -> str:
        return self.net.line(f"{ATEN}.linear({x}, {self.fake_weight((CHANNELS, CHANNELS))}, None)")

    def op(self, expression: str) -> str:
        return self.net.line(f"{ATEN}.{expression}")

    def pair(self, expression: str, grid: Grid = GRID) -> str:
        return self.quantized(self.op(expression), grid)

    def skip(self, *between: str) -> str:
        """A sum whose first operand is read by a layer as well, with operators behind that layer: `conv`, or an expression."""
        x = self.image()
        y = self.conv(x)
        for what in between:
            y = self.conv(y) if what == "conv" else self.pair(what.format(x=y))
        return self.pair(f"add({x}, {y})")

    def tied(self, *between: str) -> str:
        """Two layers with one dequantized weight, and operators between them."""
        w = self.weight()
        y = self.conv(self.image(), w)
        for what in between:
            y = self.pair(what.format(x=y))
        return self.conv(y, w)

    def bias(self, channel: bool) -> str:
        import torch

        codes = self.net.attribute(torch.arange(-4, 4, dtype=torch.int32) * 50)
        if not channel:
            return self.net.line(f"{DECOMPOSED}.dequantize_per_tensor({codes}, 0.0001, 0, -2147483648, 2147483647, torch.int32)")
        s, z = self.net.attribute(torch.full((CHANNELS,), 0.0001)), self.net.attribute(torch.zeros(CHANNELS, dtype=torch.int64))
        return self.net.line(f"{DECOMPOSED}.dequantize_per_channel({codes}, {s}, {z}, 0, -2147483648, 2147483647, torch.int32)")

    def both(self, *results: str) -> str:
        return f"({', '.join(results)})"

    def joined(self, count: int) -> str:
        same = self.style.grid("x")
        assert same is not None
        return self.pair(f"cat([{', '.join(self.image() for _ in range(count))}], 1)", same)


def _readers(m: Piece, other: str) -> str:
    x = m.image()
    return m.both(m.conv(x), m.op(other.format(x=x)) if other else x)


def _rows(m: Piece, other: str) -> str:
    x = m.quantized(m.rows(), GRID)
    return m.both(m.quantized(m.linear(x), GRID), m.op(other.format(x=x)) if other else x)


def _sums(m: Piece, other: str) -> str:
    x = m.quantized(m.rows(), GRID)
    return m.both(m.pair(f"add({x}, {m.quantized(m.rows(), GRID)})"), m.op(other.format(x=x)))


def _images(m: Piece, y: str, other: str) -> str:
    x = m.image()
    return m.both(m.pair(f"add({x}, {y})"), m.op(other.format(x=x)) if other else x)


def _again(m: Piece) -> str:
    x = m.image()
    return m.both(m.conv(x), m.quantized(x, GRID.but(scale=0.03)))


def _result(m: Piece, other: str) -> str:
    y = m.conv(m.image())
    return m.both(m.pair(f"relu({y})"), m.op(other.format(x=y)) if other else y)


def _heads(m: Piece) -> str:
    x = m.dynamic(m.rows())
    return m.both(m.linear(x), m.linear(x), m.linear(x))


def _two_grids(m: Piece) -> str:
    y = m.bare(m.image())
    return m.both(m.quantized(y, GRID), m.quantized(y, GRID.but(scale=0.03)))


def _two_quantizers(m: Piece) -> str:
    y = m.bare(m.image())
    return m.both(m.quantized(y, GRID), m.quantized(y, GRID))


def _gated(m: Piece) -> str:
    x = m.image()
    return m.pair(f"mul({x}, {m.pair(f'sigmoid({x})')})")


PIECES: dict[str, Callable[[Piece], Any]] = {
    "skip": lambda m: m.skip(), "skip-conv": lambda m: m.skip("conv"), "skip-conv-conv": lambda m: m.skip("conv", "conv"), "skip-relu": lambda m: m.skip("relu({x})"),
    "skip-float": lambda m: m.skip("tanh({x})"), "skip-portable": lambda m: m.skip("cumsum({x}, 1)"), "skip-conv-portable": lambda m: m.skip("conv", "roll({x}, [1], [2])"),
    "tied": lambda m: m.tied(), "tied-relu": lambda m: m.tied("relu({x})"), "tied-relu-relu": lambda m: m.tied("relu({x})", "hardtanh({x}, -1.0, 1.0)"), "tied-portable": lambda m: m.tied("cumsum({x}, 1)"),
    "gated": _gated, "readers-conv": lambda m: m.both(m.conv(x := m.image()), m.conv(x)), "readers-float": lambda m: _readers(m, "tanh({x})"), "readers-portable": lambda m: _readers(m, "cumsum({x}, 1)"),
    "readers-output": lambda m: _readers(m, ""), "result-float": lambda m: _result(m, "tanh({x})"), "result-portable": lambda m: _result(m, "cumsum({x}, 1)"), "result-output": lambda m: _result(m, ""),
    "rows-float": lambda m: _rows(m, "tanh({x})"), "rows-portable": lambda m: _rows(m, "cumsum({x}, 1)"), "rows-output": lambda m: _rows(m, ""), "readers-quantize": _again,
    "sums-float": lambda m: _sums(m, "tanh({x})"), "sums-portable": lambda m: _sums(m, "cumsum({x}, 1)"),
    "images-portable": lambda m: _images(m, m.image(), "cumsum({x}, 1)"), "images-output": lambda m: _images(m, m.image(), ""),
    "images-conv-portable": lambda m: _images(m, m.conv(m.image()), "cumsum({x}, 1)"), "images-conv-output": lambda m: _images(m, m.conv(m.image()), ""),
    "self": lambda m: m.pair(f"add({(x := m.image())}, {x})"), "two-grids": _two_grids, "two-quantizers": _two_quantizers,
    "bias-tensor": lambda m: m.conv(m.image(), bias=m.bias(False)), "bias-channel": lambda m: m.conv(m.image(), bias=m.bias(True)),
    "dynamic-relu": lambda m: m.op(f"relu({m.linear(m.dynamic(m.rows()))})"), "dynamic-relu6": lambda m: m.op(f"hardtanh({m.linear(m.dynamic(m.rows()))}, 0.0, 6.0)"),
    "dynamic-tanh": lambda m: m.op(f"tanh({m.linear(m.dynamic(m.rows()))})"), "dynamic-y": lambda m: m.quantized(m.linear(m.dynamic(m.rows())), GRID), "dynamic-heads": _heads,
    "dynamic-conv-relu": lambda m: m.op(f"relu({m.bare(m.dynamic(m.net.input(1, CHANNELS, 6, 6)))})"), "dynamic-conv-clamp": lambda m: m.op(f"clamp({m.bare(m.dynamic(m.net.input(1, CHANNELS, 6, 6)))}, 0.0, 6.0)"),
    "conv-clamp": lambda m: m.pair(f"clamp({m.bare(m.image())}, 0.0, 6.0)"), "conv-relu-twice": lambda m: m.both(m.quantized(y := m.op(f"relu({m.bare(m.image())})"), GRID), m.op(f"tanh({y})")),
    "cat-1": lambda m: m.joined(1), "cat-3": lambda m: m.joined(3), "cat-5": lambda m: m.joined(5), "cat-6": lambda m: m.joined(6),
    "alpha": lambda m: m.pair(f"add({m.image()}, {m.image()}, alpha=2)"), "alpha-sub": lambda m: m.pair(f"sub({m.image()}, {m.image()}, alpha=2)"),
    "broadcast": lambda m: m.pair(f"mul({m.image()}, {m.image(size=1)})"), "pool-stride": lambda m: m.pair(f"max_pool2d({m.image()}, [2, 2], [3, 3])", m.style.grid("x")),
    "pool-ceil": lambda m: m.pair(f"max_pool2d({m.image()}, [4, 4], [4, 4], [0, 0], [1, 1], True)", m.style.grid("x")), "slice-step": lambda m: m.pair(f"slice({m.image()}, 1, 0, 8, 2)", m.style.grid("x")),
    "mean-negative": lambda m: m.pair(f"mean({m.image()}, [-1, -2], True)"), "unsqueeze-last": lambda m: m.pair(f"unsqueeze({m.image()}, -1)", m.style.grid("x")), "pad-conv": lambda m: m.conv(m.op(f"constant_pad_nd({m.image()}, [1, 1, 1, 1], 0.0)")),
    "tiny-scale": lambda m: m.conv(m.image(), grid=GRID.but(scale=1e-39)),
}  # fmt: skip


def piece(name: str) -> Probe:
    net = Exported(name)
    return Probe(f"single/piece/{name}", net.bytes(PIECES[name](Piece(net, Style(x="s8", y="s8", zero=3)))), None, {"op": "piece", "style": name})
