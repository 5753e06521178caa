"""`qlint backend`: what is known of a backend, and on whose evidence."""

from __future__ import annotations

from typing import Annotated

import typer


def backend(
    name: Annotated[str | None, typer.Argument(metavar="[NAME|schema|validate]", help="a name, alias or path; or what to do")] = None,
    file: Annotated[str | None, typer.Argument(metavar="[FILE]", help="the profile to validate")] = None,
) -> int:
    """List the backends, show one, print the JSON Schema of profiles, or validate a profile."""
    from qlint.errors import ProfileError
    from qlint.profile import load, names
    from qlint.report.backend import evidence, page, summary

    if file is not None and name != "validate":
        raise ProfileError(f"unexpected argument {file!r}", hint="qlint backend NAME, or qlint backend validate FILE")
    if name is None:
        print("\n".join(summary(load(one)) for one in names()))
    elif name == "schema":
        _schema()
    elif name == "validate":
        if file is None:
            raise ProfileError("no file was named", hint="qlint backend validate FILE")
        profile = load(file)
        for overlay in (*profile.target, *profile.revision):
            load(f"{file}@{overlay}")
        print(f"{file}: valid, {len(profile.kernels)} kernels, {evidence(profile)}")
    else:
        print(page(load(name)), end="")
    return 0


def _schema() -> None:
    import json

    from qlint.profile import Profile

    print(json.dumps(Profile.model_json_schema(), indent=2))
