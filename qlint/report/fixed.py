"""What `qlint check --fix` did to a model, as plain data: part of the JSON contract."""

from __future__ import annotations

from dataclasses import dataclass, field

from qlint.lint.finding import Applicability


@dataclass(slots=True)
class Change:
    """One fix that was made, whole."""

    rule: str
    code: str
    applicability: Applicability
    sites: list[str]
    text: str  # what became what, and where a new range comes from


@dataclass(slots=True)
class Refused:
    """One fix that was not made. The file is as it was there."""

    rule: str
    code: str
    sites: list[str]
    why: str


@dataclass(slots=True)
class Numbers:
    """Outputs before and after, from the same inputs through an unoptimized runtime."""

    runtime: str
    inputs: str  # calibration data, or seeded random numbers
    equal: bool  # bit by bit
    largest: float  # difference, in units of the outputs
    steps: float | None  # the same in steps of the output's grid; None if it has none
    sqnr: float | None  # of the outputs before, in dB; None if they are equal


@dataclass(slots=True)
class Progress:
    """How many operators run in integer on a backend, before and after."""

    backend: str
    before: int
    after: int
    ops: int
    outcome_before: str
    outcome_after: str


@dataclass(slots=True)
class Measured:
    """How many operators a real backend, installed here, runs in integer, before and after."""

    backend: str
    versions: dict[str, str]  # of its packages
    before: int
    after: int
    ops: int  # those of the result that the backend tells of, without what vanishes into others
    outcome_before: str
    outcome_after: str


@dataclass(slots=True)
class Fixed:
    """One model. `output` is empty if nothing was written."""

    model: str
    output: str
    changes: list[Change] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    cured: int = 0  # findings that are gone
    progress: list[Progress] = field(default_factory=list)
    measured: list[Measured] = field(default_factory=list)  # of backends that are installed
    numbers: Numbers | None = None
    unproven: str = ""  # why the numbers were not compared
    diff: list[str] = field(default_factory=list)  # with --diff: the nodes that go (-) and come (+)


@dataclass(slots=True)
class FixedObject(Fixed):
    """One live object; `result` is what it was made into, or the object itself if nothing was changed."""

    result: object = None
