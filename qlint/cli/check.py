"""`qlint check`: the main job."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qlint.cli import settings
from qlint.cli.settings import CONFIG, ISOLATED, JOBS, NO_CACHE

if TYPE_CHECKING:
    from qlint.report.result import Report

BACKEND = "NAME[@TARGET|@REVISION], several with commas; a path to a profile works too"


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
    models: Annotated[list[str], typer.Argument(help="model files, or folders of them", metavar="MODEL", show_default=False)],
    backend: Annotated[list[str] | None, typer.Option("--backend", "-b", metavar="NAME", help=BACKEND)] = None,
    select: Annotated[list[str] | None, typer.Option(metavar="RULES", help="only these rules: names, codes, code prefixes, categories, globs")] = None,
    ignore: Annotated[list[str] | None, typer.Option(metavar="RULES", help="not these rules")] = None,
    extend_select: Annotated[list[str] | None, typer.Option(metavar="RULES", help="these rules too, e.g. ones in preview")] = None,
    fail_on: Annotated[FailOn | None, typer.Option(help="lowest severity that makes the exit code 1", show_default="warning")] = None,
    fail_on_unknown: Annotated[bool, typer.Option("--fail-on-unknown", help="an op of unknown placement makes the exit code 1, too")] = False,
    no_fallback: Annotated[bool, typer.Option("--no-fallback", help="judge as if the backend had nothing to fall back to")] = False,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="findings do not change the exit code")] = False,
    output_format: Annotated[Format, typer.Option("--output-format", "-f", help="for people, for grep, for programs")] = Format.text,
    output_file: Annotated[Path | None, typer.Option("--output-file", "-o", metavar="FILE", help="write there instead of to stdout")] = None,
    input_shape: Annotated[list[str] | None, typer.Option(metavar="NAME:1,3,224,224", help="in place of the shape in the file")] = None,
    statistics: Annotated[bool, typer.Option("--statistics", help="count the findings of each rule, too (text only)")] = False,
    config: CONFIG = None,
    isolated: ISOLATED = False,
    no_suppressions: Annotated[bool, typer.Option("--no-suppressions", help="count what configurations and MODEL.qlint.toml accept")] = False,
    add_ignore: Annotated[str | None, typer.Option(metavar="REASON", help="accept every finding there is, in MODEL.qlint.toml", show_default=False)] = None,
    baseline: Annotated[str | None, typer.Option(metavar="FILE", help="what is in it does not count (qlint baseline)", show_default=False)] = None,
    no_cache: NO_CACHE = False,
    jobs: JOBS = 0,
    debug: Annotated[bool, typer.Option("--debug", hidden=True)] = False,
) -> int:
    """Say which operators will not run in integer on a backend, why, and what to do.

    Exit code: 0 clean, 1 findings at or above --fail-on, 2 something could not be checked.
    """
    from qlint.api import check as each
    from qlint.cli.terminal import complain
    from qlint.config import Config
    from qlint.errors import QlintError
    from qlint.report.result import Failure, Report

    try:
        groups = settings.governed(models, config or (), isolated=isolated)
        reports = settings.run(
            groups, each, jobs, backend=settings.split(backend), select=select or (), ignore=ignore or (), extend_select=extend_select or (),
            fallback=False if no_fallback else None, input_shapes=shapes(input_shape or ()), suppressions=not no_suppressions, baseline=baseline,
            cache=not no_cache,
        )  # fmt: skip
        report = settings.joined(reports, groups, models)
    except QlintError as error:
        report = Report(errors=[Failure(model=error.subject, message=error.message, hint=error.hint)])
        groups, reports = [settings.Group(Config())], [report]
    complain(report.errors)
    if add_ignore is not None:
        from qlint.cli.ignore import accept

        return accept(report, add_ignore)
    text = _render(report, output_format, terminal=output_file is None, statistics=statistics)
    if output_file is None:
        sys.stdout.write(text)
    else:
        write(output_file, text)
    code = settings.exit_code(groups, reports, fail_on.value if fail_on is not None else None, fail_on_unknown=fail_on_unknown)
    return 0 if exit_zero and code == 1 else code


def _render(report: Report, wanted: Format, *, terminal: bool, statistics: bool) -> str:
    if wanted is Format.json:
        return report.to_json() + "\n"
    if wanted is Format.concise:
        from qlint.report import concise

        return concise.render(report)
    from qlint.cli.terminal import color, width
    from qlint.report import text

    if not report.results:
        return ""
    if not terminal:
        return text.render(report, statistics=statistics)
    return text.render(report, width=width(sys.stdout, text.WIDTH), color=color(sys.stdout), statistics=statistics)


def write(path: Path, text: str) -> None:
    """Put text into a file.

    Raises:
        QlintError: the file cannot be written.
    """
    from qlint.errors import QlintError

    try:
        with path.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise QlintError(f"cannot be written ({error.strerror})", subject=str(path), hint="--output-file wants a file in a folder that exists") from error


def shapes(given: list[str] | tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """`NAME:1,3,224,224`, taken apart.

    Raises:
        QlintError: it is written otherwise.
    """
    from qlint.errors import QlintError

    found: dict[str, tuple[int, ...]] = {}
    for one in given:
        name, _, sizes = one.rpartition(":")
        if not name or not all(size.strip().isdecimal() for size in sizes.split(",")):
            raise QlintError(f"--input-shape {one!r} is not NAME:1,3,224,224", hint="the input's name, a colon, and its sizes with commas")
        found[name] = tuple(int(size) for size in sizes.split(","))
    return found
