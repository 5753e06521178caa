"""`qlint check --fix` and `--diff`: fix each model, then check what came out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qlint.report.fixed import Fixed
    from qlint.report.result import Failure


@dataclass(slots=True)
class Mended:
    """The files to check, and what was done to get them."""

    models: list[str] = field(default_factory=list)
    fixes: list[Fixed] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def mend(models: Iterable[str], backends: list[str], progress: Any, **options: Any) -> Mended:
    """Fix models; one that cannot be read is left for the check to complain of."""
    from qlint.api import fix
    from qlint.errors import QlintError, ReadError
    from qlint.report.result import Failure

    done = Mended()
    for model in models:
        progress(model)
        try:
            fixed = fix(model, backends, **options)
        except ReadError:
            done.models.append(model)
        except QlintError as error:
            done.failures.append(Failure(model=model, message=f"{error.subject}: {error.message}" if error.subject else error.message, hint=error.hint))
            done.models.append(model)
        else:
            done.fixes.append(fixed)
            done.models.append(fixed.output or model)
    return done
