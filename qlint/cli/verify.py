"""`qlint verify`: the prediction beside the real backend's answer, op for op."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qlint.cli.check import ENCODINGS
from qlint.cli.completion import backends, listed
from qlint.errors import QlintError

if TYPE_CHECKING:
    from qlint.graph import Model
    from qlint.judge import Verdict
    from qlint.oracles import Answer
    from qlint.profile import Profile

SAME = {"absorbed": "integer"}  # whose kernel the op vanishes into is not told apart


def verify(
    model: Annotated[str, typer.Argument(help="model file", metavar="MODEL", show_default=False)],
    backend: Annotated[list[str], typer.Option("--backend", "-b", metavar="NAME", help="NAME[@TARGET], several with commas", show_default=False, autocompletion=listed(backends))],
    encodings: Annotated[Path | None, typer.Option(metavar="FILE", help=ENCODINGS)] = None,
    all_ops: Annotated[bool, typer.Option("--all", help="list every op, not only the disagreements")] = False,
) -> int:
    """Run the real backends here and compare. Needs the extra `oracles`.

    Exit code: 0 they agree, 1 they do not, 2 a backend could not be asked.
    """
    from qlint.api import load
    from qlint.profile import load as load_profile

    profiles = [load_profile(name) for one in backend for name in one.split(",") if name]
    read = load(model, encodings=encodings)
    agreed = [_compare(model, read, profile, all_ops) for profile in profiles]
    return int(not all(agreed))


def _compare(path: str, model: Model, profile: Profile, all_ops: bool) -> bool:
    """Print the prediction for one backend beside its answer; whether they agree."""
    from qlint.judge import judge
    from qlint.lint.words import FORMATS
    from qlint.oracles import ORACLES
    from qlint.oracles import judge as ask

    oracle = ORACLES.get(profile.id)
    if oracle is not None and model.format != oracle.format:
        raise QlintError(
            f"is {FORMATS.get(model.format, model.format)}; the real {profile.id} can be asked about {FORMATS[oracle.format]} files only", subject=path,
            hint=f"qlint check {path} --backend {profile.name} still says what to expect",
        )  # fmt: skip
    verdict = judge(model, profile)
    answer = ask(path, profile.id, profile.target_name)
    if answer.outcome == "crashed":
        raise QlintError(f"{profile.name} gave no answer: {'; '.join(answer.reasons)}", subject=path, hint="try again, or a smaller model")
    versions = ", ".join(f"{name} {version}" for name, version in answer.versions.items())
    print(f"{path} on {profile.name} ({versions})")
    same = answer.outcome == verdict.outcome
    print(f"{'  ' if same else '≠ '}the model: qlint says {verdict.outcome}, the backend {answer.outcome}")
    for reason in answer.reasons:
        print(f"    {reason}")
    rows = list(_rows(verdict, answer))
    width = max((len(name) for name, *_ in rows), default=0)
    for name, ours, kernel, theirs, agreed in rows:
        if all_ops or not agreed:
            print(f"{'  ' if agreed else '≠ '}{name:{width}}  qlint says {ours} ({kernel}), the backend {theirs.replace('|', ' or ')}")
    right = sum(agreed for *_, agreed in rows)
    print(f"{right} of {len(rows)} ops agree" if rows else "no ops to compare")
    return right == len(rows) and same


def _rows(verdict: Verdict, answer: Answer) -> list[tuple[str, str, str, str, bool]]:
    """(op, qlint's placement, kernel, the backend's placement, whether they agree) of what the backend can tell."""
    rows: list[tuple[str, str, str, str, bool]] = []
    if "refused" in (verdict.outcome, answer.outcome):  # then no op runs anywhere
        return rows
    for op in verdict.model.ops:
        theirs = answer.placements.get(op.label, "skip")
        if theirs == "skip":
            continue
        ours = verdict.of(op)
        agreed = SAME.get(ours.where, ours.where) in [SAME.get(one, one) for one in theirs.split("|")]
        rows.append((op.label, ours.where, ours.kernel or "no kernel", theirs, agreed))
    return rows
