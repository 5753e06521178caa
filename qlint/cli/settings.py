"""Which settings a command works under: each model those of its nearest configuration, and the command line over them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from qlint.config import Config
    from qlint.lint.finding import Severity
    from qlint.report.result import Report

MODELS_EACH = 4  # that are worth a process
CONFIG = Annotated[list[str] | None, typer.Option("--config", metavar="FILE|KEY=VALUE", help="this configuration; this setting over it", show_default=False)]
ISOLATED = Annotated[bool, typer.Option("--isolated", help="look for no configuration")]
NO_CACHE = Annotated[bool, typer.Option("--no-cache", help="keep no results, and use none that were kept")]
JOBS = Annotated[int, typer.Option("--jobs", "-j", metavar="N", min=0, help="processes that share many models; 0: as many as are worth it")]


def split(names: Iterable[str] | None) -> list[str]:
    """`["a,b", "c"]` → `["a", "b", "c"]`."""
    return [name for one in names or () for name in one.split(",") if name]


@dataclass(frozen=True)
class Group:
    """Models that one configuration governs."""

    config: Config
    models: list[str] = field(default_factory=list)


def governed(named: Sequence[str], given: Sequence[str], *, isolated: bool) -> list[Group]:
    """The models that are meant, by their configuration; what that excludes is left out of folders and patterns.

    Raises:
        QlintError: a folder or pattern leads to no model, or a configuration is not valid.
    """
    from qlint.config import governing, load
    from qlint.readers.paths import expand

    groups: dict[Path | None, Group] = {}
    files: dict[str, Path | None] = {}  # by folder
    for model in expand(named):
        folder = os.path.dirname(model)
        if folder not in files:
            files[folder] = governing(model, given, isolated=isolated)
            groups.setdefault(files[folder], Group(load(files[folder], given)))
        group = groups[files[folder]]
        if model in named or not group.config.excludes(model):
            group.models.append(model)
    return [group for group in groups.values() if group.models]


def run(groups: Sequence[Group], check: Callable[..., Report], jobs: int, *, cache: bool = True, **arguments: Any) -> list[Report]:
    """A report of each group; what `arguments` leaves open, its configuration says."""
    from qlint.cli.terminal import Progress

    progress = Progress(sum(len(group.models) for group in groups))
    try:
        return [
            check(
                group.models, config=group.config, jobs=processes(jobs, len(group.models)), cache=group.config.cache if cache else None, progress=progress, **arguments
            )
            for group in groups
        ]  # fmt: skip
    finally:
        progress("")


def joined(reports: Sequence[Report], named: Sequence[str], origins: Mapping[str, str]) -> Report:
    """One report over all groups, its results in the order in which the models were named; `origins` are the models of files made from them."""
    from qlint.readers.paths import expand
    from qlint.report.result import Report
    from qlint.runner import shown

    if len(reports) == 1:
        return reports[0]
    order = {shown(model): number for number, model in enumerate(expand(named))}
    results = sorted((result for report in reports for result in report.results), key=lambda result: order[shown(origins.get(result.model, result.model))])
    return Report(results=results, errors=[error for report in reports for error in report.errors])


def exit_code(groups: Sequence[Group], reports: Sequence[Report], fail_on: Severity | None, *, fail_on_unknown: bool) -> int:
    """The worst of all groups, by the threshold of the command line or of each one's configuration."""
    codes = [
        report.exit_code(fail_on or group.config.options.fail_on, fail_on_unknown=fail_on_unknown or group.config.options.fail_on_unknown)
        for group, report in zip(groups, reports, strict=True)
    ]
    return max(codes, default=0)


def processes(jobs: int, models: int) -> int:
    """How many processes are worth starting."""
    return jobs or max(1, min(os.cpu_count() or 1, models // MODELS_EACH))
