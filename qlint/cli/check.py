"""`qlint check`: the main job."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from qlint.cli import settings
from qlint.cli.completion import backends, listed, rules
from qlint.cli.settings import CONFIG, ISOLATED, JOBS, NO_CACHE

ENCODINGS = "quantizers by tensor name: AIMET, QNN overrides, MQBench clip ranges, TensorRT calibration cache"
OUTPUT = "text, concise, json, html, markdown, github, gitlab, junit or sarif; several times: several reports of one run, all but one of them into files"
EXPORT = "also write the quantizers to a deployment file: encodings (AIMET, QNN), clip-ranges (MQBench), calibration-cache (TensorRT)"
BACKEND = "NAME[@TARGET|@REVISION], several with commas; a path to a profile works too"


def _formats(begun: str) -> list[str]:
    """For the shell's completion."""
    from qlint.report.formats import FORMATS

    return [name for name in FORMATS if name.startswith(begun)]


def _exports(begun: str) -> list[str]:
    """For the shell's completion."""
    from qlint.fixing.exporting import FORMATS

    return [name for name in FORMATS if name.startswith(begun)]


class FailOn(StrEnum):
    """Severities."""

    error = "error"
    warning = "warning"
    info = "info"


class Swapped(StrEnum):
    """What an activation without integer kernels is exchanged for."""

    relu = "relu"
    relu6 = "relu6"


class Method(StrEnum):
    """Ways from data to a range."""

    minmax = "minmax"
    percentile = "percentile"
    mse = "mse"
    entropy = "entropy"


