"""Layers on a network, quantized in one of the two ways: by fake quantizers, or by operators on quantized tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from .cases import ATEN, OPS, WEIGHTED, Case
from .net import DTYPES, NUMBER, RANGES, Grid, Net, packing

_ZERO = {"u8": 128, "u7": 64, "u4": 8, "u16": 32768}


@dataclass(frozen=True)
class Style:
    """`real`: operators on quantized tensors. Activations are on `x` and `y`; "" is none. `weight` is a grid, `axis` its channels."""

    real: bool = False
    x: str = "u8"
    y: str = "u8"
    zero: int | None = None  # of activations; the middle of the range
    weight: str = "n8"
    axis: int | None = 0
    weight_zero: int = 0
    full: bool = False  # weights that reach the ends of their range
    x_scale: float = 0.02
    y_scale: float = 0.05

    def but(self, **changes: Any) -> Style:
        return replace(self, **changes)

    def grid(self, port: str) -> Grid | None:
        of = self.x if port == "x" else self.y
        if not of:
            return None
        low, high = RANGES[of]
        scale = (self.x_scale if port == "x" else self.y_scale) * 255 / (high - low)
        return Grid(of, scale, _ZERO.get(of, 0) if self.zero is None else self.zero)


class Layers:
    def __init__(self, net: Net, style: Style) -> None:
        self.net, self.style = net, style

    # -- grids ------------------------------------------------------------------------------------

    def quantized(self, x: str, grid: Grid | None) -> str:
        """The tensor through a quantizer: fake, or onto integers."""
        if grid is None:
            return x
        if not self.style.real:
            return self.net.line(f"torch.fake_quantize_per_tensor_affine({x}, {grid.scale!r}, {grid.zero}, {grid.bounds[0]}, {grid.bounds[1]})")
        return self.net.line(f"torch.quantize_per_tensor({x}, {grid.scale!r}, {grid.zero}, {NUMBER[grid.held]})")

    def input(self, *shape: int) -> str:
        return self.quantized(self.net.input(*shape), self.style.grid("x"))

    def output(self, x: str, real: bool) -> str:
        return self.net.line(f"torch.dequantize({x})") if real else x

    # -- weights ----------------------------------------------------------------------------------

    def codes(self, *shape: int) -> np.ndarray[Any, Any]:
        """Integers on the grid of weights, and the scales of each channel."""
        low, high = RANGES[self.style.weight or "n8"]
        values = self.net.random(*shape)
        top = np.abs(values).max() * (0.2 if self.style.full else 1.0)
        return np.clip(np.round(values / top * high), low, high).astype(np.int64)

    def scales(self, count: int) -> np.ndarray[Any, Any]:
        return np.array([0.004 + 0.0005 * (n % 5) for n in range(count)])

    def fake_weight(self, shape: tuple[int, ...]) -> str:
        style, codes = self.style, self.codes(*shape)
        if style.axis is None:
            w = self.net.attribute(torch.from_numpy((codes * 0.005).astype(np.float32)))
            low, high = RANGES[style.weight or "n8"]
            return self.net.line(f"torch.fake_quantize_per_tensor_affine({w}, 0.005, {style.weight_zero}, {low}, {high})") if style.weight else w
        scales = self.scales(shape[style.axis])
        along = scales.reshape([-1 if n == style.axis else 1 for n in range(len(shape))])
        w = self.net.attribute(torch.from_numpy((codes * along).astype(np.float32)))
        if not style.weight:
            return w
        low, high = RANGES[style.weight]
        s = self.net.attribute(torch.from_numpy(scales.astype(np.float32)))
        z = self.net.attribute(torch.full((len(scales),), style.weight_zero, dtype=torch.int32))
        return self.net.line(f"torch.fake_quantize_per_channel_affine({w}, {s}, {z}, {style.axis}, {low}, {high})")

    def real_weight(self, shape: tuple[int, ...]) -> torch.Tensor:
        style, codes = self.style, self.codes(*shape) + self.style.weight_zero
        dtype = DTYPES["s8" if RANGES[style.weight][0] < 0 else "u8"]
        held = torch.from_numpy(codes.clip(-128, 127) if dtype == torch.qint8 else codes.clip(0, 255)).to(torch.int8 if dtype == torch.qint8 else torch.uint8)
        if style.axis is None:
            return torch._make_per_tensor_quantized_tensor(held, 0.005, style.weight_zero)
        scales = torch.from_numpy(self.scales(shape[style.axis]))
        return torch._make_per_channel_quantized_tensor(held, scales, torch.full((len(scales),), style.weight_zero, dtype=torch.int64), style.axis)

    def weighted(self, key: str, x: str, act: str = "", shape: tuple[int, ...] = (), bias: bool = True, last: bool = True) -> str:
        _, kind, given, arguments = WEIGHTED[key]
        shape = shape or given
        groups = eval(f"[{arguments}]")[3] if "transpose" in kind else 1
        out = shape[1] * groups if "transpose" in kind else shape[0]
        b = torch.from_numpy(self.net.random(out, size=0.1)) if bias else None
        grid = self.style.grid("y") if last else None
        if self.style.real:
            return self._packed(kind, x, self.real_weight(shape), b, arguments, act)
        more = f", {arguments}" if arguments else ""
        y = self.net.line(f"{ATEN}.{kind}({x}, {self.fake_weight(shape)}, {self.net.attribute(b) if b is not None else None}{more})")
        return self.quantized(self.net.line(f"{ATEN}.{act.format(x=y)}") if act else y, grid)

    def _packed(self, kind: str, x: str, weight: torch.Tensor, bias: torch.Tensor | None, arguments: str, act: str) -> str:
        grid = self.style.grid("y")
        assert grid is not None
        given = eval(f"[{arguments}]")  # our own text
        if "transpose" in kind:  # stride, padding, output_padding, groups, dilation
            given = [given[0], given[1], given[2], given[4], given[3]]
        prepack = getattr(torch.ops.quantized, f"{kind}_prepack")
        with packing():
            packed = prepack(weight, bias, *(given if kind.startswith("conv_t") or kind != "linear" else []))
        relu = "_relu" if act.startswith("relu(") and "transpose" not in kind else ""
        y = self.net.line(f"{OPS}.{kind}{relu}({x}, {self.net.attribute(packed)}, {grid.scale!r}, {grid.zero})")
        return self.net.line(f"{ATEN}.{act.format(x=y)}") if act and not relu else y

    # -- others -----------------------------------------------------------------------------------

    def apply(self, case: Case, x: str, y: str = "", plain: bool = False, last: bool = True) -> str:
        """An operator of the table; `plain`: the one of `aten` even on quantized tensors."""
        grid = self.style.grid("y")
        text = case.packed if self.style.real and case.packed and not plain else case.plain
        channels = case.shape[-1] if case.key == "layer-norm" else case.shape[1] if len(case.shape) > 1 else 1
        constants = {}
        for name in "wbmv":
            if f"{{{name}}}" in text:
                values = np.abs(self.net.random(channels)) + 0.5 if name in "wv" else self.net.random(channels, size=0.1)
                constants[name] = self.net.attribute(torch.from_numpy(values.astype(np.float32)))
        made = self.net.line(text.format(x=x, y=y, s=repr(grid.scale) if grid else 1.0, z=grid.zero if grid else 0, **constants))
        return made if self.style.real else self.quantized(made, grid if last else None)
