"""Networks of probes/script as torch.export files: the same lines, between quantizers in PT2E's spelling."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import torch
import torch.ao.quantization.fx._decomposed  # the operators that PT2E's quantizers are written with

from probes.script.layers import Layers
from probes.script.net import RANGES, Grid, Net
from probes.script.networks import Random as RandomLayers

_TYPES = {"u8": torch.uint8, "s8": torch.int8, "s16": torch.int16, "u16": torch.uint16}
_PLACES = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node")


class ExportedNet(Net):
    def bytes(self, result: str) -> bytes:
        """The archive that `torch.export.save` writes, without what tells of this machine."""
        names = ", ".join(f"x{n}" for n in range(len(self.shapes)))
        body = "\n".join(f"    {line}" for line in [*self.lines, f"return {result}"])
        made: dict[str, Any] = {}
        exec(f"def forward(self, {names}):\n{body}\n", {"torch": torch}, made)  # our own text
        type(self.holder).forward = made["forward"]
        inputs = tuple(torch.zeros(shape, dtype=kind) for shape, kind in zip(self.shapes, self.kinds, strict=True))
        saved = io.BytesIO()
        torch.export.save(torch.export.export(self.holder, inputs), saved)
        return _same_everywhere(saved.getvalue())


class ExportedLayers(Layers):
    """Quantizers as pairs of `quantized_decomposed` operators; weights stored as integers."""

    def quantized(self, x: str, grid: Grid | None) -> str:
        if grid is None:
            return x
        on = f"{grid.scale!r}, {grid.zero}, {grid.bounds[0]}, {grid.bounds[1]}, {_TYPES[grid.held]}"
        codes = self.net.line(f"torch.ops.quantized_decomposed.quantize_per_tensor({x}, {on})")
        return self.net.line(f"torch.ops.quantized_decomposed.dequantize_per_tensor({codes}, {on})")

    def fake_weight(self, shape: tuple[int, ...]) -> str:
        style, codes = self.style, self.codes(*shape)
        if not style.weight:
            return self.net.attribute(torch.from_numpy(codes).float() * 0.005)
        low, high = RANGES[style.weight]
        held = _TYPES[Grid(style.weight, 1.0, 0).held]
        w = self.net.attribute(torch.from_numpy(codes).to(held))
        if style.axis is None:
            return self.net.line(f"torch.ops.quantized_decomposed.dequantize_per_tensor({w}, 0.005, {style.weight_zero}, {low}, {high}, {held})")
        scales = self.scales(shape[style.axis])
        s = self.net.attribute(torch.from_numpy(scales).float())
        z = self.net.attribute(torch.full((len(scales),), style.weight_zero, dtype=torch.int64))
        return self.net.line(f"torch.ops.quantized_decomposed.dequantize_per_channel({w}, {s}, {z}, {style.axis}, {low}, {high}, {held})")


class ExportedRandom(ExportedLayers, RandomLayers):
    """Random networks with the same quantizers."""


def _same_everywhere(archive: bytes) -> bytes:
    """Without dates, lines of source and names of modules."""
    saved = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as opened, zipfile.ZipFile(saved, "w", zipfile.ZIP_STORED) as made:
        for name in opened.namelist():
            data = opened.read(name)
            if name.endswith("serialization_id"):
                continue
            if name.endswith("/models/model.json"):
                program = json.loads(data)
                for node in program["graph_module"]["graph"]["nodes"]:
                    node["metadata"] = {key: value for key, value in node["metadata"].items() if key not in _PLACES}
                data = json.dumps(program).encode()
            made.writestr(zipfile.ZipInfo("archive/" + name.partition("/")[2], (1980, 1, 1, 0, 0, 0)), data)
    return saved.getvalue()
