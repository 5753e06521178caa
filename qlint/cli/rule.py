"""`qlint rule`: the pages of the rules."""

from __future__ import annotations

from typing import Annotated

import typer


def rule(name: Annotated[str | None, typer.Argument(help="name or code")] = None) -> int:
    """List the rules, or show the page of one."""
    from qlint.lint import registry

    known = registry.load()
    if name is None:
        for one in known.rules:
            print(f"{one.code}  {one.name:32} {one.title}")
        return 0
    found = known.get(name)
    print(f"{found.name} {found.code} · {found.category}\n\n{found.doc.strip()}")
    return 0
