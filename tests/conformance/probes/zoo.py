"""The corpus `zoo`: the real models in tests/zoo, as they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .probe import Probe

FOLDER = Path(__file__).parents[2] / "zoo"


def zoo(seed: int = 0) -> Iterator[Probe]:
    """The same for every seed."""
    for path in sorted(FOLDER.rglob("*.onnx")):
        yield Probe(f"zoo/{path.relative_to(FOLDER).as_posix()}", path.read_bytes())