def check(
    models: Annotated[list[str], typer.Argument(help="model files, or folders of them", metavar="MODEL", show_default=False)],
    backend: Annotated[list[str] | None, typer.Option("--backend", "-b", metavar="NAME", help=BACKEND, autocompletion=listed(backends))] = None,
    select: Annotated[list[str] | None, typer.Option(metavar="RULES", help="only these rules: names, codes, code prefixes, categories, globs", autocompletion=listed(rules))] = None,
    ignore: Annotated[list[str] | None, typer.Option(metavar="RULES", help="not these rules", autocompletion=listed(rules))] = None,
    extend_select: Annotated[list[str] | None, typer.Option(metavar="RULES", help="these rules too, e.g. ones in preview", autocompletion=listed(rules))] = None,
    fail_on: Annotated[FailOn | None, typer.Option(help="lowest severity that makes the exit code 1", show_default="warning")] = None,
    fail_on_unknown: Annotated[bool, typer.Option("--fail-on-unknown", help="an op of unknown placement makes the exit code 1, too")] = False,
    no_fallback: Annotated[bool, typer.Option("--no-fallback", help="judge as if the backend had nothing to fall back to")] = False,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="findings do not change the exit code")] = False,
    output_format: Annotated[list[str] | None, typer.Option("--output-format", "-f", metavar="FORMAT[=FILE]", help=OUTPUT, autocompletion=_formats)] = None,
    output_file: Annotated[list[str] | None, typer.Option("--output-file", "-o", metavar="FILE", help="write there instead of to stdout")] = None,
    input_shape: Annotated[list[str] | None, typer.Option(metavar="NAME:1,3,224,224", help="in place of the shape in the file")] = None,
    encodings: Annotated[Path | None, typer.Option(metavar="FILE", help=ENCODINGS)] = None,
    statistics: Annotated[bool, typer.Option("--statistics", help="count the findings of each rule, too (text only)")] = False,
    config: CONFIG = None,
    isolated: ISOLATED = False,
    no_suppressions: Annotated[bool, typer.Option("--no-suppressions", help="count what configurations and MODEL.qlint.toml accept")] = False,
    add_ignore: Annotated[str | None, typer.Option(metavar="REASON", help="accept every finding there is, in MODEL.qlint.toml", show_default=False)] = None,
    baseline: Annotated[str | None, typer.Option(metavar="FILE", help="what is in it does not count (qlint baseline)", show_default=False)] = None,
    no_cache: NO_CACHE = False,
    jobs: JOBS = 0,
    fix: Annotated[bool, typer.Option("--fix", help="write NAME.fixed.EXT, cured of what can be cured without changing the numbers")] = False,
    unsafe_fixes: Annotated[bool, typer.Option("--unsafe-fixes", help="with --fix or --diff: also what changes the numbers")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="show what --fix would change, and write nothing; exit code 1 if it would")] = False,
    in_place: Annotated[bool, typer.Option("--in-place", help="with --fix: the result takes the model's place")] = False,
    calibration: Annotated[str, typer.Option(metavar="FILE", help="with --fix: inputs (.npy, .npz) that give new quantizers their ranges")] = "",
    calibration_method: Annotated[Method, typer.Option(help="with --calibration: how a range follows from the data")] = Method.minmax,
    swap_activation: Annotated[Swapped | None, typer.Option(help="with --fix: this in place of swish, hard swish, gelu and mish")] = None,
    verify: Annotated[bool, typer.Option("--verify/--no-verify", help="with --fix: compare the outputs (onnxruntime, LiteRT; torch with --trust)")] = True,
    trust: Annotated[bool, typer.Option("--trust", help="with --fix: let torch load the model, which executes code in the file")] = False,
    export: Annotated[list[str] | None, typer.Option(metavar="FORMAT[=FILE]", help=EXPORT, autocompletion=_exports)] = None,
    debug: Annotated[bool, typer.Option("--debug", hidden=True)] = False,
) -> int:
    """Say which operators will not run in integer on a backend, why, and what to do.

    Exit code: 0 clean, 1 findings at or above --fail-on, 2 something could not be checked.
    """
    from qlint.api import check as each
    from qlint.cli.exports import split, write
    from qlint.cli.fixes import mend
    from qlint.cli.outputs import outputs, put
    from qlint.cli.terminal import complain
    from qlint.config import Config
    from qlint.errors import QlintError
    from qlint.report.result import Failure, Report

    wanted = outputs(output_format or (), output_file or ())
    try:
        files = split(export or (), models)
        groups = settings.governed(models, config or (), isolated=isolated)
        how: dict[str, Any] = {
            "backend": settings.split(backend), "select": select or (), "ignore": ignore or (), "extend_select": extend_select or (),
            "fallback": False if no_fallback else None, "input_shapes": shapes(input_shape or ()),
        }  # fmt: skip
        if not (fix or diff) and (unsafe_fixes or in_place or calibration or trust or swap_activation):
            raise QlintError(
                "--unsafe-fixes, --in-place, --calibration, --trust and --swap-activation belong to --fix", hint="add --fix, or --diff to see what it would change"
            )
        if (fix or diff) and encodings is not None and sum(len(group.models) for group in groups) > 1:
            raise QlintError(f"{encodings.name} is about one model, and --fix writes its quantizers into it", hint="fix one model at a time")
        mended = None
        if fix or diff:
            groups, mended = mend(
                groups, unsafe=unsafe_fixes, in_place=in_place, dry=diff, calibration=calibration, method=calibration_method.value, verify=verify, trust=trust,
                swap_activation=swap_activation.value if swap_activation is not None else "", suppressions=not no_suppressions, encodings=encodings, **how,
            )
            if any(one.output for one in mended.fixes):  # which has them in it
                encodings = None
        reports = settings.run(groups, each, jobs, suppressions=not no_suppressions, baseline=baseline, encodings=encodings, cache=not no_cache, **how)
        report = settings.joined(reports, models, mended.origins if mended is not None else {})
        if mended is not None:
            report.fixes = mended.fixes
            report.errors += mended.failures
        if files and not report.errors:
            write(groups, files, backend=how["backend"], input_shapes=how["input_shapes"], encodings=encodings)
    except QlintError as error:
        report = Report(errors=[Failure(model=error.subject, message=error.message, hint=error.hint)])
        groups, reports = [settings.Group(Config())], [report]
    complain(report.errors)
    if add_ignore is not None:
        from qlint.cli.ignore import accept

        return accept(report, add_ignore)
    asked = report.model_copy(update={"results": []}) if diff else report  # what --fix would change
    for output in wanted:
        put(report if output.format == "json" else asked, output, statistics=statistics)
    code = settings.exit_code(groups, reports, fail_on.value if fail_on is not None else None, fail_on_unknown=fail_on_unknown)
    if diff and code != 2:
        code = int(any(one.diff for one in report.fixes))
    return 0 if exit_zero and code == 1 else code


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
