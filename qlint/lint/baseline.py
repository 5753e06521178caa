"""A baseline: what was there when somebody drew the line. Only what is not in it counts.

An entry is one place, not one finding, so that mending one of eight adds does not make the other seven look new. It
is found again by its fingerprint, which knows no names. Where several operators have the same surroundings (twins),
names tell them apart as long as all names of the entry's group are still there, and the order in the graph if the
model was exported anew under other names. Where the surroundings changed, the name alone finds it.
An entry accepts nothing more severe than what was seen when it was written.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from qlint.errors import QlintError
from qlint.lint.finding import SEVERITIES, Finding, Severity, Site, Suppressed
from qlint.lint.fingerprint import Surroundings, twinless

if TYPE_CHECKING:
    from qlint.lint.policy import Place

SCHEMA_VERSION = 1
FILE = "qlint-baseline.json"
_FIELDS = ("model", "backend", "rule", "node", "port", "kind", "dimension", "severity", "fingerprint")

Key = tuple[str, str, str]


class BaselineError(QlintError):
    """A baseline that cannot be read or written."""


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One accepted place. `model` is relative to the baseline's folder, with slashes."""

    model: str
    backend: str
    rule: str
    node: str
    port: str
    kind: str
    dimension: str
    severity: Severity
    fingerprint: str

    @property
    def line(self) -> str:
        """`exports/a.onnx: qnn-htp: missing-add-quantizer at add_3, rhs`."""
        where = f" at {self.node}" if self.node else ""
        return f"{self.model}: {self.backend + ': ' if self.backend else ''}{self.rule}{where}{', ' + self.port if self.port else ''}"


@dataclass(frozen=True, slots=True)
class Baseline:
    """The entries of a file, in order."""

    path: Path
    entries: tuple[Entry, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Baseline:
        """The baseline in a file.

        Raises:
            BaselineError: there is none, or the file is something else.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise BaselineError("there is no such baseline", subject=str(path), hint="`qlint baseline write` makes one") from error
        except (OSError, ValueError, RecursionError) as error:
            raise BaselineError(f"cannot be read as a baseline ({error})", subject=str(path), hint="`qlint baseline write` makes a new one") from error
        version = data.get("schema_version") if isinstance(data, dict) else None
        if version != SCHEMA_VERSION:
            raise BaselineError(f"is no baseline of this version of qlint: schema_version is {version!r}, not {SCHEMA_VERSION}", subject=str(path))
        given = data.get("entries")
        if not isinstance(given, list) or not all(_valid(one) for one in given):
            raise BaselineError(f"has an entry without {', '.join(_FIELDS)}", subject=str(path), hint="`qlint baseline write` makes a new one")
        return cls(path, tuple(sorted(Entry(**{name: one[name] for name in _FIELDS}) for one in given)))

    def to_json(self) -> str:
        """Sorted, one line an entry, so that a diff shows what was added and removed."""
        lines = [f"  {json.dumps(asdict(entry), ensure_ascii=False)}" for entry in sorted(self.entries)]
        body = "\n" + ",\n".join(lines) + "\n" if lines else ""
        return f'{{"schema_version": {SCHEMA_VERSION}, "entries": [{body}]}}\n'

    def write(self) -> None:
        """Put it into its file.

        Raises:
            BaselineError: it cannot be written.
        """
        try:
            self.path.write_text(self.to_json(), encoding="utf-8", newline="\n")
        except OSError as error:
            raise BaselineError(f"cannot be written ({error.strerror})", subject=str(self.path), hint="--baseline names another file") from error

    def of(self, model: str) -> Accepted:
        """What it accepts in a model, by the path as `model_name` makes it."""
        return Accepted(str(self.path), tuple(entry for entry in self.entries if entry.model == model))

    def model_name(self, path: str | Path) -> str:
        """How a model is called in here: relative to the baseline's folder where it lies below it."""
        relative = os.path.relpath(os.path.realpath(path), os.path.realpath(self.path.parent))
        return Path(relative).as_posix()


def _valid(entry: object) -> bool:
    return isinstance(entry, dict) and all(isinstance(entry.get(name), str) for name in _FIELDS) and entry["severity"] in SEVERITIES


@dataclass
class Accepted:
    """What a baseline has of one model; `matched` and `judged` collect which entries were met, and on which backends."""

    source: str
    entries: tuple[Entry, ...]
    matched: set[Entry] = field(default_factory=set)
    judged: set[str] = field(default_factory=set)

    def match(self, found: Sequence[tuple[Place, Severity]], surroundings: Surroundings, backend: str) -> list[Suppressed | None]:
        """For each place with its severity: the entry's acceptance, or None where it is new."""
        pairs = _pairs([entry for entry in self.entries if entry.backend == backend], [place for place, _ in found], surroundings)
        told: list[Suppressed | None] = [None] * len(found)
        for entry, number in pairs:
            self.matched.add(entry)
            if SEVERITIES.index(found[number][1]) >= SEVERITIES.index(entry.severity):
                told[number] = Suppressed("baseline", "known when the baseline was written", self.source)
        return told

    def gone(self, rules: Container[str]) -> list[Entry]:
        """Entries that met nothing, although their rule has run on their backend."""
        return [entry for entry in self.entries if entry not in self.matched and entry.backend in self.judged and entry.rule in rules]


def _pairs(entries: list[Entry], places: Sequence[Place], surroundings: Surroundings) -> list[tuple[Entry, int]]:
    """Which entry is which places (by number): within equal surroundings, then by name where an entry's surroundings are gone."""
    groups: dict[Key, list[int]] = defaultdict(list)
    for number, place in enumerate(places):
        groups[place.rule.name, place.dimension, twinless(place.fingerprint)].append(number)
    known: dict[Key, list[Entry]] = defaultdict(list)
    for entry in entries:
        known[entry.rule, entry.dimension, twinless(entry.fingerprint)].append(entry)
    pairs = [pair for key, numbers in groups.items() if key in known for pair in _within(known[key], numbers, places, surroundings)]
    taken, met = {entry for entry, _ in pairs}, {number for _, number in pairs}
    for entry in entries:
        if entry not in taken and not surroundings.has(entry.rule, entry.port, entry.fingerprint):
            pairs += [(entry, number) for number, place in enumerate(places) if number not in met and _same_name(entry, place)]
    return pairs


def _within(entries: list[Entry], numbers: list[int], places: Sequence[Place], surroundings: Surroundings) -> list[tuple[Entry, int]]:
    """Entries and places of one rule in equal surroundings: by name if every name is still there, else by the order of twins, or by count."""
    twins = surroundings.twins(places[numbers[0]].op)
    if all(entry.node in twins for entry in entries):
        return [(entry, number) for entry in entries for number in numbers if places[number].node == entry.node]
    if places[numbers[0]].op is None:  # tensors have no order
        return list(zip(entries, numbers, strict=False))
    return [(entry, number) for entry in entries for number in numbers if places[number].fingerprint == entry.fingerprint]


def _same_name(entry: Entry, place: Place) -> bool:
    return (entry.rule, entry.dimension, entry.port, entry.kind, entry.node) == (place.rule.name, place.dimension, place.port, place.kind, place.node)


def entries(model: str, backend: str, findings: Iterable[Finding]) -> Iterator[Entry]:
    """The entries that would accept findings on a model."""
    for finding in findings:
        for site in finding.sites or (Site("", fingerprint=finding.fingerprint),):
            yield Entry(model, backend, finding.rule, site.op, site.port, site.kind, site.dimension, finding.severity, site.fingerprint)
