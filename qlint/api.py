"""The library: `qlint.check(model, backend=...) -> Report`."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qlint.errors import ProfileError, QlintError, ReadError, RuleError
from qlint.graph import Model
from qlint.graph.building import building
from qlint.lint import registry
from qlint.lint.rule import Rule
from qlint.lint.run import lint
from qlint.lint.select import select as choose
from qlint.profile import Profile
from qlint.profile import load as load_profile
from qlint.report.result import Failure, Report, Result
from qlint.report.summary import summarize

if TYPE_CHECKING:
    from qlint.passes.folding import Difference
    from qlint.report.comparison import Comparison

Shapes = dict[str, tuple[int, ...]]


def load(path: str | Path, input_shapes: Shapes | None = None) -> Model:
    """The canonical model in a file: compute ops, with quantizers on their uses.

    Raises:
        ReadError: the file cannot be read, or has no input of a name in `input_shapes`; the hint says what to do.
    """
    from qlint.passes import canonical
    from qlint.readers import read

    model = read(path)
    inputs = [tensor.name for tensor in model.inputs]
    for name in input_shapes or ():
        if name not in inputs:
            raise ReadError(f"has no input {name!r}", subject=_shown(path), hint=f"its inputs are {', '.join(inputs) or 'none'}")
    return canonical(model, input_shapes)


def check(
    model: str | Path | Model | Sequence[str | Path],
    backend: str | Profile | Iterable[str | Profile] = (),
    *,
    select: Iterable[str] = (),
    ignore: Iterable[str] = (),
    extend_select: Iterable[str] = (),
    fallback: bool = True,
    input_shapes: Shapes | None = None,
    progress: Callable[[str], None] = lambda name: None,
) -> Report:
    """Hold models against backends and lint them.

    Args:
        model: a path, several, or a model from `load`.
        backend: names (`qnn-htp`, `qnn-htp@v68`, a path to a profile) or profiles; none: only what no backend is needed for.
        select, ignore, extend_select: rules by name, code, code prefix, category or glob.
        fallback: False judges as if the backend had nothing to fall back to.
        input_shapes: by input name, in place of the file's own.
        progress: called with the name of each model before it is read.

    A model that cannot be read is in `Report.errors` and hides no other.

    Raises:
        ProfileError: a backend is unknown or its profile not valid.
        RuleError: a selector meets no rule.
    """
    backends = [backend] if isinstance(backend, (str, Profile)) else list(backend)
    profiles = [b if isinstance(b, Profile) else load_profile(b) for b in backends]
    known = registry.load()
    rules = choose(known.rules, select, ignore, extend_select)
    report = Report(errors=[_failure("", problem) for problem in known.problems])
    for one in [model] if isinstance(model, (str, Path, Model)) else list(model):
        name = one.name if isinstance(one, Model) else _shown(one)
        progress(name)
        try:
            with building():
                loaded = one if isinstance(one, Model) else load(one, input_shapes)
                for profile in (*profiles,) or (None,):
                    result, crashes = _judge(name, loaded, profile, rules, known.rules, fallback)
                    report.results.append(result)
                    report.errors += [_failure(name, crash) for crash in crashes]
        except QlintError as error:
            report.errors.append(_failure(name, error))
        except Exception as error:  # a defect of qlint: the other models are checked all the same
            report.errors.append(_failure(name, _defect(error)))
    return report


def compare(
    model: str | Path | Model, backend: Iterable[str | Profile], *, fallback: bool = True, input_shapes: Shapes | None = None
) -> Comparison:
    """Hold one model against several backends: what runs where, what blocks it, and the changes that satisfy each and all.

    Args:
        model: a path, or a model from `load`.
        backend: two or more, as for `check`.
        fallback: False judges as if the backends had nothing to fall back to.
        input_shapes: by input name, in place of the file's own.

    A change counts only if judging the changed model shows it. The changes are about quantizers alone, and nobody
    knows the scale of one that was not there: it has to come from calibration or training.

    Raises:
        ReadError: the model cannot be read.
        ProfileError: a backend is unknown or its profile not valid, or none is named.
    """
    from qlint.report.comparison import compare as hold

    profiles = [one if isinstance(one, Profile) else load_profile(one) for one in ([backend] if isinstance(backend, (str, Profile)) else backend)]
    if not profiles:
        raise ProfileError("no backend to compare", hint="name two or more; `qlint backend` lists them")
    with building():
        loaded = model if isinstance(model, Model) else load(model, input_shapes)
        name = loaded.name if isinstance(model, Model) else _shown(model)
        return hold(name, loaded, list({one.name: one for one in profiles}.values()), registry.load().rules, fallback=fallback)


def differing_statistics(models: Iterable[str | Path | Model]) -> list[Difference]:
    """Batch-norms whose running statistics differ between checkpoints of one network, one for each rank that trained it.

    Raises:
        ReadError: a model cannot be read.
    """
    from qlint.passes.folding import differing_statistics as differing

    return differing([one if isinstance(one, Model) else load(one) for one in models])


def _judge(
    name: str, model: Model, profile: Profile | None, rules: list[Rule], known: list[Rule], fallback: bool
) -> tuple[Result, list[RuleError]]:
    if profile is None:
        findings, crashes = lint(model, rules, known=known)
        return summarize(name, model, None, findings), crashes
    from qlint.judge import judge

    verdict = judge(model, profile, fallback=fallback)
    findings, crashes = lint(verdict, rules, known=known)
    return summarize(name, model, verdict, findings), crashes


def _shown(path: str | Path) -> str:
    """A path as text that can be written anywhere, whatever bytes its name has."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _failure(name: str, error: QlintError) -> Failure:
    subject = _shown(error.subject) if error.subject else ""
    message = f"{subject}: {error.message}" if name and subject not in ("", name) else error.message
    return Failure(model=name or subject, message=message, hint=error.hint)


def _defect(error: Exception) -> QlintError:
    """An exception that is nobody's message, with the place that raised it."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(frame.filename).name}, line {frame.lineno}"
    return QlintError(f"internal error: {type(error).__name__}: {error} ({where})", hint="please report it, with the model if you can")
