"""Probes: small generated models to ask real backends about, the same bytes on every run and machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from . import delegated, exported, lite, script
from .combined import combined
from .defect import defect
from .mutated import mutated
from .probe import Probe
from .single import single
from .tools import tools
from .zoo import zoo

__all__ = ["FRESH", "SEEDED", "Probe", "corpora", "probes"]

_CORPORA: dict[str, dict[str, Callable[[int], Iterator[Probe]]]] = {
    "onnx": {"single": single, "defect": defect, "random": combined, "mutated": mutated, "tools": tools, "zoo": zoo},
    "tflite": {"tflite-single": lite.single, "tflite-shapes": lite.shapes, "tflite-defect": lite.defect, "tflite-random": lite.random},
    "torchscript": {"torch-single": script.single, "torch-random": script.random},
    "pt2": {"export-single": exported.single, "export-random": exported.random},
    "delegated": {"delegated-single": delegated.single, "delegated-random": delegated.random},
}
SEEDED = ("random", "mutated", "tflite-random", "torch-random", "export-random", "delegated-random")  # another seed makes other models of the same kind
# Further seeds: profiles were fitted to the first one, and errors of these were read, too (README says how much each was a blind test).
FRESH = (2027, 5150)


def corpora(seeded: bool = False, form: str = "onnx") -> list[str]:
    """The names of the corpora of one file format."""
    return [name for name in _CORPORA[form] if name in SEEDED or not seeded]


def probes(corpus: str, seed: int = 0) -> Iterator[Probe]:
    """The probes of one corpus in a fixed order. `seed` matters to the seeded corpora only."""
    return next(table[corpus] for table in _CORPORA.values() if corpus in table)(seed)
