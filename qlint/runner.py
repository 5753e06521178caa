"""Many models: each under its own settings, in this process or in several, and what only all of them together can say."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from qlint import cache
from qlint.config import Config
from qlint.errors import QlintError, RuleError
from qlint.graph import Model
from qlint.graph.building import building
from qlint.lint import registry, select
from qlint.lint.baseline import Baseline, Entry
from qlint.lint.policy import UNCHANGED, Audit, Fate, Policy, Suppression
from qlint.lint.run import audit, lint
from qlint.lint.select import Selection
from qlint.profile import Profile
from qlint.profile import load as load_profile
from qlint.report.result import Failure, Result
from qlint.report.summary import summarize

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

    from qlint.judge import Verdict

Subject = object  # a path, a model that was read, or what `Settings.load` makes one of


@dataclass(frozen=True)
class Settings:
    """What one run holds its models against, and under which settings."""

    load: Callable[..., Model]  # what makes a model of a subject that is none
    backends: tuple[str | Profile, ...] = ()  # none: what the configuration says of each model
    selection: Selection = UNCHANGED
    fallback: bool = True
    config: Config = field(default_factory=Config)
    suppressions: bool = True
    baseline: Path | None = None
    cache: Path | None = None  # None: nothing is kept
    loaded: dict[str, Profile] = field(default_factory=dict, repr=False)  # by name

    def validate(self, models: Sequence[Subject]) -> list[RuleError]:
        """See that everything that is named exists, before any model is read; what is wrong with rules that are not needed is told.

        Raises:
            QlintError: a backend, a selector, a setting or the baseline is unknown or not valid.
        """
        known = self.rules()
        select.known((*self.selection.select, *self.selection.extend_select, *self.selection.ignore), known.rules)
        for name in self.backends or {name for model in models if (path := path_of(model)) is not None for name in self.config.backends(path)}:
            self._profile(name)
        self.config.policy(None, known.rules, baseline=self._baseline)
        return known.problems

    def profiles(self, model: Subject) -> list[Profile]:
        """The backends for a model.

        Raises:
            ProfileError: one is unknown or its profile not valid.
        """
        path = path_of(model)
        names = self.backends or (() if path is None else self.config.backends(path))
        return [self._profile(name) for name in names]

    def _profile(self, name: str | Profile) -> Profile:
        if isinstance(name, Profile):
            return name
        if name not in self.loaded:
            self.loaded[name] = load_profile(name)
        return self.loaded[name]

    def rules(self) -> registry.Registry:
        """Every rule there is, those of the configuration included."""
        return _rules(tuple(self.config.rule_paths()))

    def policy(self, model: Subject) -> Policy:
        """What the settings say about a model."""
        return self.config.policy(path_of(model), self.rules().rules, self.selection, suppressions=self.suppressions, baseline=self._baseline)

    @cached_property
    def _baseline(self) -> Baseline | None:
        return Baseline.read(self.baseline) if self.baseline is not None else None


@lru_cache
def _rules(paths: tuple[Path, ...]) -> registry.Registry:
    return registry.load(paths)


class Checked(BaseModel):
    """One model on all its backends: plain data, that another process or the cache can bring."""

    results: list[Result] = []
    errors: list[Failure] = []
    fates: list[Fate] = []  # of the suppressions that the model shares with others
    gone: list[Entry] = []  # what the baseline has in vain


def check_one(model: Subject, settings: Settings) -> Checked:
    """Hold one model against its backends, and lint it. Whatever goes wrong is in the errors."""
    name = name_of(model)
    checked = Checked()
    try:
        profiles, policy = settings.profiles(model), settings.policy(model)
        key = _key(model, profiles, policy, settings)
        if key is not None and (kept := _kept(key, settings)) is not None:
            return _readable(kept, model, settings)
        with building():
            loaded = model if isinstance(model, Model) else settings.load(model)
            for profile in (*profiles,) or (None,):
                result, crashes = _judge(name, loaded, profile, policy, settings)
                checked.results.append(result)
                checked.errors += [failure(name, crash) for crash in crashes]
        seen = policy.audit()
        checked.gone = list(seen.gone)
        found, crashes = audit(policy, seen)
        checked.results[0].with_findings(found)
        checked.errors += [failure(name, crash) for crash in crashes]
        checked.fates = [policy.fate(one) for one in policy.suppressions if not one.private]
        if key is not None and settings.cache is not None and not checked.errors and cache.self_contained(loaded, Path(name)):
            cache.put(settings.cache, key, checked.model_dump_json(fallback=str))
    except QlintError as error:
        checked.errors.append(failure(name, error))
    except Exception as error:  # a defect of qlint: the other models are checked all the same
        checked.errors.append(failure(name, _defect(error)))
    return checked


def _key(model: Subject, profiles: Sequence[Profile], policy: Policy, settings: Settings) -> str | None:
    """Of what is kept about a model under these settings; None if nothing is."""
    arguments = settings.load.keywords if isinstance(settings.load, partial) else {}
    path = path_of(model)
    if settings.cache is None or path is None or arguments.get("encodings") is not None:
        return None
    said = (policy.base, sorted(policy.severity.items()), policy.overrides, policy.last, policy.suppressions, policy.accepted)
    return cache.key(
        Path(path), policy.known, name_of(model), repr(said), repr(arguments), repr(settings.fallback), *(profile.model_dump_json() for profile in profiles)
    )


def _kept(key: str, settings: Settings) -> Checked | None:
    text = cache.get(settings.cache, key) if settings.cache is not None else None
    try:
        return Checked.model_validate_json(text) if text is not None else None
    except ValidationError:  # somebody else's, or half a file
        return None


def _readable(checked: Checked, model: Subject, settings: Settings) -> Checked:
    """Results that were made elsewhere, with a way to their graphs."""
    for result in checked.results:
        result._again = partial(_judge_again, model, settings, result.target)
    return checked


def check_all(models: Sequence[Subject], settings: Settings, jobs: int = 1, progress: Callable[[str], None] = lambda name: None) -> list[Checked]:
    """Each model's outcome, in order, however many processes share the work. Each is in several pieces what it is in one."""
    checked = list(_each(models, settings, jobs, progress))
    _about_networks(models, settings, checked)
    _about_shared(models, settings, checked)
    return checked


