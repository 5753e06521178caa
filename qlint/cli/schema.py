"""`qlint schema`: the contracts of the JSON output."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Contract(StrEnum):
    """What has a schema."""

    report = "report"
    comparison = "comparison"


def schema(contract: Annotated[Contract, typer.Argument(help="of `qlint check` or of `qlint compare`")] = Contract.report) -> int:
    """Print the JSON Schema of what `--output-format json` writes."""
    import json

    from qlint.report.comparison import Comparison
    from qlint.report.result import Report

    print(json.dumps((Report if contract is Contract.report else Comparison).json_schema(), indent=2))
    return 0
