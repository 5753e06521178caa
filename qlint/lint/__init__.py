"""Linting: rules explain what the judge found, and look at the model itself. `lint(verdict, rules) -> findings`."""

from qlint.lint.finding import Finding, Fix, Site
from qlint.lint.rule import Issue, Rule
from qlint.lint.run import lint

__all__ = ["Finding", "Fix", "Issue", "Rule", "Site", "lint"]
