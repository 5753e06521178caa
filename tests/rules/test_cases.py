"""Every rule's own good, bad and near-miss cases, and the shape of its page."""

import re

import pytest

from qlint.lint import registry
from qlint.lint.testing import check_page, run_cases

RULES = registry.load().rules


def test_nothing_went_wrong_while_collecting():
    assert registry.load().problems == []


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_cases(rule):
    run_cases(rule)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_page(rule):
    check_page(rule)
    assert re.fullmatch(r"QL[1-9]\d\d", rule.code)


def test_names_and_codes_are_unique():
    names = [name for rule in RULES for name in (rule.name, rule.code)]
    assert len(names) == len(set(names))
