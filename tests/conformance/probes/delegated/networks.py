"""Random networks as PT2E leaves them: residual, depthwise, concatenated and gated blocks, attention, a head."""

from __future__ import annotations

from random import Random
from typing import Any

from probes.script.cases import ATEN
from probes.script.layers import Style
from probes.script.net import Grid

from .net import Exported, Pairs

ACTIVATIONS = ("relu({x})", "relu({x})", "hardtanh({x}, 0.0, 6.0)", "hardswish({x})", "leaky_relu({x}, 0.1)", "silu({x})")
FUSED = ("relu", "hardtanh")  # stand between a layer and its quantizer
GATES = ("sigmoid({x})", "hardsigmoid({x})", "tanh({x})")
POOLS = ("max_pool2d({x}, [3, 3], [1, 1], [1, 1])", "avg_pool2d({x}, [3, 3], [1, 1], [1, 1])", "avg_pool2d({x}, [2, 2], [1, 1])")
BLOCKS = "residual residual downsampled inverted dense branch shuffled excited pooled plain twice".split()
WIDE = 8  # channels between blocks


class Network(Pairs):
    """Layers whose quantizers are those of PT2E, or now and then (`trouble`) missing or on another grid.

    `everywhere`: each result has a quantizer; otherwise only those of operators that XNNPACKQuantizer knows. `on_the_fly`:
    fully connected layers quantize what they read when the network runs.
    """

    def __init__(self, net: Exported, rng: Random, trouble: float) -> None:
        super().__init__(net, Style(x="s8", y="s8"))
        self.rng, self.trouble = rng, trouble
        self.everywhere, self.on_the_fly = rng.random() < 0.4, rng.random() < 0.3
        self.act = rng.choice(ACTIVATIONS)
        self.grids: dict[str, Grid] = {}  # of what was quantized
        self.found: set[str] = set()  # tensors on grids that are chosen when the network runs

    def strange(self) -> bool:
        return self.rng.random() < self.trouble

    def fresh(self) -> Grid:
        return Grid("s8", self.rng.choice([0.02, 0.03, 0.05]), self.rng.choice([0, 0, 5, -9]))

    def mark(self, x: str, grid: Grid | None = None) -> str:
        """A tensor with a quantizer, or with what goes wrong with one."""
        grid = grid or self.fresh()
        if self.strange():
            chosen = self.rng.choice([None, None, self.fresh()])
            if chosen is None:
                return x
            grid = chosen
        y = self.quantized(x, grid)
        self.grids[y] = grid
        return y

    def wanted(self, x: str) -> str:
        """An input that has to be quantized."""
        return x if x in self.grids else self.mark(x)

    def free(self, expression: str) -> str:
        """An operator that XNNPACKQuantizer leaves alone."""
        made = self.net.line(f"{ATEN}.{expression}")
        return self.mark(made) if self.everywhere else made

    def kept(self, expression: str, x: str) -> str:
        """An operator that shares the grid of what it reads."""
        made = self.net.line(f"{ATEN}.{expression}")
        return self.mark(made, self.grids[x]) if x in self.grids else made

    def _weighted(self, expression: str, act: str, grid: Grid | None) -> str:
        made = self.net.line(f"{ATEN}.{expression}")
        if act.startswith(FUSED):
            return self.mark(self.net.line(f"{ATEN}.{act.format(x=made)}"), grid)
        made = self.mark(made, grid)
        return self.free(act.format(x=made)) if act else made

    def _parameters(self, *shape: int) -> str:
        rng, style = self.rng, self.style
        self.style = style.but(axis=rng.choice([0, 0, None]), weight="" if self.strange() and rng.random() < 0.3 else style.weight)
        w = self.fake_weight(shape)
        self.style = style
        return f"{w}, {self.constant(shape[0], 0.1) if rng.random() < 0.8 else None}"

    def constant(self, count: int, size: float, around: float = 0.0) -> str:
        import torch

        return self.net.attribute(torch.from_numpy(self.net.random(count, size=size) + around))

    def conv(self, x: str, cin: int, cout: int, kernel: int = 3, stride: int = 1, groups: int = 1, act: str = "", grid: Grid | None = None) -> str:
        x, pad = self.wanted(x), kernel // 2
        return self._weighted(f"conv2d({x}, {self._parameters(cout, cin // groups, kernel, kernel)}, [{stride}, {stride}], [{pad}, {pad}], [1, 1], {groups})", act, grid)

    def linear(self, x: str, cin: int, cout: int, act: str = "") -> str:
        if self.on_the_fly:
            style, self.style = self.style, self.style.but(axis=0)
            y = self.net.line(f"{ATEN}.linear({self.chosen(x)}, {self.fake_weight((cout, cin))}, {self.constant(cout, 0.1)})")
            self.style = style
            return self.net.line(f"{ATEN}.{act.format(x=y)}") if act else y
        return self._weighted(f"linear({self.wanted(x)}, {self._parameters(cout, cin)})", act, None)

    def chosen(self, x: str) -> str:
        """A tensor on a grid of its own, for every reader the same one."""
        if x not in self.found:
            self.found.add(y := self.dynamic(x))
            return y
        return x

    def binary(self, name: str, x: str, y: str, act: str = "") -> str:
        x, y = self.wanted(x), self.wanted(y)
        return self._weighted(f"{name}({x}, {y})", act, None)

    def joined(self, *parts: str, grid: Grid | None) -> str:
        return self.mark(self.net.line(f"{ATEN}.cat([{', '.join(self.wanted(part) for part in parts)}], 1)"), grid)


