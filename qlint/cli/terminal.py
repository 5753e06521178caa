"""What the terminal can show: colour, width, characters. Failures go to stderr."""

from __future__ import annotations

import codecs
import os
import shutil
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from qlint.report.result import Failure

WIDEST = 140
# Stand-ins where the stream's encoding has no such character.
PLAIN = {"█": "#", "░": ".", "·": "-", "…": "...", "→": "->", "←": "<-", "–": "-", "—": "-", "×": "x", "≠": "!=", "≤": "<=", "≥": ">=",
         "─": "-", "►": ">", "│": "|", "┐": "+", "┘": "+", "└": "+", "┌": "+", "’": "'"}  # fmt: skip


def adapt() -> None:
    """Let stdout and stderr replace what they cannot encode, rather than crash."""
    codecs.register_error("qlint", _stand_in)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="qlint")


def _stand_in(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    return PLAIN.get(character, character.encode("ascii", "backslashreplace").decode()), error.start + 1


def color(stream: TextIO) -> bool:
    """Whether to colour: NO_COLOR and FORCE_COLOR (no-color.org, force-color.org), else if it is a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (stream.isatty() and os.environ.get("TERM") != "dumb")


def width(stream: TextIO, default: int) -> int:
    """Columns of a terminal (COLUMNS overrules it), `default` if the stream is none."""
    return min(shutil.get_terminal_size().columns, WIDEST) if stream.isatty() else default


def complain(failures: Iterable[Failure]) -> None:
    """Say on stderr what could not be done, and what to do."""
    for failure in failures:
        print(f"qlint: {failure.model + ': ' if failure.model else ''}{failure.message}", file=sys.stderr)
        if failure.hint:
            print(f"  hint: {failure.hint}", file=sys.stderr)


class Progress:
    """The model at hand and how many there are, on one line that the next one overwrites; only on a terminal, and on stderr."""

    def __init__(self, total: int) -> None:
        self.total, self.count = total, 0

    def __call__(self, name: str) -> None:
        """Say that a model is at hand; the empty name wipes the line."""
        self.count += 1
        if sys.stderr.isatty():
            head = f"{self.count}/{self.total} " if self.total > 1 else ""
            room = width(sys.stderr, 80) - len(head) - len("checking  …") - 1
            line = f"checking {head}{name[-room:]} …" if name else ""
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
