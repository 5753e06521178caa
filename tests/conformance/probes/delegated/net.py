"""Networks as torch.export archives, from the same source lines as the TorchScript probes, and the same bytes on every run and machine."""

from __future__ import annotations

import io
import json
import re
import zipfile
from typing import Any

import numpy as np
import torch
import torch.ao.quantization.fx._decomposed  # registers the operators

from probes.script.layers import Layers
from probes.script.net import RANGES, Grid, Net

DECOMPOSED = "torch.ops.quantized_decomposed"
DTYPE = {"u8": "torch.uint8", "s8": "torch.int8", "s16": "torch.int16", "u16": "torch.uint16"}


class Exported(Net):
    """A network that is exported instead of scripted. With `readers` every reader of a quantized tensor has a dequantize of its own."""

    def __init__(self, salt: str = "", readers: bool = False) -> None:
        super().__init__(salt)
        self.readers = readers
        self.reads: dict[str, str] = {}  # how each dequantized tensor is read
        self.read: set[str] = set()

    def line(self, expression: str) -> str:
        if self.readers and not expression.startswith(DECOMPOSED):
            expression = re.sub(r"\bv\d+\b", lambda found: self._own(found[0]), expression)
        made = super().line(expression)
        if expression.startswith(f"{DECOMPOSED}.dequantize_per_tensor(v"):
            self.reads[made] = expression
        return made

    def _own(self, name: str) -> str:
        """A tensor for one more reader."""
        if name not in self.reads or name not in self.read:
            self.read.add(name)
            return name
        return super().line(self.reads[name])

    def bytes(self, result: str) -> bytes:
        names = ", ".join(f"x{n}" for n in range(len(self.shapes)))
        body = "\n".join(f"    {line}" for line in [*self.lines, f"return {result}"])
        scope: dict[str, Any] = {"torch": torch}
        exec(f"def forward(self, {names}):\n{body}\n", scope)  # our own text
        type(self.holder).forward = scope["forward"]
        given = tuple(torch.zeros(shape, dtype=kind) for shape, kind in zip(self.shapes, self.kinds, strict=True))
        saved = io.BytesIO()
        torch.export.save(torch.export.export(self.holder, given, strict=False), saved)
        return _same_everywhere(saved.getvalue())


def _same_everywhere(archive: bytes) -> bytes:
    """Without the traces of this run: where each node comes from, and the id of the file."""
    saved = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as opened, zipfile.ZipFile(saved, "w", zipfile.ZIP_STORED) as made:
        for name in opened.namelist():
            data = opened.read(name)
            inner = name.partition("/")[2]
            if inner == ".data/serialization_id":
                continue
            if inner.startswith("models/"):
                program = json.loads(data)
                for node in program["graph_module"]["graph"]["nodes"]:
                    node["metadata"] = {}
                data = json.dumps(program).encode()
            made.writestr(zipfile.ZipInfo(f"archive/{inner}", (1980, 1, 1, 0, 0, 0)), data)
    return saved.getvalue()


class Pairs(Layers):
    """Layers with pairs of a quantize and a dequantize, one dequantize for each reader; weights are stored as integers."""

    def quantized(self, x: str, grid: Grid | None) -> str:
        if grid is None:
            return x
        return self.read(self.codes_of(x, grid), grid)

    def codes_of(self, x: str, grid: Grid) -> str:
        return self.net.line(f"{DECOMPOSED}.quantize_per_tensor({x}, {self._arguments(grid)})")

    def read(self, codes: str, grid: Grid) -> str:
        return self.net.line(f"{DECOMPOSED}.dequantize_per_tensor({codes}, {self._arguments(grid)})")

    @staticmethod
    def _arguments(grid: Grid) -> str:
        return f"{grid.scale!r}, {grid.zero}, {grid.bounds[0]}, {grid.bounds[1]}, {DTYPE[grid.held]}"

    def dynamic(self, x: str) -> str:
        """A tensor on a grid that is chosen when the network runs."""
        chosen = self.net.line(f"{DECOMPOSED}.choose_qparams({x}, -128, 127, 1.1920928955078125e-07, torch.int8)")
        arguments = f"{chosen}[0], {chosen}[1], -128, 127, torch.int8"
        codes = self.net.line(f"{DECOMPOSED}.quantize_per_tensor({x}, {arguments})")
        return self.net.line(f"{DECOMPOSED}.dequantize_per_tensor({codes}, {arguments})")

    def fake_weight(self, shape: tuple[int, ...]) -> str:
        style = self.style
        if not style.weight:
            return self.net.attribute(torch.from_numpy(self.net.random(*shape, size=0.2)))
        low, high = RANGES[style.weight]
        codes = (self.codes(*shape) + style.weight_zero).clip(low, high)
        held = self.net.attribute(torch.from_numpy(codes.astype(np.uint8 if low == 0 else np.int8)))
        dtype = "torch.uint8" if low == 0 else "torch.int8"
        if style.axis is None:
            return self.net.line(f"{DECOMPOSED}.dequantize_per_tensor({held}, 0.005, {style.weight_zero}, {low}, {high}, {dtype})")
        scales = self.scales(shape[style.axis])
        s = self.net.attribute(torch.from_numpy(scales.astype(np.float32)))
        z = self.net.attribute(torch.full((len(scales),), style.weight_zero, dtype=torch.int64))
        return self.net.line(f"{DECOMPOSED}.dequantize_per_channel({held}, {s}, {z}, {style.axis}, {low}, {high}, {dtype})")