def network(rng: Random, salt: str) -> bytes:
    """With `readers` each reader of a quantized tensor has a dequantize of its own, as PT2E leaves them, or all have one."""
    net = Exported(salt, readers=rng.random() < 0.7)
    m = Network(net, rng, rng.choice([0.0, 0.0, 0.05, 0.15]))
    if rng.random() < 0.2:
        return net.bytes(_attention(m, m.mark(net.input(1, 6, WIDE))))
    x = m.conv(m.mark(net.input(1, 3, 16, 16)), 3, WIDE, stride=2, act=m.act)
    for _ in range(rng.choice([1, 1, 2])):
        x = BUILD[rng.choice(BLOCKS)](m, x)
    if rng.random() < 0.15:
        x = m.kept(f"flatten({x}, 2)", x)
        return net.bytes(_attention(m, m.kept(f"transpose({x}, 1, 2)", x)))
    return net.bytes(_head(m, x))


def _residual(m: Network, x: str) -> str:
    y = m.conv(m.conv(x, WIDE, WIDE, act=m.act), WIDE, WIDE)
    return m.binary("add", *((x, y) if m.rng.random() < 0.5 else (y, x)), act=m.act)


def _downsampled(m: Network, x: str) -> str:
    y = m.conv(m.conv(x, WIDE, WIDE, stride=2, act=m.act), WIDE, WIDE)
    return m.binary("add", y, m.conv(x, WIDE, WIDE, kernel=1, stride=2), act=m.act)


def _inverted(m: Network, x: str) -> str:
    y = m.conv(m.conv(x, WIDE, 2 * WIDE, kernel=1, act=m.act), 2 * WIDE, 2 * WIDE, groups=2 * WIDE, act=m.act)
    return m.binary("add", x, m.conv(y, 2 * WIDE, WIDE, kernel=1))


def _dense(m: Network, x: str) -> str:
    x = m.wanted(x)
    grid = m.grids.get(x) if m.rng.random() < 0.7 else None
    return m.conv(m.joined(x, m.conv(x, WIDE, WIDE, act="relu({x})", grid=grid), grid=grid), 2 * WIDE, WIDE, kernel=1, act=m.act)


