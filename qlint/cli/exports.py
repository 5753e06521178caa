"""`qlint check --export`: deployment files beside the models."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from qlint.cli.settings import Group


def split(given: Sequence[str], models: Sequence[str]) -> list[tuple[str, str]]:
    """`FORMAT` or `FORMAT=FILE`, taken apart.

    Raises:
        QlintError: there is no such format, or one file for several models.
    """
    from qlint.errors import QlintError
    from qlint.fixing.exporting import FORMATS

    found = []
    for one in given:
        form, _, file = one.partition("=")
        if form not in FORMATS:
            raise QlintError(f"there is no deployment file {form!r}", hint=f"--export takes {', '.join(FORMATS)}")
        if file and len(models) > 1:
            raise QlintError(f"{file} is one file for {len(models)} models", hint=f"--export {form} writes one beside each model")
        found.append((form, file))
    return found


def write(groups: Iterable[Group], wanted: Sequence[tuple[str, str]], *, backend: Sequence[str], **how: Any) -> None:
    """The files that are asked for, of the models as they are in the end.

    Raises:
        QlintError: a model has nothing to say in a format, or a file cannot be written.
    """
    from qlint.api import export

    for group in groups:
        for model in group.models:
            for form, file in wanted:
                made = export(model, form, backend or group.config.backends(model), output=file or None, **how)
                print(f"{made.path}: {made.tensors} tensor{'s' if made.tensors != 1 else ''}", file=sys.stderr)
                for why, left in made.left.items():
                    print(f"  without {_few(left)}: {why}", file=sys.stderr)
                if made.widened:
                    print(f"  {_few(made.widened)}: quantized for all readers, some of which see it in float in the model", file=sys.stderr)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
