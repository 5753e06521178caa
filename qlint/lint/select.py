"""Selecting rules: by name, code, code prefix (QL3), category, glob, or ALL.

The most specific selector that meets a rule decides, as in ruff: `--ignore QL3 --select QL301` keeps
QL301. Between equally specific ones, ignoring wins. Selections lie in layers (a configuration, what it says of some
models, the command line): one that selects starts anew, any other goes over those below it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeVar

from qlint.errors import RuleError
from qlint.lint.registry import suggestion
from qlint.lint.rule import CATEGORIES, Rule

ALL = "ALL"
_CODE_LIKE = re.compile(r"[A-Za-z]{2,8}[0-9]{0,3}")
# How specific a kind of selector is; prefixes and globs also count their length.
_EXACT, _PREFIX, _CATEGORY, _EVERYTHING = 1000, 100, 10, 1


_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Selection:
    """One layer: `select` starts anew, the others add and take away."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    extend_select: tuple[str, ...] = ()

    @classmethod
    def of(cls, select: Iterable[str] = (), ignore: Iterable[str] = (), extend_select: Iterable[str] = ()) -> Selection:
        """From lists whose items may hold several selectors with commas."""
        return cls(tuple(split(select)), tuple(split(ignore)), tuple(split(extend_select)))


def select(
    rules: Sequence[Rule], select: Iterable[str] = (), ignore: Iterable[str] = (), extend_select: Iterable[str] = ()
) -> list[Rule]:
    """The rules to run, in their order. Without `select` that is every rule that is not in preview.

    Raises:
        RuleError: a selector meets no rule.
    """
    layer = Selection.of(select, ignore, extend_select)
    known((*layer.select, *layer.extend_select, *layer.ignore), rules)
    return [rule for rule in rules if wanted(rule, [layer])]


def known(selectors: Iterable[str], rules: Sequence[Rule]) -> None:
    """See that each selector meets a rule.

    Raises:
        RuleError: one does not; the hint has the nearest names.
    """
    for selector in selectors:
        if selector != ALL and not any(specificity(selector, rule) for rule in rules):
            raise RuleError(f"unknown rule selector {selector!r}", hint=suggestion(selector, _names(rules)))


def split(selectors: Iterable[str]) -> list[str]:
    """`["QL3,QL101", "fusion"]` → `["QL3", "QL101", "fusion"]`."""
    return [part.strip() for selector in selectors for part in selector.split(",") if part.strip()]


def wanted(rule: Rule, layers: Iterable[Selection]) -> bool:
    """Whether a rule runs, by layers of which the last has the last word."""
    runs = not rule.preview
    for layer in layers:
        base = _closest(layer.select, rule) if layer.select else _EVERYTHING if runs else 0
        runs = max(base, _closest(layer.extend_select, rule)) > _closest(layer.ignore, rule)
    return runs


def most_specific(table: Mapping[str, _T], rule: Rule) -> _T | None:
    """The value of the selector that meets a rule most closely; None if none does."""
    met = [(specificity(selector, rule), value) for selector, value in table.items()]
    best = max(met, key=lambda pair: pair[0], default=None)
    return best[1] if best is not None and best[0] else None


def _closest(selectors: Iterable[str], rule: Rule) -> int:
    return max((specificity(selector, rule) for selector in selectors), default=0)


def specificity(selector: str, rule: Rule) -> int:
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


def _names(rules: Sequence[Rule]) -> list[str]:
    return [*(name for rule in rules for name in (rule.name, rule.code)), *CATEGORIES.values(), ALL]
