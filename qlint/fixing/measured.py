"""Operators in integer before and after a fix, as real backends have it, where they are installed (qlint.oracles)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qlint.fixing.proof import EXECUTES, Broken, large
from qlint.fixing.state import State
from qlint.report.fixed import Measured

if TYPE_CHECKING:
    from qlint.oracles import Answer

PATIENCE = 30.0  # seconds that a backend may take for one file, before nothing is said of it


def measured(start: State, end: State, *, trust: bool = False) -> list[Measured]:
    """What the backends that were named make of both files; nothing of those that are not here, or are silent about such a file.

    `trust`: whether files whose loader executes what is in them may be loaded (in a child process).

    Raises:
        Broken: a backend ran the file before, and refuses the one after, or takes fewer of its operators in integer.
    """
    if large(start.model) or (start.model.format in EXECUTES and not trust):
        return []
    found = []
    for view in start.views:
        answers = list(_asked(start, end, view.profile.id, view.profile.target_name)) if view.profile is not None else []
        if len(answers) < 2 or any(answer.outcome == "crashed" for answer in answers):
            continue
        before, after = map(_counted, answers)
        one = Measured(view.name, answers[1].versions, before[0], after[0], sum(after), answers[0].outcome, answers[1].outcome)
        if one.outcome_before == "runs" and one.outcome_after == "refused":
            raise Broken(f"{_said(one)} runs the model, and would refuse it with this change: {' '.join(answers[1].reasons)[:200]}")
        if after[0] < before[0] and after[1] > before[1]:
            raise Broken(f"{_said(one)} takes {before[0]} operators in integer, and would take {after[0]} with this change")
        found.append(one)
    return found


def _asked(start: State, end: State, backend: str, target: str) -> Iterator[Answer]:
    """The answers of one backend to both files."""
    from qlint.oracles import ORACLES, OracleMissing, judge_many

    if backend not in ORACLES or ORACLES[backend].format != start.model.format:
        return
    paths = [state.path for state in (start, end)]
    try:  # what a loader knows by the end of its name is handed over under another one
        for answer in judge_many(paths if start.model.format == "onnx" else [path.read_bytes() for path in paths], backend, target, PATIENCE):
            yield answer
            if answer.outcome == "crashed":
                return
    except OracleMissing:
        return


def _counted(answer: Answer) -> tuple[int, int]:
    """(operators in integer with the right numbers, those elsewhere), of the ones that the backend tells of."""
    if answer.outcome == "refused":
        return 0, sum(place not in ("skip", "absorbed") for place in answer.placements.values())
    integer = sum(place == "integer" and name not in answer.errors for name, place in answer.placements.items())
    return integer, sum(place not in ("skip", "absorbed") for place in answer.placements.values()) - integer


def _said(one: Measured) -> str:
    return f"the real {one.backend} ({', '.join(f'{name} {version}' for name, version in one.versions.items())})"
