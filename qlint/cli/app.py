"""The typer application: one file per command, heavy imports inside the commands."""

from __future__ import annotations

import sys

import typer

from qlint.cli import backend, check, graph, rule, verify
from qlint.errors import QlintError

app = typer.Typer(
    name="qlint", help="The linter for quantized neural networks.", no_args_is_help=True, add_completion=True,
    rich_markup_mode=None, pretty_exceptions_enable=False,
)  # fmt: skip
app.command("check")(check.check)
app.command("verify")(verify.verify)
app.command("rule")(rule.rule)
app.command("backend")(backend.backend)
app.command("graph")(graph.graph)


def run() -> int:
    """Run the command line; every failure is a sentence and exit code 2."""
    try:
        result = app(standalone_mode=False)
    except QlintError as error:
        print(f"qlint: {error}", file=sys.stderr)
        return 2
    except typer.Exit as leave:
        return leave.exit_code
    except typer.Abort:
        return 130
    except BrokenPipeError:
        return 0
    except Exception as error:
        if hasattr(error, "format_message"):  # a usage error
            print(f"qlint: {error.format_message()}", file=sys.stderr)
            return 2
        if "--debug" in sys.argv:
            raise
        print(f"qlint: internal error: {type(error).__name__}: {error}\n  please report it; --debug shows where", file=sys.stderr)
        return 2
    return result if isinstance(result, int) else 0
