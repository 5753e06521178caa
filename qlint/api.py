"""The library: `qlint.check(model, backend=...) -> Report`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qlint.config import Config
from qlint.errors import ProfileError, ReadError
from qlint.graph import Model
from qlint.graph.building import building
from qlint.lint import registry
from qlint.lint.select import Selection
from qlint.profile import Profile
from qlint.profile import load as load_profile
from qlint.report.result import Report
from qlint.runner import Settings, check_all, failure, shown

if TYPE_CHECKING:
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
            raise ReadError(f"has no input {name!r}", subject=shown(path), hint=f"its inputs are {', '.join(inputs) or 'none'}")
    return canonical(model, input_shapes)


def check(
    model: str | Path | Model | Sequence[str | Path],
    backend: str | Profile | Iterable[str | Profile] = (),
    *,
    select: Iterable[str] = (),
    ignore: Iterable[str] = (),
    extend_select: Iterable[str] = (),
    fallback: bool | None = None,
    input_shapes: Shapes | None = None,
    config: Config | None = None,
    suppressions: bool = True,
    baseline: str | Path | None = None,
    jobs: int = 1,
    cache: str | Path | None = None,
    progress: Callable[[str], None] = lambda name: None,
) -> Report:
    """Hold models against backends and lint them.

    Args:
        model: a path, several, or a model from `load`.
        backend: names (`qnn-htp`, `qnn-htp@v68`, a path to a profile) or profiles; none: what the configuration says, or
            only what no backend is needed for.
        select, ignore, extend_select: rules by name, code, code prefix, category or glob.
        fallback: False judges as if the backend had nothing to fall back to; None is the configuration's choice.
        input_shapes: by input name, in place of the file's own.
        config: settings that the arguments go over; `qlint.config.find(path)` has those of the nearest file. None: no file is looked for.
        suppressions: False counts what a configuration, or the file MODEL.qlint.toml, accepts.
        baseline: a file of `qlint baseline write`; what is in it does not count. None is the configuration's choice, "" is none.
        jobs: processes that share the work; the results are the same for any number.
        cache: a folder in which results are kept, and used while nothing that they rest on has changed.
        progress: called with the name of each model before it is read, or waited for.

    A model that cannot be read is in `Report.errors` and hides no other. What is suppressed or in the baseline is
    in `Report.suppressed`.

    Raises:
        ProfileError: a backend is unknown or its profile not valid.
        RuleError: a selector meets no rule.
        QlintError: the settings or the baseline are not valid.
    """
    backends = [backend] if isinstance(backend, (str, Profile)) else list(backend)
    config = config or Config()
    chosen = config.baseline if baseline is None else Path(baseline) if baseline else None
    settings = Settings(
        partial(load, input_shapes=input_shapes), tuple(backends), Selection.of(select, ignore, extend_select),
        config.options.fallback if fallback is None else fallback, config, suppressions, chosen, Path(cache) if cache is not None else None,
    )  # fmt: skip
    models = [model] if isinstance(model, (str, Path, Model)) else list(model)
    problems = settings.validate(models)
    checked = check_all(models, settings, jobs, progress)
    report = Report(
        results=[result for one in checked for result in one.results],
        errors=[*(failure("", problem) for problem in problems), *(error for one in checked for error in one.errors)],
    )
    report._gone = [entry for one in checked for entry in one.gone]
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
        name = loaded.name if isinstance(model, Model) else shown(model)
        return hold(name, loaded, list({one.name: one for one in profiles}.values()), registry.load().rules, fallback=fallback)
