"""The typer application: one file per command, heavy imports inside the commands."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from qlint.cli import backend, baseline, check, compare, completion, config, graph, rule, schema, terminal, verify
from qlint.errors import QlintError
from qlint.version import __version__

app = typer.Typer(name="qlint", no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
for command in (check.check, compare.compare, verify.verify, rule.rule, graph.graph, schema.schema, config.config, config.init, config.clean, completion.completion):
    app.command()(command)
app.add_typer(backend.app)
app.add_typer(baseline.app)


@app.callback()
def _qlint(version: Annotated[bool, typer.Option("--version", "-V", help="Print the version and exit.")] = False) -> None:
    """The linter for quantized neural networks."""
    if version:
        print(f"qlint {__version__}")
        raise typer.Exit


def run() -> int:
    """Run the command line; every failure is a sentence and exit code 2."""
    terminal.adapt()
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except QlintError as error:
        return _sorry(str(error))
    except typer.Exit as leave:
        return leave.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stdout = None
        return 0
    except Exception as error:
        if hasattr(error, "format_message"):
            return _usage(error)
        if "--debug" in sys.argv:
            raise
        return _sorry(f"internal error: {type(error).__name__}: {error}\n  hint: please report it; --debug shows where")
    return code if isinstance(code, int) else 0


def _usage(error: Exception) -> int:
    """A usage error in typer's words; no command at all is a question for help."""
    message = error.format_message()  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    if not sys.argv[1:]:
        print(message)
        return 0
    path = context.command_path if context is not None else "qlint"
    return _sorry(f"{message}\n  hint: `{path} --help` shows how it is called")


def _sorry(message: str) -> int:
    print(f"qlint: {message}", file=sys.stderr)
    return 2
