"""`qlint baseline`: draw a line under what there is, and see what is new since."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qlint.cli import settings
from qlint.cli.completion import backends, listed
from qlint.cli.settings import CONFIG, ISOLATED, JOBS

if TYPE_CHECKING:
    from qlint.lint.baseline import Baseline, Entry
    from qlint.report.result import Report

MODELS = Annotated[list[str], typer.Argument(help="model files, or folders of them", metavar="MODEL", show_default=False)]
BACKENDS = Annotated[list[str] | None, typer.Option("--backend", "-b", metavar="NAME", help="NAME[@TARGET], several with commas", autocompletion=listed(backends))]
FILE = Annotated[Path | None, typer.Option("--baseline", metavar="FILE", help="default: the configuration's, or qlint-baseline.json", show_default=False)]

app = typer.Typer(name="baseline", no_args_is_help=True, help="Accept what there is today, so that only what is new counts.")


class _Run:
    """Models, held against a baseline: what it knows, what is new, and what is gone."""

    def __init__(
        self, models: Sequence[str], backend: Iterable[str] | None, file: Path | None, config: Sequence[str] | None, jobs: int, *, isolated: bool, fresh: bool = False
    ) -> None:  # fmt: skip
        from qlint.api import check
        from qlint.cli.terminal import complain
        from qlint.lint.baseline import FILE as DEFAULT
        from qlint.lint.baseline import Baseline

        self.groups = settings.governed(models, config or (), isolated=isolated)
        path = file or next((group.config.baseline for group in self.groups if group.config.baseline is not None), None) or Path(DEFAULT)
        self.before = Baseline(path) if fresh else Baseline.read(path)
        self.reports = settings.run(self.groups, check, jobs, backend=settings.split(backend), baseline="" if fresh else path)
        complain(error for report in self.reports for error in report.errors)
        self.failed = any(report.errors for report in self.reports)
        self.new = {entry for report in self.reports for entry in _entries(report, self.before)}
        self.known = {entry for report in self.reports for entry in _known(report, self.before)}
        judged = {(self.before.model_name(result.model), result.target) for report in self.reports for result in report.results}
        self.kept = {entry for entry in self.before.entries if (entry.model, entry.backend) not in judged and _exists(entry, path)}
        self.gone = {entry for report in self.reports for entry in report.gone} | {entry for entry in self.before.entries if not _exists(entry, path)}

    def tell(self) -> None:
        """What is added, and what is removed."""
        for sign, some in (("+", self.new), ("-", self.gone)):
            for entry in sorted(some):
                print(f"{sign} {entry.line} ({entry.severity})")

    def after(self) -> Baseline:
        """The baseline that accepts all there is now; of models that were not checked it knows what it knew."""
        from qlint.lint.baseline import Baseline

        return Baseline(self.before.path, tuple(sorted(self.new | self.known | self.kept)))


def _entries(report: Report, baseline: Baseline) -> Iterable[Entry]:
    from qlint.lint import registry
    from qlint.lint.baseline import entries

    audits = {rule.name for rule in registry.load(plugins=False).rules if rule.audits}  # what they find is about the settings
    for result in report.results:
        yield from entries(baseline.model_name(result.model), result.target, [finding for finding in result.findings if finding.rule not in audits])


def _known(report: Report, baseline: Baseline) -> Iterable[Entry]:
    from qlint.lint.baseline import entries

    for result in report.results:
        accepted = [finding for finding in result.suppressed if finding.suppressed is not None and finding.suppressed.by == "baseline"]
        yield from entries(baseline.model_name(result.model), result.target, accepted)


def _exists(entry: Entry, path: Path) -> bool:
    return os.path.exists(path.parent / entry.model)


@app.command()
def write(
    models: MODELS, backend: BACKENDS = None, baseline: FILE = None, config: CONFIG = None, isolated: ISOLATED = False, jobs: JOBS = 0,
) -> int:  # fmt: skip
    """Write every finding that there is into a new baseline."""
    from qlint.lint.baseline import BaselineError
    from qlint.report.text import count

    run = _Run(models, backend, baseline, config, jobs, isolated=isolated, fresh=True)
    if run.before.path.exists():
        raise BaselineError("exists, and is left as it is", subject=str(run.before.path), hint="`qlint baseline update` says what it adds and removes")
    if run.failed:
        return 2
    run.after().write()
    print(f"{run.before.path}: {count(len(run.after().entries), 'place')}, in {len({entry.model for entry in run.new})} of {sum(len(group.models) for group in run.groups)} models")
    if not any(group.config.baseline for group in run.groups) and baseline is None:
        print(f'  to have it used: baseline = "{run.before.path.name}" in the configuration, or qlint check --baseline {run.before.path}')
    return 0


@app.command()
def update(
    models: MODELS, backend: BACKENDS = None, baseline: FILE = None, config: CONFIG = None, isolated: ISOLATED = False, jobs: JOBS = 0,
) -> int:  # fmt: skip
    """Bring the baseline up to date with what there is now, and print what is added (+) and removed (-)."""
    from qlint.report.text import count

    run = _Run(models, backend, baseline, config, jobs, isolated=isolated)
    if run.failed:
        return 2
    run.tell()
    run.after().write()
    print(f"{run.before.path}: {len(run.new)} added, {len(run.gone)} removed, {count(len(run.after().entries), 'place')}")
    return 0


@app.command()
def check(
    models: MODELS, backend: BACKENDS = None, baseline: FILE = None, config: CONFIG = None, isolated: ISOLATED = False, jobs: JOBS = 0,
    strict: Annotated[bool, typer.Option("--strict", help="fail, too, if the baseline has what is no longer there")] = False,
) -> int:  # fmt: skip
    """Print what is new (+) and what is gone (-), and write nothing.

    Exit code: 0 nothing new, 1 something new at or above the configured fail-on (with --strict: or gone), 2 something could not be checked.
    """
    run = _Run(models, backend, baseline, config, jobs, isolated=isolated)
    run.tell()
    print(f"{run.before.path}: {len(run.new)} new, {len(run.gone)} gone, {len(run.known)} known")
    code = settings.exit_code(run.groups, run.reports, None, fail_on_unknown=False)
    return code if code or not strict else int(bool(run.gone))
