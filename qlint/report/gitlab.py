"""GitLab's code quality report: a subset of Code Climate's issues (GitLab Docs, Code Quality; Code Climate, SPEC.md).

GitLab takes two issues with the same fingerprint for one, and an issue whose fingerprint the target branch has for old.
"""

from __future__ import annotations

import json
from typing import Any

from qlint.lint.finding import Finding
from qlint.lint.fingerprint import digest
from qlint.report.place import backend, path
from qlint.report.result import Report, Result

SEVERITIES = {"error": "critical", "warning": "major", "info": "info"}
CATEGORIES = {"wrong": "Bug Risk", "slow": "Performance"}  # by consequence; the others are about what a backend can run


def render(report: Report) -> str:
    """A JSON array of issues; what could not be checked is one too."""
    issues = [_failure(error.model, error.message, error.hint) for error in report.errors]
    seen: dict[str, int] = {}
    for result in report.results:
        for finding in result.findings:
            mark = digest(path(result.model), result.target, finding.fingerprint)
            seen[mark] = seen.get(mark, 0) + 1
            issues.append(_issue(result, finding, mark if seen[mark] == 1 else digest(mark, str(seen[mark]))))
    return json.dumps(issues, indent=2, ensure_ascii=False) + "\n"


def _issue(result: Result, finding: Finding, fingerprint: str) -> dict[str, Any]:
    return {
        "type": "issue",
        "check_name": finding.rule,
        "description": f"{backend(result)}: {finding.line}",
        "categories": [CATEGORIES.get(finding.consequence, "Compatibility")],
        "severity": SEVERITIES[finding.severity],
        "fingerprint": fingerprint,
        "location": {"path": path(result.model), "lines": {"begin": 1}},
    }


def _failure(model: str, message: str, hint: str) -> dict[str, Any]:
    return {
        "type": "issue",
        "check_name": "not-checked",
        "description": " ".join(part for part in (f"not checked: {message}.", hint) if part),
        "categories": ["Bug Risk"],
        "severity": "blocker",
        "fingerprint": digest(path(model), message),
        "location": {"path": path(model), "lines": {"begin": 1}},
    }
