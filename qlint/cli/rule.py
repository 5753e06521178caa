"""`qlint rule`: the pages of the rules."""

from __future__ import annotations

from typing import Annotated

import typer

from qlint.cli.completion import rules


def rule(name: Annotated[str | None, typer.Argument(metavar="[NAME|CODE]", help="a rule; without one, all are listed", autocompletion=rules)] = None) -> int:
    """List the rules, or show the page of one."""
    from qlint.cli.terminal import complain
    from qlint.lint import registry
    from qlint.report.result import Failure

    known = registry.load()
    complain(Failure(model=problem.subject, message=problem.message, hint=problem.hint) for problem in known.problems)
    if name is None:
        longest = max((len(one.name) for one in known.rules), default=0)
        for one in known.rules:
            print(f"{one.code}  {one.name:{longest}}  {one.title}" + (" (preview)" if one.preview else ""))
    else:
        found = known.get(name)
        print(f"{found.name} {found.code} · {found.category} · since {found.since}{' · preview' if found.preview else ''}\n\n{found.doc.strip()}")
    return 2 if known.problems else 0
