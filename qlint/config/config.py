"""The settings of one run: from which file, with what over it, and what they mean for a model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from qlint import cache
from qlint.config.file import ConfigError, nearest, read_toml, setting, settings, validate
from qlint.config.schema import Options, OverrideTable, Places, Sidecar, SuppressTable
from qlint.errors import RuleError
from qlint.lint.baseline import Baseline
from qlint.lint.policy import UNCHANGED, Override, Policy, Scope, Suppression
from qlint.lint.rule import Rule
from qlint.lint.select import Selection, known

SIDECAR = ".qlint.toml"  # behind the whole name of the model
DEFAULT = "default"


@dataclass(frozen=True, eq=False)
class Config:
    """Settings, the folder that their paths and globs start from, and where each value comes from.

    `origins` has the keys that are not the default's, with a file or `--config KEY=VALUE`; those of tables with dots.
    """

    options: Options = field(default_factory=Options.model_construct)
    root: Path = field(default_factory=Path)
    path: Path | None = None
    origins: dict[str, str] = field(default_factory=dict)
    named: bool = False  # the file was named, not found

    @property
    def source(self) -> str:
        """The file, as people would write it from here."""
        return told(self.path) if self.path is not None else "--config"

    def covers(self, pattern: str, model: str | Path) -> bool:
        """Whether a glob of the configuration means a model file."""
        return matches(pattern, self.relative(model))

    def relative(self, path: str | Path) -> str:
        """A path from the configuration's folder on, with slashes."""
        return Path(os.path.relpath(os.path.abspath(path), os.path.abspath(self.root))).as_posix()

    def excludes(self, model: str | Path) -> bool:
        """Whether a file is left out of folders and patterns."""
        return any(self.covers(pattern, model) for pattern in self.options.exclude)

    def backends(self, model: str | Path) -> list[str]:
        """What a model is held against; paths to profiles start from the configuration's folder."""
        chosen = self.options.backend
        for override in self.options.overrides:
            if override.backend and self._meant(override.models, model):
                chosen = override.backend
        return [self._profile(name) for one in chosen for name in one.split(",") if name]

    def _profile(self, name: str) -> str:
        base, at, overlay = name.partition("@")
        is_path = base.endswith(".toml") or "/" in base
        return f"{self.root / base}{at}{overlay}" if is_path else name

    @property
    def baseline(self) -> Path | None:
        """Where the baseline is; None without one."""
        return Path(told(self.root / self.options.baseline)) if self.options.baseline else None

    @property
    def cache(self) -> Path | None:
        """Where results are kept; None if they are not."""
        if not self.options.cache:
            return None
        return self.root / self.options.cache_dir if self.options.cache_dir else cache.default_folder()

    def rule_paths(self) -> list[Path]:
        """Files and folders with rules of the project's own. They are code: only the project that one works in may name them.

        Raises:
            ConfigError: the file was found beside a model elsewhere.
        """
        if self.options.rules and self.path is not None and not self.named and self.origins.get("rules") == self.source:
            here = os.path.realpath(os.getcwd())
            if os.path.commonpath([here, os.path.realpath(self.root)]) != os.path.realpath(self.root):
                raise ConfigError(
                    "names rules, which are code, but does not govern the current folder", subject=self.source,
                    hint=f"if you trust it: --config {self.source}",
                )  # fmt: skip
        return [self.root / path for path in self.options.rules]

    def policy(
        self, model: str | Path | None, rules: Sequence[Rule], last: Selection = UNCHANGED, *, suppressions: bool = True, baseline: Baseline | None = None
    ) -> Policy:
        """What the settings say about a model, its own file MODEL.qlint.toml included; None is a model without a file.

        Raises:
            ConfigError: a selector meets no rule, or the model's own file is not valid.
        """
        options = self.options
        overrides = [one for one in options.overrides if self._meant(one.models, model)]
        accepted = baseline.of(baseline.model_name(model)) if baseline is not None and model is not None else None
        policy = Policy(
            rules, _selection(options), options.severity,
            [Override(_scope(one), _selection(one), one.severity) for one in overrides],
            last, self._suppressions(model) if suppressions else (), accepted, suppressions,
        )  # fmt: skip
        self._check(policy, rules)
        return policy

    def _suppressions(self, model: str | Path | None) -> list[Suppression]:
        return [one for one in self._shared() if self._meant(self.options.suppress[one.number - 1].models, model)] + (sidecar(model) if model is not None else [])

    def _shared(self) -> list[Suppression]:
        return [_suppression(one, self.origins.get("suppress", self.source), number, private=False) for number, one in enumerate(self.options.suppress, 1)]

    def _meant(self, globs: Sequence[str], model: str | Path | None) -> bool:
        """Whether globs mean a model; none mean every one."""
        return not globs or (model is not None and any(self.covers(glob, model) for glob in globs))

    def _check(self, policy: Policy, rules: Sequence[Rule]) -> None:
        """Every selector of the settings meets a rule."""
        options, source = self.options, self.source
        named = [(self.origins.get(key, source), getattr(options, key.replace("-", "_"))) for key in ("select", "ignore", "extend-select", "severity")]
        for one in options.overrides:
            named.append((self.origins.get("overrides", source), (*one.select, *one.ignore, *one.extend_select, *one.severity)))
        for origin, selectors in [*named, *((one.source, one.rules) for one in (*policy.suppressions, *self._shared()))]:
            try:
                known(selectors, rules)
            except RuleError as error:
                raise ConfigError(error.message, subject=origin, hint=error.hint) from error


