"""Probes: small generated ONNX models to ask real backends about, the same bytes on every run and machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .combined import combined
from .defect import defect
from .mutated import mutated
from .probe import Probe
from .single import single
from .tools import tools
from .zoo import zoo

__all__ = ["FRESH", "Probe", "corpora", "probes"]

_CORPORA: dict[str, Callable[[int], Iterator[Probe]]] = {"single": single, "defect": defect, "random": combined, "mutated": mutated, "tools": tools, "zoo": zoo}


SEEDED = ("random", "mutated")  # another seed makes other models of the same kind
FRESH = 2027  # a seed that no profile was written against: nobody looks at what is wrong there, only at how much


def corpora(seeded: bool = False) -> list[str]:
    return list(SEEDED if seeded else _CORPORA)


def probes(corpus: str, seed: int = 0) -> Iterator[Probe]:
    """The probes of one corpus in a fixed order. `seed` matters to the seeded corpora only."""
    return _CORPORA[corpus](seed)
