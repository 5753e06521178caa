"""`qlint compare`: one model on several backends."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from qlint.cli.check import BACKEND, ENCODINGS, shapes
from qlint.cli.completion import backends, listed
from qlint.cli.outputs import write


class Format(StrEnum):
    """Output formats."""

    text = "text"
    markdown = "markdown"
    json = "json"


def compare(
    model: Annotated[str, typer.Argument(help="model file", show_default=False)],
    backend: Annotated[list[str], typer.Option("--backend", "--backends", "-b", metavar="NAMES", help=f"{BACKEND}; all: every backend that reads the format", autocompletion=listed(backends))],
    no_fallback: Annotated[bool, typer.Option("--no-fallback", help="judge as if the backends had nothing to fall back to")] = False,
    output_format: Annotated[Format, typer.Option("--output-format", "-f", help="for people, for pages, for programs")] = Format.text,
    output_file: Annotated[Path | None, typer.Option("--output-file", "-o", metavar="FILE", help="write there instead of to stdout")] = None,
    input_shape: Annotated[list[str] | None, typer.Option(metavar="NAME:1,3,224,224", help="in place of the shape in the file")] = None,
    encodings: Annotated[Path | None, typer.Option(metavar="FILE", help=ENCODINGS)] = None,
) -> int:
    """Say what runs where, what blocks each backend, and which changes satisfy each and all.

    A change counts only if judging the changed model shows that it helps. Exit code: 0, or 2 if it could not be done.
    """
    from qlint.api import compare as run
    from qlint.cli.terminal import width
    from qlint.report.compare import WIDTH, markdown, render

    names = [name for one in backend for name in one.split(",") if name]
    found = run(model, _all(model) if names == ["all"] else names, fallback=not no_fallback, input_shapes=shapes(input_shape or ()), encodings=encodings)
    if output_format is Format.json:
        text = found.to_json() + "\n"
    elif output_format is Format.markdown:
        text = markdown(found)
    else:
        text = render(found, width=width(sys.stdout, WIDTH) if output_file is None else WIDTH)
    if output_file is None:
        sys.stdout.write(text)
    else:
        write(output_file, text)
    return 0


def _all(model: str) -> list[str]:
    """Every backend that reads the format of a model."""
    from qlint.profile import load, names
    from qlint.readers import read

    form = read(model).format
    return [name for name in names() if form in (*load(name).ingests, *load(name).converts)]
