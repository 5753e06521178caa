"""What a corpus yields."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Probe:
    """One generated model around one claim.

    `factors` says what was varied (`{"op": "conv", "w": "u4"}`); `valid = "no"` among them marks a file that is
    broken on purpose. `clean` is the id of the twin without the defect, if the corpus has one.
    """

    id: str
    model: bytes
    clean: str | None = None
    factors: dict[str, str] = field(default_factory=dict)
