"""Finding rules: the built-in ones, those of installed plugins, and those in files that someone names.

Nothing registers itself: modules are imported and their attributes of type `Rule` collected. What does
not import, or clashes with another rule, is a problem that is reported; the other rules still run.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from types import ModuleType

from qlint.errors import RuleError
from qlint.lint.rule import Rule

ENTRY_POINTS = "qlint.rules"
FAILURES = (Exception, SystemExit)  # in what ways a module may fail to be imported; a script calls sys.exit
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_CODE = re.compile(r"[A-Z]{2,8}[0-9]{3}")


@dataclass
class Registry:
    """All rules that are known, by code, and what went wrong while collecting them."""

    rules: list[Rule] = field(default_factory=list)
    problems: list[RuleError] = field(default_factory=list)

    def get(self, name: str) -> Rule:
        """The rule with this name or code.

        Raises:
            RuleError: there is none; the hint has the nearest names.
        """
        for rule in self.rules:
            if name in (rule.name, rule.code) or name.upper() == rule.code:
                return rule
        raise RuleError(f"unknown rule {name!r}", hint=suggestion(name, self.names()))

    def names(self) -> list[str]:
        """Names and codes of all rules."""
        return [name for rule in self.rules for name in (rule.name, rule.code)]

    def add(self, rule: Rule, origin: str) -> None:
        """Take a rule in, or note why not."""
        problem = _problem(rule, self.rules)
        if problem:
            self.problems.append(RuleError(problem, subject=origin, hint="rules have a name and a code of their own"))
        elif rule not in self.rules:
            self.rules.append(rule)
            self.rules.sort(key=lambda r: (r.code, r.name))


def load(paths: Sequence[Path | str] = (), *, plugins: bool = True) -> Registry:
    """Built-in rules, plugins (entry point group `qlint.rules`), and rules in the files or folders `paths`."""
    built_in = _built_in()
    registry = Registry(list(built_in.rules), list(built_in.problems))
    if plugins:
        _load_plugins(registry)
    for path in paths:
        for file in _files(Path(path), registry):
            _collect(registry, str(file), lambda file=file: _import_file(file))
    return registry


@lru_cache(maxsize=1)
def _built_in() -> Registry:
    registry = Registry()
    package = importlib.import_module("qlint.rules")
    for info in pkgutil.iter_modules(package.__path__, "qlint.rules."):
        _collect(registry, info.name, lambda name=info.name: importlib.import_module(name))
    return registry


def _load_plugins(registry: Registry) -> None:
    from importlib.metadata import entry_points

    for point in entry_points(group=ENTRY_POINTS):
        distribution = point.dist.name if point.dist is not None else "?"
        origin = f"plugin {point.name} of {distribution} ({point.value})"
        try:
            loaded = point.load()
        except FAILURES as error:
            registry.problems.append(_cannot_import(origin, error))
            continue
        if isinstance(loaded, Rule):
            registry.add(loaded, origin)
        elif isinstance(loaded, ModuleType):
            _collect(registry, origin, lambda loaded=loaded: loaded)
            for info in pkgutil.iter_modules(getattr(loaded, "__path__", ()), loaded.__name__ + "."):
                _collect(registry, f"{origin}: {info.name}", lambda name=info.name: importlib.import_module(name))
        else:
            problem = f"is {type(loaded).__name__!r} and neither a module nor a Rule"
            registry.problems.append(RuleError(problem, subject=origin))


def _collect(registry: Registry, origin: str, get: object) -> None:
    try:
        module: ModuleType = get()  # type: ignore[operator]
    except FAILURES as error:
        registry.problems.append(_cannot_import(origin, error))
        return
    for rule in _rules_of(module):
        registry.add(rule, origin)


def _rules_of(module: ModuleType) -> Iterator[Rule]:
    for value in vars(module).values():
        if isinstance(value, Rule):
            value.doc = value.doc or module.__doc__ or ""
            value.origin = value.origin or str(module.__file__ or module.__name__)
            yield value


def _files(path: Path, registry: Registry) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.glob("*.py") if not file.name.startswith("_"))
    if path.is_file():
        return [path]
    registry.problems.append(RuleError("there is no such file or folder with rules", subject=str(path)))
    return []


def _import_file(path: Path) -> ModuleType:
    """The module in a file that is not on the path, under a name of its own."""
    resolved = path.resolve()
    name = f"qlint_rules_{resolved.stem}_{blake2b(str(resolved).encode(), digest_size=4).hexdigest()}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, resolved)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _cannot_import(origin: str, error: BaseException) -> RuleError:
    return RuleError(
        f"cannot be imported: {type(error).__name__}: {error}", subject=origin, hint="the other rules are not affected"
    )


def _problem(rule: Rule, known: Iterable[Rule]) -> str:
    if not _NAME.fullmatch(rule.name):
        return f"the rule name {rule.name!r} is not kebab-case"
    if not _CODE.fullmatch(rule.code):
        return f"the code {rule.code!r} of {rule.name} is not letters and three digits, like QL301"
    if not (rule.selectors or rule.checks or rule.proofs or rule.comparisons or rule.audits):
        return f"the rule {rule.name} explains no mismatch and has no check"
    for other in known:
        if other is not rule and (other.name == rule.name or other.code == rule.code):
            return f"the rule {rule} clashes with {other} from {other.origin}"
    return ""


def suggestion(name: str, known: Sequence[str]) -> str:
    """`did you mean a or b?`, or where to look."""
    close = difflib.get_close_matches(name.lower(), [k.lower() for k in known], n=3, cutoff=0.6)
    original = {k.lower(): k for k in known}
    if close:
        return f"did you mean {' or '.join(original[c] for c in close)}?"
    return "`qlint rule` lists them all"
