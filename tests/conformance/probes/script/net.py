"""Networks as TorchScript source: one line for each operator, saved by PyTorch, and the same bytes on every run and machine."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any
from zlib import crc32

import numpy as np
import torch

warnings.filterwarnings("ignore")
DTYPES = {"u8": torch.quint8, "s8": torch.qint8}
# Ranges of codes; the container is the smallest that holds them.
RANGES = {"u8": (0, 255), "u7": (0, 127), "u4": (0, 15), "s8": (-128, 127), "n8": (-127, 127), "s7": (-64, 63), "s4": (-8, 7), "s16": (-32768, 32767), "u16": (0, 65535)}
CONTAINER = {"u7": "u8", "u4": "u8", "n8": "s8", "s7": "s8", "s4": "s8"}
NUMBER = {"u8": 13, "s8": 12}  # as TorchScript spells dtypes


@dataclass(frozen=True)
class Grid:
    """One scale and zero point; `of` is a key of RANGES."""

    of: str
    scale: float
    zero: int

    @property
    def bounds(self) -> tuple[int, int]:
        return RANGES[self.of]

    @property
    def held(self) -> str:
        return CONTAINER.get(self.of, self.of)

    def but(self, **changes: Any) -> Grid:
        return replace(self, **changes)


class Net:
    """Source lines and the attributes that they read. Everything random comes from the name of what it fills."""

    def __init__(self, salt: str = "") -> None:
        self.salt = salt
        self.holder = type("Holder", (torch.nn.Module,), {})().eval()  # a class of its own: PyTorch compiles each class once
        self.lines: list[str] = []
        self.shapes: list[tuple[int, ...]] = []
        self.kinds: list[torch.dtype] = []
        self.count = 0

    def input(self, *shape: int, dtype: torch.dtype = torch.float32) -> str:
        self.shapes.append(shape)
        self.kinds.append(dtype)
        return f"x{len(self.shapes) - 1}"

    def line(self, expression: str) -> str:
        self.count += 1
        self.lines.append(f"v{self.count} = {expression}")
        return f"v{self.count}"

    def attribute(self, value: Any) -> str:
        self.count += 1
        name = f"a{self.count}"
        if isinstance(value, torch.Tensor):
            self.holder.register_buffer(name, value)
        else:
            setattr(self.holder, name, value)
        return f"self.{name}"

    def random(self, *shape: int, size: float = 1.0) -> np.ndarray[Any, Any]:
        self.count += 1
        seed = crc32(f"{self.salt} {self.count} {shape}".encode())
        return (np.random.RandomState(seed).standard_normal(shape) * size).astype(np.float32)

    def bytes(self, result: str) -> bytes:
        """The archive, as `torch.jit.trace` would write it: with the shapes of the inputs."""
        script = torch.jit.script(self.holder)
        names = ", ".join(f"x{n}" for n in range(len(self.shapes)))
        body = "\n".join(f"    {line}" for line in [*self.lines, f"return {result}"])
        script.define(f"def forward(self, {names}):\n{body}\n")
        saved = io.BytesIO()
        torch.jit.save(script.eval(), saved)
        return _same_everywhere(saved.getvalue(), _inputs(tuple(self.shapes), tuple(self.kinds)))


@contextmanager
def packing() -> Iterator[None]:
    """Weights are packed as FBGEMM has them: what the engine `x86` chooses, and saves, depends on the CPU."""
    engine = torch.backends.quantized.engine
    torch.backends.quantized.engine = "fbgemm"
    try:
        yield
    finally:
        torch.backends.quantized.engine = engine


def _records(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {name.partition("/")[2]: opened.read(name) for name in opened.namelist()}


class _First(torch.nn.Module):
    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        return args[0]


@lru_cache
def _inputs(shapes: tuple[tuple[int, ...], ...], dtypes: tuple[torch.dtype, ...]) -> dict[str, bytes]:
    """The records in which `torch.jit.trace` keeps its inputs."""
    saved = io.BytesIO()
    given = tuple(torch.zeros(shape, dtype=dtype) for shape, dtype in zip(shapes, dtypes, strict=True))
    torch.jit.save(torch.jit.trace(_First(), given, check_trace=False), saved)
    return {name: data for name, data in _records(saved.getvalue()).items() if name.startswith("traced_inputs")}


def _same_everywhere(archive: bytes, inputs: dict[str, bytes]) -> bytes:
    """Without paths of this machine, and class names without the number of those that came before."""
    records = {name: data for name, data in _records(archive).items() if not name.endswith(".debug_pkl") and name != ".data/serialization_id"}
    saved = io.BytesIO()
    with zipfile.ZipFile(saved, "w", zipfile.ZIP_STORED) as made:
        for name, data in {**records, **inputs}.items():
            plain = data if name.startswith(("data/", "traced")) else re.sub(rb"\.___torch_mangle_\d+", b"", data)
            made.writestr(zipfile.ZipInfo("archive/" + re.sub(r"/___torch_mangle_\d+", "", name), (1980, 1, 1, 0, 0, 0)), plain)
    return saved.getvalue()
