"""`qlint check`: the main job."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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


class Method(StrEnum):
    """Ways from data to a range."""

    minmax = "minmax"
    percentile = "percentile"
    mse = "mse"
    entropy = "entropy"


def check(
    models: Annotated[list[str], typer.Argument(help="model files, or folders of them", metavar="MODEL", show_default=False)],
    backend: Annotated[list[str] | None, typer.Option("--backend", "-b", metavar="NAME", help=BACKEND)] = None,
    select: Annotated[list[str] | None, typer.Option(metavar="RULES", help="only these rules: names, codes, code prefixes, categories, globs")] = None,
    ignore: Annotated[list[str] | None, typer.Option(metavar="RULES", help="not these rules")] = None,
    extend_select: Annotated[list[str] | None, typer.Option(metavar="RULES", help="these rules too, e.g. ones in preview")] = None,
    fail_on: Annotated[FailOn, typer.Option(help="lowest severity that makes the exit code 1")] = FailOn.warning,
    fail_on_unknown: Annotated[bool, typer.Option("--fail-on-unknown", help="an op of unknown placement makes the exit code 1, too")] = False,
    no_fallback: Annotated[bool, typer.Option("--no-fallback", help="judge as if the backend had nothing to fall back to")] = False,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="findings do not change the exit code")] = False,
    output_format: Annotated[Format, typer.Option("--output-format", "-f", help="for people, for grep, for programs")] = Format.text,
    output_file: Annotated[Path | None, typer.Option("--output-file", "-o", metavar="FILE", help="write there instead of to stdout")] = None,
    input_shape: Annotated[list[str] | None, typer.Option(metavar="NAME:1,3,224,224", help="in place of the shape in the file")] = None,
    statistics: Annotated[bool, typer.Option("--statistics", help="count the findings of each rule, too (text only)")] = False,
    fix: Annotated[bool, typer.Option("--fix", help="write NAME.fixed.EXT, cured of what can be cured without changing the numbers")] = False,
    unsafe_fixes: Annotated[bool, typer.Option("--unsafe-fixes", help="with --fix or --diff: also what changes the numbers")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="show what --fix would change, and write nothing; exit code 1 if it would")] = False,
    in_place: Annotated[bool, typer.Option("--in-place", help="with --fix: the result takes the model's place")] = False,
    calibration: Annotated[str, typer.Option(metavar="FILE", help="with --fix: inputs (.npy, .npz) that give new quantizers their ranges")] = "",
    calibration_method: Annotated[Method, typer.Option(help="with --calibration: how a range follows from the data")] = Method.minmax,
    verify: Annotated[bool, typer.Option("--verify/--no-verify", help="with --fix: compare the outputs (onnxruntime)")] = True,
    debug: Annotated[bool, typer.Option("--debug", hidden=True)] = False,
) -> int:
    """Say which operators will not run in integer on a backend, why, and what to do.

    Exit code: 0 clean, 1 findings at or above --fail-on, 2 something could not be checked.
    """
    from qlint.api import check as run
    from qlint.cli.fixes import Mended, mend
    from qlint.cli.paths import expand
    from qlint.cli.terminal import complain, progress
    from qlint.errors import QlintError
    from qlint.report.result import Failure, Report

    try:
        backends = [name for one in backend or () for name in one.split(",") if name]
        how: dict[str, Any] = {
            "select": select or (), "ignore": ignore or (), "extend_select": extend_select or (), "fallback": not no_fallback,
            "input_shapes": shapes(input_shape or ()),
        }  # fmt: skip
        if not (fix or diff) and (unsafe_fixes or in_place or calibration):
            raise QlintError("--unsafe-fixes, --in-place and --calibration belong to --fix", hint="add --fix, or --diff to see what it would change")
        mended = Mended(expand(models))
        if fix or diff:
            mended = mend(
                mended.models, backends, progress, unsafe=unsafe_fixes, in_place=in_place, dry=diff, calibration=calibration,
                method=calibration_method.value, verify=verify, **how
            )  # fmt: skip
        report = run(mended.models, backends, progress=progress, **how)
        report.fixes = mended.fixes
        report.errors += mended.failures
    except QlintError as error:
        report = Report(errors=[Failure(model=error.subject, message=error.message, hint=error.hint)])
    progress("")
    complain(report.errors)
    if diff and output_format is not Format.json:
        report.results = []  # what --fix would change is what was asked
    text = _render(report, output_format, terminal=output_file is None, statistics=statistics)
    if output_file is None:
        sys.stdout.write(text)
    else:
        write(output_file, text)
    code = report.exit_code(fail_on.value, fail_on_unknown=fail_on_unknown)
    if diff and code != 2:
        code = int(any(one.diff for one in report.fixes))
    return 0 if exit_zero and code == 1 else code


def _render(report: Report, wanted: Format, *, terminal: bool, statistics: bool) -> str:
    if wanted is Format.json:
        return report.to_json() + "\n"
    if wanted is Format.concise:
        from qlint.report import concise

        return concise.render(report)
    from qlint.cli.terminal import color, width
    from qlint.report import text

    if not report.results and not report.fixes:
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
