"""Write the first draft of a rule: its page, its declaration, a good and a bad case.

    python tools/new_rule.py NAME [CATEGORY] [--into FOLDER]     (make rule NAME=my-rule)
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from qlint.errors import RuleError
from qlint.lint import registry
from qlint.lint.rule import CATEGORIES
from qlint.lint.testing import UNWRITTEN
from qlint.version import __version__

RULES = Path(__file__).parents[1] / "rules"
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
TEMPLATE = '''\
"""{unwritten} (one sentence: what is wrong with the model; end with a full stop)

## What it does

{unwritten} (what it finds, and what it leaves alone)

## Why it matters on hardware

{unwritten} (what the kernel or compiler does with such a model, and how models come to be like that)

## Example

    {unwritten} (a sketch of the graph that it finds)

## Instead

    {unwritten} (the same graph, as it should be)

## Fix and its safety

{unwritten} (what to do; safe if the numbers stay the same, unsafe if not)

## References

- {unwritten} (paper, specification or vendor page, with section)
"""

from collections.abc import Iterator

from qlint.graph import Model
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, s8, u8

rule = Rule(
    name="{name}",
    code="{code}",
    since="{since}",
    what="{{port}}{{origin}} is {{found}}",  # the facts that a template may name are in qlint/lint/message.py
    why="that is what it means",
    fix="do this instead",
    preview=True,  # until its name and code are frozen: runs only if it is selected
)


# A rule about what a backend wants declares mismatches, and needs no check:
#     rule.explains("zero_point", kinds="conv|linear", roles="x", where=...)
# A rule about the model itself looks at it; qlint/lint/sweep.py has the walks.
@rule.check
def places(model: Model) -> Iterator[Issue]:
    """Every place where ..."""
    raise NotImplementedError("yield an Issue for each place, or declare mismatches with rule.explains(...) and remove this check")


@rule.bad(says="a part of the sentence that it prints")
def what_is_wrong() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8()) | u8())


@rule.good
def near_miss_what_is_almost_wrong() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8()) | u8())
'''


def draft(name: str, category: str, folder: Path) -> tuple[Path, str]:
    """Write the draft; its path and code.

    Raises:
        RuleError: the name is not kebab-case, or taken; there is no such category.
    """
    known = registry.load().rules
    file = folder / f"{name.replace('-', '_')}.py"
    if not NAME.fullmatch(name):
        raise RuleError(f"{name!r} is no name for a rule", hint="write it in kebab-case, like relu-zero-point: what is wrong, not what to do")
    if any(rule.name == name for rule in known) or file.exists():
        raise RuleError(f"there is a rule {name!r} already", hint=f"`qlint rule {name}` shows its page; choose another name")
    if category not in CATEGORIES.values():
        raise RuleError(f"unknown category {category!r}", hint=f"one of {', '.join(CATEGORIES.values())}")
    digit = next(digit for digit, one in CATEGORIES.items() if one == category)
    number = 1 + max((int(rule.code[2:]) for rule in known if rule.code.startswith(f"QL{digit}")), default=int(digit) * 100)
    if number % 100 == 0:
        raise RuleError(f"the codes of {category} are used up", hint="choose another category")
    code = f"QL{number}"
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(TEMPLATE.format(name=name, code=code, since=__version__, unwritten=UNWRITTEN), encoding="utf-8")
    return file, code


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("name", nargs="?", default="", help="kebab-case, like relu-zero-point")
    parser.add_argument("category", nargs="?", default="parameters", help=", ".join(CATEGORIES.values()))
    parser.add_argument("--into", type=Path, default=RULES, help="another folder than rules/")
    given = parser.parse_args()
    try:
        file, code = draft(given.name, given.category, given.into)
    except RuleError as error:
        print(f"error: {error.message}\nhint: {error.hint}")
        return 2
    print(f"{file}: {given.name} {code}\nnext: write its page and cases, then run pytest tests/rules -k {given.name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
