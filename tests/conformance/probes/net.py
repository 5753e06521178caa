"""Float networks as data, before any quantizer is placed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from zlib import crc32

import numpy as np

from .quant import Array

Shape = tuple[int | str, ...] | None


@dataclass
class Node:
    """One operator; `inputs` name tensors, "" is an absent optional input."""

    kind: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attrs: dict[str, Any] = field(default_factory=dict)
    domain: str = ""


@dataclass
class Net:
    """A float network. `ranges` holds the real range a calibration would have seen for each activation; what is
    not in it (indices, shapes, booleans) cannot be quantized."""

    opset: int = 21
    nodes: list[Node] = field(default_factory=list)
    inputs: dict[str, Shape] = field(default_factory=dict)
    types: dict[str, type] = field(default_factory=dict)  # of inputs that are not float
    consts: dict[str, Array] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)  # of outputs that shape inference does not know
    names: Counter[str] = field(default_factory=Counter)
    suffix: str = "_out"  # of an operator's first output; the others are counted

    def input(self, name: str, shape: Shape, span: tuple[float, float] | None = (-2.1, 1.9), kind: type = np.float32) -> str:
        self.inputs[name] = shape
        if kind is not np.float32:
            self.types[name] = kind
        elif span:
            self.ranges[name] = span
        return name

    def const(self, name: str, values: Any, kind: type = np.float32) -> str:
        self.consts[name] = np.asarray(values, kind)
        return name

    def weight(self, name: str, *shape: int, size: float = 0.1) -> str:
        """A float constant of even noise in [-size, size], the same on every machine."""
        return self.const(name, _noise(name, shape) * (size / 127))

    def op(
        self, kind: str, *inputs: str, name: str = "", span: tuple[float, float] | None = (-2.3, 2.5), outputs: int = 1, domain: str = "", **attrs: Any
    ) -> str:
        """Append a node and return its first output."""
        if not name:
            self.names[kind] += 1
            name = f"{kind.lower()}{self.names[kind]}"
        outs = [f"{name}{self.suffix}"] + [f"{name}{self.suffix.rstrip('0')}{i}" for i in range(1, outputs)]
        self.nodes.append(Node(kind, name, list(inputs), outs, attrs, domain))
        if span:
            self.ranges |= dict.fromkeys(outs, span)
        return outs[0]

    def output(self, *tensors: str) -> None:
        self.outputs += tensors

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def producer(self, tensor: str) -> Node | None:
        return next((node for node in self.nodes if tensor in node.outputs), None)

    def readers(self, tensor: str) -> list[Node]:
        return [node for node in self.nodes if tensor in node.inputs]


@lru_cache(4096)
def _noise(name: str, shape: tuple[int, ...]) -> Array:
    return np.random.RandomState(crc32(name.encode())).randint(-127, 128, shape)
