"""Several reports of one run: which format goes where."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from qlint.errors import QlintError

if TYPE_CHECKING:
    from qlint.report.result import Report

STDOUT = ""
SUMMARY = "GITHUB_STEP_SUMMARY"  # names the file that a step of GitHub Actions appends its summary to


class Output(NamedTuple):
    """A format, and the file it goes to; `STDOUT` if to none."""

    format: str
    file: str


def outputs(formats: Sequence[str], files: Sequence[str]) -> list[Output]:
    """What `--output-format` and `--output-file` ask for.

    `FORMAT=FILE` is a report more. Formats that name no file take those of `--output-file`, in order; the one that is
    left over goes to stdout. Nothing left over means text on stdout, unless `--output-file` says otherwise.

    Raises:
        QlintError: a format is unknown, two reports would go to stdout or into one file, a file has no format or no folder,
            or a library is missing that draws a report.
    """
    from qlint.report.formats import require, split

    given = [Output(*split(one)) for one in formats]
    free = [one.format for one in given if not one.file] or ["text"]
    if len(files) > len(free):
        raise QlintError(f"--output-file {files[len(free)]} has no format", hint="name each format with its file: --output-format html=report.html")
    if len(free) > len(files) + 1:
        first, second = free[len(files) : len(files) + 2]
        raise QlintError(f"{first} and {second} would both go to stdout", hint=f"name a file for one of them: --output-format {second}=FILE")
    made = [one for one in given if one.file] + [Output(form, file) for form, file in zip(free, [*files, STDOUT], strict=False)]
    named = [os.path.abspath(one.file) for one in made if one.file]
    if twice := next((name for name in named if named.count(name) > 1), None):
        raise QlintError("is named for two reports", subject=twice, hint="each report goes into a file of its own")
    for one in made:
        require(one.format)
        if one.file and not Path(one.file).parent.is_dir():
            raise _unwritable(one.file, "there is no such folder")
    return made


def put(report: Report, output: Output, *, statistics: bool = False) -> None:
    """Write one report to where it goes.

    Raises:
        QlintError: the file cannot be written.
    """
    if output.format == "text":
        text = _text(report, terminal=output.file == STDOUT, statistics=statistics)
    else:
        from qlint.report.formats import renderer

        text = renderer(output.format)(report)
    if output.file == STDOUT:
        sys.stdout.write(text)
    else:
        write(Path(output.file), text)
    if output.format == "github" and (summary := os.environ.get(SUMMARY)):
        from qlint.report import markdown

        write(Path(summary), markdown.render(report), append=True)


def _text(report: Report, *, terminal: bool, statistics: bool) -> str:
    from qlint.cli.terminal import color, width
    from qlint.report import text

    if not report.results and not report.fixes:
        return ""
    if not terminal:
        return text.render(report, statistics=statistics)
    return text.render(report, width=width(sys.stdout, text.WIDTH), color=color(sys.stdout), statistics=statistics)


def write(path: Path, text: str, *, append: bool = False) -> None:
    """Put text into a file.

    Raises:
        QlintError: the file cannot be written.
    """
    try:
        with path.open("a" if append else "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise _unwritable(str(path), error.strerror or "") from error


def _unwritable(file: str, why: str) -> QlintError:
    return QlintError(f"cannot be written ({why})", subject=file, hint="a report goes into a file in a folder that exists")
