"""`qlint verify`: the prediction beside the real backend's answer, op for op."""

from __future__ import annotations

from typing import Annotated

import typer


def verify(
    model: Annotated[str, typer.Argument(help="model file")],
    backend: Annotated[str, typer.Option("--backend", "-b", help="NAME[@TARGET]")],
    all_ops: Annotated[bool, typer.Option("--all", help="list every op, not only the disagreements")] = False,
) -> int:
    """Run the real backend here and compare. Needs the extra `oracles`."""
    from qlint.api import load
    from qlint.judge import judge
    from qlint.oracles import judge as ask
    from qlint.profile import load as load_profile

    profile = load_profile(backend)
    canonical = load(model)
    verdict = judge(canonical, profile)
    answer = ask(model, profile.id, profile.target_name)
    right = total = 0
    for op in canonical.ops:
        theirs = answer.placements.get(op.label, "skip")
        if theirs == "skip":
            continue
        ours = verdict.where(op)
        same = _class(ours) in [_class(one) for one in theirs.split("|")]
        total += 1
        right += same
        if all_ops or not same:
            print(f"{'  ' if same else '≠ '}{op.label}: qlint says {ours} ({verdict.of(op).kernel or 'no kernel'}), the backend {theirs}")
    versions = ", ".join(f"{name} {version}" for name, version in answer.versions.items())
    print(f"{profile.name} with {versions}: outcome {answer.outcome}, qlint says {verdict.outcome}")
    for reason in answer.reasons:
        print(f"  {reason}")
    print(f"{right} of {total} ops agree")
    return int(right != total or answer.outcome != verdict.outcome)


def _class(placement: str) -> str:
    return "integer" if placement == "absorbed" else placement
