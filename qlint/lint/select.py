"""Selecting rules: by name, code, code prefix (QL3), category, glob, or ALL.

The most specific selector that meets a rule decides, as in ruff: `--ignore QL3 --select QL301` keeps
QL301. Between equally specific ones, ignoring wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from qlint.errors import RuleError
from qlint.lint.registry import suggestion
from qlint.lint.rule import CATEGORIES, Rule

ALL = "ALL"
_CODE_LIKE = re.compile(r"[A-Za-z]{2,8}[0-9]{0,3}")
# How specific a kind of selector is; prefixes and globs also count their length.
_EXACT, _PREFIX, _CATEGORY, _EVERYTHING = 1000, 100, 10, 1


def select(
    rules: Sequence[Rule], select: Iterable[str] = (), ignore: Iterable[str] = (), extend_select: Iterable[str] = ()
) -> list[Rule]:
    """The rules to run, in their order. Without `select` that is every rule that is not in preview.

    Raises:
        RuleError: a selector meets no rule.
    """
    chosen, added, dropped = split(select), split(extend_select), split(ignore)
    for selector in (*chosen, *added, *dropped):
        if selector != ALL and not any(_specificity(selector, rule) for rule in rules):
            raise RuleError(f"unknown rule selector {selector!r}", hint=suggestion(selector, _known(rules)))
    return [rule for rule in rules if _wanted(rule, chosen, added, dropped)]


def split(selectors: Iterable[str]) -> list[str]:
    """`["QL3,QL101", "fusion"]` → `["QL3", "QL101", "fusion"]`."""
    return [part.strip() for selector in selectors for part in selector.split(",") if part.strip()]


def _wanted(rule: Rule, chosen: Sequence[str], added: Sequence[str], dropped: Sequence[str]) -> bool:
    base = max((_specificity(s, rule) for s in chosen), default=0) if chosen else 0 if rule.preview else _EVERYTHING
    keep = max(base, max((_specificity(s, rule) for s in added), default=0))
    return keep > max((_specificity(s, rule) for s in dropped), default=0)


def _specificity(selector: str, rule: Rule) -> int:
    """How closely a selector meets a rule; 0 if it does not."""
    if selector == ALL:
        return _EVERYTHING
    if selector == rule.name or selector.upper() == rule.code:
        return _EXACT
    if any(c in selector for c in "*?["):
        matched = fnmatchcase(rule.name, selector) or fnmatchcase(rule.code, selector.upper())
        return _PREFIX + len(selector) if matched else 0
    if selector == rule.category:
        return _CATEGORY
    if _CODE_LIKE.fullmatch(selector) and rule.code.startswith(selector.upper()):
        return _PREFIX + len(selector)
    return 0


def _known(rules: Sequence[Rule]) -> list[str]:
    return [*(name for rule in rules for name in (rule.name, rule.code)), *CATEGORIES.values(), ALL]