def find(model: str | Path | None = None, given: Iterable[str] = (), *, isolated: bool = False) -> Config:
    """The settings that govern a model (or the current folder): those of the nearest file, with what was given over them.

    Args:
        given: a path of a file that is taken instead, and `KEY=VALUE`s that go over it, the last one wins.
        isolated: look for no file.

    The nearest file is looked for from the model's folder upwards, then from the current folder.

    Raises:
        ConfigError: a file cannot be read, or a setting is unknown or of the wrong sort.
    """
    return load(governing(model, given, isolated=isolated), given)


def governing(model: str | Path | None = None, given: Iterable[str] = (), *, isolated: bool = False) -> Path | None:
    """The file that governs a model; arguments as of `find`."""
    if files := [one for one in given if _is_file(one)]:
        return Path(files[-1])
    if isolated:
        return None
    return nearest(Path(model).parent if model is not None else Path()) or nearest(Path())


def _is_file(given: str) -> bool:
    return "=" not in given or os.path.isfile(given)


def load(path: Path | None, given: Iterable[str] = ()) -> Config:
    """The settings of a file (or none), with the `KEY=VALUE`s among what was given over them.

    Raises:
        ConfigError: a file cannot be read, or a setting is unknown or of the wrong sort.
    """
    data: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for source, table in [*([(told(path), settings(path))] if path is not None else []), *((f"--config {pair}", setting(pair)) for pair in given if not _is_file(pair))]:
        validate(Options, table, source)
        data = _merged(data, table)
        origins |= dict.fromkeys(_keys(table), source)
    options = validate(Options, data, told(path) if path is not None else "--config") if data else Options.model_construct()  # which costs nothing
    for number, override in enumerate(options.overrides, 1):
        if override.backend and (override.nodes or override.ops):
            raise ConfigError(
                f"overrides[{number}]: a backend is chosen for whole models, not for nodes or ops", subject=told(path) if path is not None else "--config",
                hint="use models = [...] there",
            )  # fmt: skip
    return Config(options, path.parent if path is not None else Path(), path, origins, any(map(_is_file, given)))


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Values replace values; the table of severities is merged."""
    both = {key: {**below[key], **value} for key, value in above.items() if isinstance(value, dict) and isinstance(below.get(key), dict)}
    return {**below, **above, **both}


def _keys(table: dict[str, Any]) -> Iterable[str]:
    for key, value in table.items():
        yield key
        if isinstance(value, dict):
            yield from (f"{key}.{inner}" for inner in value)


def told(path: Path) -> str:
    """A path as people would write it: from the current folder on, if it is in there."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else Path(relative).as_posix()


def sidecar_of(model: str | Path) -> Path:
    """`exports/a.onnx` → `exports/a.onnx.qlint.toml`."""
    return Path(f"{os.fspath(model)}{SIDECAR}")


def sidecar(model: str | Path) -> list[Suppression]:
    """The suppressions beside a model.

    Raises:
        ConfigError: the file is not valid.
    """
    path = sidecar_of(model)
    if not path.is_file():
        return []
    return [_suppression(one, str(path), number, private=True) for number, one in enumerate(validate(Sidecar, read_toml(path), str(path)).suppress, 1)]


def _selection(table: Options | OverrideTable) -> Selection:
    return Selection.of(table.select, table.ignore, table.extend_select)


def _suppression(one: SuppressTable, source: str, number: int, *, private: bool) -> Suppression:
    return Suppression(one.rules, _scope(one, one.backends), one.reason.strip(), source, number, private)


def _scope(one: Places, backends: tuple[str, ...] = ()) -> Scope:
    return Scope(one.nodes, one.ops, backends)


def matches(glob: str, path: str) -> bool:
    """Whether a glob means a file, or a folder that it lies in: `**` is any folders, and without a slash it is about a name in any of them."""
    pattern, names = glob.removeprefix("./").strip("/").split("/"), path.split("/")
    if "/" not in glob.removeprefix("./").rstrip("/"):
        pattern = ["**", *pattern]
    return any(_match(pattern, names[:end]) for end in range(1, len(names) + 1))


def _match(pattern: Sequence[str], names: Sequence[str]) -> bool:
    if not pattern:
        return not names
    if pattern[0] == "**":
        return any(_match(pattern[1:], names[start:]) for start in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], pattern[0]) and _match(pattern[1:], names[1:])
