"""Every row of the catalogue has its rule, or says why it has none."""

import importlib.util
import sys
from pathlib import Path

import pytest

from qlint.lint import registry

ROOT = Path(__file__).parents[2]
_SPEC = importlib.util.spec_from_file_location("qlint_tools_docs", ROOT / "tools/docs.py")
docs = importlib.util.module_from_spec(_SPEC)
sys.modules["qlint_tools_docs"] = docs  # dataclasses look their module up
_SPEC.loader.exec_module(docs)

ROWS = docs.catalogue_rows()
RULES = {rule.name: rule for rule in registry.load(plugins=False).rules}
COUNTS = {"G": 14, "Q": 26, "I": 17, "F": 12, "N": 10, "R": 7, "O": 8, "A": 9, "D": 10, "": 42}


def test_the_rows_are_whole():
    ids = [row.id for row in ROWS]
    assert len(ids) == len(set(ids))
    assert {letter: sum(one.rstrip("0123456789") == letter for one in ids) for letter in COUNTS} == COUNTS


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_row_has_a_rule_or_a_reason(row):
    assert row.rules or row.remark, "neither a rule nor a reason"
    gone = [name for name in row.rules if name not in RULES]
    assert not gone, f"no such rule: {gone}"
    assert all(any(case.bad for case in RULES[name].cases) for name in row.rules)
