"""`qlint schema`: the contract of the JSON report."""

from __future__ import annotations


def schema() -> int:
    """Print the JSON Schema of `qlint check --output-format json`."""
    import json

    from qlint.report.result import Report

    print(json.dumps(Report.json_schema(), indent=2))
    return 0