def _each(models: Sequence[Subject], settings: Settings, jobs: int, progress: Callable[[str], None]) -> Iterator[Checked]:
    if jobs > 1 and len(models) > 1 and None not in map(path_of, models):
        yield from _in_processes(models, settings, min(jobs, len(models)), progress)
        return
    for model in models:
        progress(name_of(model))
        yield check_one(model, settings)


def _in_processes(models: Sequence[Subject], settings: Settings, jobs: int, progress: Callable[[str], None]) -> Iterator[Checked]:
    from concurrent.futures.process import BrokenProcessPool

    with _pool(jobs, settings) as pool:
        futures = [pool.submit(_apart, model) for model in models]
        for model, future in zip(models, futures, strict=True):
            progress(name_of(model))
            try:
                checked = future.result()
            except BrokenProcessPool:  # somebody's process died and took the pool along
                checked = _alone(model, settings)
            yield _readable(checked, model, settings)


def _alone(model: Subject, settings: Settings) -> Checked:
    """A model in a process of its own."""
    from concurrent.futures.process import BrokenProcessPool

    try:
        with _pool(1, settings) as pool:
            return pool.submit(_apart, model).result()
    except BrokenProcessPool:
        error = QlintError("the process that checked it has died", hint="there may be too little memory; -j 1 checks one model after the other")
        return Checked(errors=[failure(name_of(model), error)])


_theirs: list[Settings] = []  # of the run that a process works for


def _pool(jobs: int, settings: Settings) -> ProcessPoolExecutor:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    return ProcessPoolExecutor(jobs, context, initializer=_work_for, initargs=(settings,))


def _work_for(settings: Settings) -> None:
    _theirs[:] = [settings]


def _apart(model: Subject) -> Checked:
    """In another process: graphs stay there."""
    checked = check_one(model, _theirs[0])
    for result in checked.results:
        result._canonical = result._verdict = None
    return checked


def _judge(name: str, model: Model, profile: Profile | None, policy: Policy, settings: Settings) -> tuple[Result, list[RuleError]]:
    verdict = _verdict(model, profile, settings)
    findings, crashes = lint(model if verdict is None else verdict, policy.rules, known=policy.known, policy=policy)
    return summarize(name, model, verdict, findings), crashes


def _verdict(model: Model, profile: Profile | None, settings: Settings) -> Verdict | None:
    if profile is None:
        return None
    from qlint.judge import judge

    return judge(model, profile, fallback=settings.fallback)


