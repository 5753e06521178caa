"""The corpus `single`: one operator, or a few in a row, around one claim."""

from __future__ import annotations

from collections.abc import Iterator

from . import movers, operators
from .factors import FACTORS
from .probe import Probe
from .subject import Skip, Subject
from .weight_factors import WEIGHT_FACTORS


def single(seed: int = 0) -> Iterator[Probe]:
    """The same for every seed."""
    yield from one_factor()


def one_factor() -> Iterator[Probe]:
    for case in (*operators.TABLE, *movers.TABLE):
        clean = f"single/{case.key}/clean"
        yield Probe(clean, Subject(case.net()).render(), None, {"op": case.key})
        for factor in (*FACTORS, *WEIGHT_FACTORS):
            if factor.core and not case.core:
                continue
            subject = Subject(case.net())
            try:
                factor.act(subject)
            except Skip:
                continue
            yield Probe(f"single/{case.key}/{factor.name}={factor.value}", subject.render(), clean, {"op": case.key, factor.name: factor.value})
