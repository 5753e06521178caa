"""The ledger: what the real backends said of every probe, in files small enough to read and to diff.

One file for each corpus, backend and target: a header with versions and date, then one line a probe:
id, hash of the model, outcome (R runs, X refused, C crashed), one letter per node that is no Q, DQ or
Constant, in file order, and the reason of a refusal, or by how much the numbers are wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "ledger"
OUTCOMES = {"runs": "R", "refused": "X", "crashed": "C"}
LETTERS = {"integer": "i", "float": "f", "cpu": "c", "rejected": "r", "absorbed": "a", "skip": "s", "cpu|rejected": "x"}
_OUTCOME = {letter: word for word, letter in OUTCOMES.items()}


@dataclass(frozen=True)
class Row:
    """One stored answer. `placements` is one letter a node (see LETTERS), `w` for integer with wrong numbers."""

    id: str
    sha: str
    outcome: str
    placements: str
    reason: str = ""


def digest(model: bytes) -> str:
    return hashlib.sha256(model).hexdigest()[:12]


def path(corpus: str, backend: str, target: str) -> Path:
    return FOLDER / f"{corpus}.{backend}-{target}.tsv"


def read(corpus: str, backend: str, target: str) -> dict[str, Row]:
    """Stored answers by probe id; empty if there is no such file."""
    file = path(corpus, backend, target)
    if not file.exists():
        return {}
    rows: dict[str, Row] = {}
    for text in file.read_text(encoding="utf-8").splitlines():
        if text.startswith("#"):
            continue
        ident, sha, outcome, placements, reason = ([*text.split("\t"), "", ""])[:5]
        rows[ident] = Row(ident, sha, _OUTCOME[outcome], placements, reason)
    return rows


def header(corpus: str, backend: str, target: str) -> tuple[str, str]:
    """The versions and the date that a stored file says, empty if there is none."""
    file = path(corpus, backend, target)
    said = [line[2:] for line in file.read_text(encoding="utf-8").splitlines()[:3]] if file.exists() else ["", "", ""]
    return said[1], said[2]


def write(corpus: str, backend: str, target: str, rows: Iterable[Row], versions: str, date: str) -> None:
    """Store answers, sorted by id."""
    FOLDER.mkdir(exist_ok=True)
    lines = [f"# {backend}@{target} on the corpus {corpus}", f"# {versions}", f"# {date}"]
    for row in sorted(rows, key=lambda r: r.id):
        reason = " ".join(row.reason.split())[:120]
        lines.append("\t".join([row.id, row.sha, OUTCOMES[row.outcome], row.placements, reason]).rstrip("\t"))
    path(corpus, backend, target).write_text("\n".join(lines) + "\n", encoding="utf-8")
