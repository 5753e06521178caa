"""`qlint backend`: what is known of a backend, and on whose evidence."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from qlint.profile import Profile


def backend(name: Annotated[str | None, typer.Argument(help="name, alias or path; `schema` prints the JSON Schema")] = None) -> int:
    """List the backends, or show one."""
    from qlint.profile import load, names

    if name is None:
        for one in names():
            profile = load(one)
            print(f"{one:12} {profile.title} · targets {', '.join(profile.targets) or '–'} · {_evidence(profile)}")
        return 0
    if name == "schema":
        import json

        from qlint.profile.schema import Profile as Schema

        print(json.dumps(Schema.model_json_schema(), indent=2))
        return 0
    _page(load(name))
    return 0


def _evidence(profile: Profile) -> str:
    from qlint.profile.validate import claims

    kinds = Counter(profile.evidence[ref].kind for _, claim in claims(profile) for ref in claim.evidence)
    return ", ".join(f"{count} claims {kind}" for kind, count in kinds.most_common())


def _page(profile: Profile) -> None:
    print(f"{profile.name}: {profile.title} ({profile.vendor})")
    print(f"  toolchain {profile.toolchain}; reads {', '.join(profile.ingests)}; what nothing covers: {profile.fallback}; world {profile.world}")
    print(f"  {_evidence(profile)}")
    for note in profile.notes:
        print(f"  {note}")
    for refusal in profile.refuses:
        print(f"\n  refuses {refusal.id}: {refusal.because}")
    for step in profile.prepare:
        print(f"\n  first, {step.id}: {step.because}")
    for kernel in profile.kernels:
        print(f"\n  {kernel.id}: {kernel.match} → {kernel.runs}" + (f"   ({kernel.title})" if kernel.title else ""))
        for port, requirement in kernel.ports.items():
            print(f"      {port}: {' or '.join(space if isinstance(space, str) else _space(space) for space in requirement)}")
        for guard in kernel.guards:
            print(f"      only if {guard.model_dump(exclude_defaults=True)}")
        for check in kernel.checks:
            wanted = {port: [s if isinstance(s, str) else _space(s) for s in spaces] for port, spaces in check.ports.items()}
            print(f"      {check.otherwise} unless {wanted or ''}{[g.model_dump(exclude_defaults=True) for g in check.guards] or ''}")
        print(f"      evidence: {', '.join(f'{profile.evidence[e].kind} ({profile.evidence[e].ref})' for e in kernel.evidence)}")


def _space(space: object) -> str:
    return ", ".join(f"{k} {'|'.join(map(str, v)) if isinstance(v, tuple) else v}" for k, v in space.model_dump(exclude_defaults=True).items())  # type: ignore[attr-defined]
