"""MobileNetV2 (Sandler et al., arXiv 1801.04381, table 2) with random weights, as PyTorch saves it: the files that reading is measured on.

    python benchmarks/mobilenet.py FOLDER
"""

# ruff: noqa: TID253 (run in a process of its own)
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.ao.quantization as quantization
from torch import nn
from torch.ao.quantization import quantize_fx

# Expansion, channels, repetitions, stride.
BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
IMAGE = torch.zeros(1, 3, 64, 64)


def convolution(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([nn.ReLU6(inplace=True)] if act else []))


class Inverted(nn.Module):
    """An inverted residual: expand, depthwise, project; with a shortcut where the shapes allow it."""

    def __init__(self, inputs: int, outputs: int, stride: int, expand: int) -> None:
        super().__init__()
        inner = inputs * expand
        first = [convolution(inputs, inner)] if expand > 1 else []
        self.body = nn.Sequential(*first, convolution(inner, inner, 3, stride, inner), convolution(inner, outputs, act=False))
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x) if self.shortcut else self.body(x)  # type: ignore[no-any-return]


class MobileNet(nn.Module):
    """The network for images of any size, with 1000 classes."""

    def __init__(self) -> None:
        super().__init__()
        layers, inputs = [convolution(3, 32, 3, 2)], 32
        blocks: list[nn.Module] = [*layers]
        for expand, outputs, count, stride in BLOCKS:
            for number in range(count):
                blocks.append(Inverted(inputs, outputs, 1 if number else stride, expand))
                inputs = outputs
        self.features = nn.Sequential(*blocks, convolution(inputs, 1280))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000))

    def forward(self, x):  # without types: what FX writes down for them is nothing that torch.jit.script knows
        return self.classifier(self.features(x).mean((2, 3)))


def prepared(qat: bool) -> Any:
    """With fake quantizers or observers, after one image."""
    torch.backends.quantized.engine = "fbgemm"
    if qat:
        found = quantize_fx.prepare_qat_fx(MobileNet().train(), quantization.get_default_qat_qconfig_mapping("fbgemm"), (IMAGE,))
    else:
        found = quantize_fx.prepare_fx(MobileNet().eval(), quantization.get_default_qconfig_mapping("fbgemm"), (IMAGE,))
    found(IMAGE)
    return found.eval()


def main(folder: Path) -> None:
    warnings.simplefilter("ignore")
    with torch.no_grad():
        for name, module in (("float", MobileNet().eval()), ("QAT", prepared(qat=True)), ("int8", quantize_fx.convert_fx(prepared(qat=False)))):
            torch.jit.trace(module, IMAGE, check_trace=False).save(str(folder / f"{name}, traced.pt"))
            torch.jit.script(module).save(str(folder / f"{name}, scripted.pt"))
            if name != "int8":  # converted networks do not export
                torch.export.save(torch.export.export(module, (IMAGE,)), folder / f"{name}, exported.pt2")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