def _branch(m: Network, x: str) -> str:
    grid = m.fresh() if m.rng.random() < 0.7 else None
    ends = [m.conv(x, WIDE, WIDE, kernel, grid=grid) for kernel in (1, 3, 1)[: m.rng.choice([2, 3])]]
    return m.conv(m.joined(*ends, grid=grid), WIDE * len(ends), WIDE, kernel=1, act=m.act)


def _shuffled(m: Network, x: str) -> str:
    x = m.wanted(x)
    grid, half = m.grids.get(x), WIDE // 2
    first, second = (m.kept(f"slice({x}, 1, {start}, {start + half})", x) for start in (0, half))
    return m.joined(first, m.conv(second, half, half, groups=m.rng.choice([1, half]), act="relu({x})", grid=grid), grid=grid)


def _excited(m: Network, x: str) -> str:
    gate = m.kept(f"adaptive_avg_pool2d({x}, [1, 1])" if m.rng.random() < 0.5 else f"mean({x}, [2, 3], True)", x)
    gate = m.conv(m.conv(gate, WIDE, WIDE, kernel=1, act="relu({x})"), WIDE, WIDE, kernel=1)
    return m.binary("mul", x, m.free(m.rng.choice(GATES).format(x=gate)))


def _pooled(m: Network, x: str) -> str:
    pool = m.rng.choice(POOLS).format(x=x)
    return m.kept(pool, x) if pool.startswith("max") else m.free(pool)


def _plain(m: Network, x: str) -> str:
    return m.conv(x, WIDE, WIDE, kernel=m.rng.choice([1, 3]), groups=m.rng.choice([1, 1, 2, WIDE]), act=m.act)


def _twice(m: Network, x: str) -> str:
    """What is between two layers is read by something else as well."""
    y = m.conv(x, WIDE, WIDE)
    return m.binary(m.rng.choice(["add", "mul", "sub"]), y, m.free(f"{m.rng.choice(['tanh', 'sigmoid', 'abs'])}({y})"))


def _attention(m: Network, x: str) -> str:
    y = m.free(f"layer_norm({x}, [{WIDE}], {m.constant(WIDE, 0.1, 1.0)}, {m.constant(WIDE, 0.1)}, 1e-5)")
    if m.on_the_fly and m.rng.random() < 0.5:  # all three read one grid
        y = m.chosen(y)
    q, k, v = (m.linear(y, WIDE, WIDE) for _ in range(3))
    k = m.kept(f"transpose({k}, 1, 2)", k)
    scores = m.free(f"softmax({m.free(f'matmul({q}, {k})')}, -1)")
    x = m.binary("add", x, m.linear(m.free(f"matmul({scores}, {v})"), WIDE, WIDE))
    y = m.free(f"layer_norm({x}, [{WIDE}], {m.constant(WIDE, 0.1, 1.0)}, {m.constant(WIDE, 0.1)}, 1e-5)")
    return m.binary("add", x, m.linear(m.linear(y, WIDE, 2 * WIDE, act=m.rng.choice(["gelu({x})", "relu({x})"])), 2 * WIDE, WIDE))


def _head(m: Network, x: str) -> str:
    x = m.kept(m.rng.choice(["adaptive_avg_pool2d({x}, [1, 1])", "mean({x}, [2, 3], True)", "mean({x}, [-1, -2], True)"]).format(x=x), x)
    x = m.kept(m.rng.choice(["flatten({x}, 1)", "view({x}, [1, -1])"]).format(x=x), x)
    x = m.linear(x, WIDE, 5, act=m.rng.choice(["", "", "relu({x})"]))
    return m.free(f"softmax({x}, -1)") if m.rng.random() < 0.2 else x


BUILD: dict[str, Any] = {
    "residual": _residual, "downsampled": _downsampled, "inverted": _inverted, "dense": _dense, "branch": _branch, "shuffled": _shuffled,
    "excited": _excited, "pooled": _pooled, "plain": _plain, "twice": _twice,
}  # fmt: skip
