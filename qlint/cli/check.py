"""`qlint check`: the main job."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """Output formats."""

    text = "text"
    concise = "concise"
    json = "json"


class FailOn(StrEnum):
    """Severities."""

    error = "error"
    warning = "warning"
    info = "info"


def check(
    models: Annotated[list[str], typer.Argument(help="model files", metavar="MODEL...")],
    backend: Annotated[list[str] | None, typer.Option("--backend", "-b", help="NAME[@TARGET|@REVISION], several with commas; a path to a profile works too")] = None,
    select: Annotated[list[str] | None, typer.Option(help="only these rules: names, codes, code prefixes, categories, globs")] = None,
    ignore: Annotated[list[str] | None, typer.Option(help="not these rules")] = None,
    extend_select: Annotated[list[str] | None, typer.Option(help="these rules too")] = None,
    fail_on: Annotated[FailOn, typer.Option(help="lowest severity that makes the exit code 1")] = FailOn.warning,
    fail_on_unknown: Annotated[bool, typer.Option("--fail-on-unknown", help="an op of unknown placement fails too")] = False,
    no_fallback: Annotated[bool, typer.Option("--no-fallback", help="judge as if the backend had nothing to fall back to")] = False,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="findings do not change the exit code")] = False,
    output_format: Annotated[Format, typer.Option("--output-format", "-f")] = Format.text,
    output_file: Annotated[Path | None, typer.Option("--output-file", "-o", help="write there instead of to stdout")] = None,
    input_shape: Annotated[list[str] | None, typer.Option("--input-shape", help="NAME:1,3,224,224")] = None,
    statistics: Annotated[bool, typer.Option("--statistics", help="count the findings of each rule")] = False,
    debug: Annotated[bool, typer.Option("--debug", hidden=True)] = False,
) -> int:
    """Say which operators will not run in integer on a backend, why, and what to do."""
    from qlint.api import check as run

    report = run(
        models, [name for one in backend or () for name in one.split(",") if name], select=select or (), ignore=ignore or (),
        extend_select=extend_select or (), fallback=not no_fallback, input_shapes=_shapes(input_shape or []),
    )  # fmt: skip
    if output_format is Format.json:
        text = report.to_json() + "\n"
    elif output_format is Format.concise:
        from qlint.report import concise

        text = concise.render(report)
    else:
        from qlint.report import text as readable

        terminal = output_file is None and sys.stdout.isatty()
        text = readable.render(report, width=_width() if terminal else None, color=terminal, statistics=statistics)
    if output_file is not None:
        output_file.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    code = report.exit_code(fail_on.value, fail_on_unknown=fail_on_unknown)
    return 0 if exit_zero and code == 1 else code


def _width() -> int:
    import shutil

    return min(shutil.get_terminal_size().columns, 140)


def _shapes(given: list[str]) -> dict[str, tuple[int, ...]]:
    from qlint.errors import QlintError

    shapes: dict[str, tuple[int, ...]] = {}
    for one in given:
        name, _, dims = one.rpartition(":")
        try:
            shapes[name] = tuple(int(d) for d in dims.split(","))
        except ValueError as error:
            raise QlintError(f"--input-shape {one!r} is not NAME:1,3,224,224", hint="separate the sizes with commas") from error
    return shapes
