"""`qlint check --fix` and `--diff`: fix each model, then check what came out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qlint.cli.settings import Group

if TYPE_CHECKING:
    from qlint.report.fixed import Fixed
    from qlint.report.result import Failure


@dataclass(slots=True)
class Mended:
    """What was done to get the files that are checked then."""

    fixes: list[Fixed] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    origins: dict[str, str] = field(default_factory=dict)  # the model that a file was made from


def mend(groups: Iterable[Group], **options: Any) -> tuple[list[Group], Mended]:
    """Fix the models of each group under its configuration; one that cannot be read is left for the check to complain of."""
    from qlint.api import fix
    from qlint.cli.terminal import Progress
    from qlint.errors import QlintError, ReadError
    from qlint.runner import failure, shown

    groups, done, after = list(groups), Mended(), []
    progress = Progress(sum(len(group.models) for group in groups))
    for group in groups:
        models = []
        for model in group.models:
            progress(model)
            made = model
            try:
                fixed = fix(model, config=group.config, **options)
            except ReadError:
                pass
            except QlintError as error:
                done.failures.append(failure(shown(model), error))
            else:
                done.fixes.append(fixed)
                made = fixed.output or model
            done.origins[made] = model
            models.append(made)
        after.append(Group(group.config, models))
    progress("")
    return after, done