def _judge_again(subject: Subject, settings: Settings, target: str) -> tuple[Model, Verdict | None]:
    """The graph and the verdict of a result that was made elsewhere."""
    model = settings.load(subject)
    profile = next((one for one in settings.profiles(subject) if one.name == target), None)
    return model, _verdict(model, profile, settings)


# -- several models of one network ---------------------------------------------------------------------


def _about_networks(models: Sequence[Subject], settings: Settings, checked: Sequence[Checked]) -> None:
    """Models that are the same operators are compared with each other; what comes of it is told of the first one."""
    networks: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for number, one in enumerate(checked if len(checked) > 1 else ()):
        if one.results:
            networks.setdefault(tuple((op.name, op.kind) for op in one.results[0].ops), []).append(number)
    for numbers in (numbers for numbers in networks.values() if len(numbers) > 1):
        policy = settings.policy(models[numbers[0]])
        rules = [rule for rule in policy.rules if rule.comparisons]
        loaded = [model for number in numbers if rules and (model := checked[number].results[0].canonical) is not None]
        if len(loaded) > 1:
            findings, crashes = lint(loaded[0], rules, known=policy.known, policy=policy, others=loaded[1:])
            checked[numbers[0]].results[0].with_findings(findings)
            checked[numbers[0]].errors += [failure(name_of(models[numbers[0]]), crash) for crash in crashes]


# -- suppressions of a configuration ----------------------------------------------------------------


def _about_shared(models: Sequence[Subject], settings: Settings, checked: Sequence[Checked]) -> None:
    """Suppressions that several models share are judged when all models that they are about have been looked at."""
    fates: dict[Suppression, list[tuple[Fate, int]]] = {}
    for number, (model, one) in enumerate(zip(models, checked, strict=True)):
        if one.results and settings.suppressions and settings.config.options.suppress:
            shared = [suppression for suppression in settings.policy(model).suppressions if not suppression.private]
            for suppression, fate in zip(shared, one.fates, strict=True):
                fates.setdefault(suppression, []).append((fate, number))
    if not fates:
        return
    looked_at = [model for model, one in zip(models, checked, strict=True) if one.results]
    idle = [one for one, seen in fates.items() if {fate for fate, _ in seen} == {"idle"} and _all_seen(one, looked_at, settings)]
    for at in sorted({seen[0][1] for seen in fates.values()}):
        first = [one for one, seen in fates.items() if seen[0][1] == at]
        told = Audit(tuple(one for one in first if one in idle), tuple(one for one in first if not one.reason))
        found, crashes = audit(settings.policy(models[at]), told)
        checked[at].results[0].with_findings(found)
        checked[at].errors.extend(failure("", crash) for crash in crashes)


def _all_seen(one: Suppression, models: Sequence[Subject], settings: Settings) -> bool:
    """Whether every model on disk that a suppression is about was checked; of those elsewhere nobody can know."""
    from qlint.readers.paths import below

    config = settings.config
    globs = config.options.suppress[one.number - 1].models
    seen = {os.path.realpath(path) for model in models if (path := path_of(model)) is not None}
    if globs and not any(sign in glob for glob in globs for sign in "*?["):
        there: Iterable[str] = (str(config.root / glob) for glob in globs if (config.root / glob).is_file())
    else:
        there = (path for path in below(str(config.root)) if not config.excludes(path) and (not globs or any(config.covers(glob, path) for glob in globs)))
    return all(os.path.realpath(path) in seen for path in there)


# -- failures -----------------------------------------------------------------------------------------


def path_of(model: Subject) -> str | Path | None:
    """The file of a model; None of one in memory."""
    return model if isinstance(model, (str, Path)) else None


def name_of(model: Subject) -> str:
    """What reports call a model: its path, its own name, or the class of an object."""
    return model.name if isinstance(model, Model) else shown(model) if isinstance(model, (str, Path)) else type(model).__name__


def shown(path: str | Path) -> str:
    """A path as text that can be written anywhere, whatever bytes its name has."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def failure(name: str, error: QlintError) -> Failure:
    """An error as it is reported."""
    subject = shown(error.subject) if error.subject else ""
    message = f"{subject}: {error.message}" if name and subject not in ("", name) else error.message
    return Failure(model=name or subject, message=message, hint=error.hint)


def _defect(error: Exception) -> QlintError:
    """An exception that is nobody's message, with the place that raised it."""
    import traceback

    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(frame.filename).name}, line {frame.lineno}"
    return QlintError(f"internal error: {type(error).__name__}: {error} ({where})", hint="please report it, with the model if you can")
