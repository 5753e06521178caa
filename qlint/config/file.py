"""Reading configuration files: which one governs a model, what is in it, and what is wrong with it, in a sentence."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from qlint.errors import QlintError

NAMES = ("qlint.toml", "pyproject.toml")
_Table = TypeVar("_Table", bound=BaseModel)


class ConfigError(QlintError):
    """A configuration that cannot be read, or says what it must not."""


def nearest(folder: Path) -> Path | None:
    """The configuration of a folder: its qlint.toml, its pyproject.toml with [tool.qlint], or that of the nearest folder above."""
    start = Path(os.path.realpath(folder))
    for path in (above / name for above in (start, *start.parents) for name in NAMES):
        if path.is_file() and (path.name != "pyproject.toml" or has_table(path)):
            return path
    return None


def has_table(pyproject: Path) -> bool:
    """Whether a pyproject.toml has [tool.qlint]; one that cannot be read may belong to somebody else."""
    try:
        return b"qlint" in pyproject.read_bytes() and "qlint" in read_toml(pyproject).get("tool", {})
    except (OSError, ConfigError, AttributeError):
        return False


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as data.

    Raises:
        ConfigError: it cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError as error:
        raise ConfigError("there is no such file", subject=str(path), hint="--config wants the path of a qlint.toml or pyproject.toml, or KEY=VALUE") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read ({error})", subject=str(path)) from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"is not valid TOML: {error}", subject=str(path)) from error


def settings(path: Path) -> dict[str, Any]:
    """The settings in a configuration file, as they stand there: a pyproject.toml has them in [tool.qlint].

    Raises:
        ConfigError: the file cannot be read, or has none.
    """
    data = read_toml(path)
    if path.name != "pyproject.toml":
        return data
    found = data.get("tool", {}).get("qlint")
    if not isinstance(found, dict):
        raise ConfigError("has no table [tool.qlint]", subject=str(path), hint="`qlint init` writes one")
    return found


def setting(text: str) -> dict[str, Any]:
    """`KEY=VALUE` as a table; a value that is no TOML is text: `fail-on=error`, `severity.QL301="info"`, `ignore=["QL3"]`.

    Raises:
        ConfigError: the key is none.
    """
    key, _, value = text.partition("=")
    try:
        return tomllib.loads(f"{key} = {value}")
    except tomllib.TOMLDecodeError:
        pass
    try:
        made = tomllib.loads(f"{key} = ''")
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{key!r} is no key", subject=f"--config {text}", hint="it is --config FILE or --config KEY=VALUE, e.g. fail-on=error") from error
    if value[:1] in ("[", "{", '"', "'"):
        raise ConfigError(f"{value} is not valid TOML", subject=f"--config {text}", hint="quote it for the shell, e.g. --config 'ignore=[\"QL3\"]'")
    return _with(made, value.strip())


def _with(table: dict[str, Any], value: str) -> dict[str, Any]:
    return {key: _with(inner, value) if isinstance(inner, dict) else value for key, inner in table.items()}


def validate(table: type[_Table], data: Mapping[str, Any], subject: str) -> _Table:
    """The data as a table of the schema.

    Raises:
        ConfigError: a key is unknown or a value of the wrong sort; the hint has the nearest key.
    """
    try:
        return table.model_validate(data)
    except ValidationError as error:
        problems = list(_problems(table, error))
    message, hint = problems[0]
    more = f" (and {len(problems) - 1} more)" if problems[1:] else ""
    raise ConfigError(message + more, subject=subject, hint=hint)


def _problems(table: type[BaseModel], error: ValidationError) -> Iterator[tuple[str, str]]:
    """(what is wrong, what to do), unknown keys first: they are often why another key is missing."""
    for one in sorted(error.errors(), key=lambda one: one["type"] != "extra_forbidden"):
        where = _dotted(one["loc"])
        if one["type"] == "extra_forbidden":
            key = str(one["loc"][-1])
            known = [field.alias or name for name, field in _fields(table, one["loc"][:-1]).items()]
            close = difflib.get_close_matches(key.replace("_", "-"), known, n=2, cutoff=0.55)
            yield f"unknown key {where!r}", f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(known)}"
        elif one["type"] == "missing":
            yield f"{where} is missing", "`qlint config --schema` has all keys"
        else:
            yield f"{where}: {one['msg'][:1].lower()}{one['msg'][1:]}, found {one['input']!r}", "`qlint config --schema` has all keys"


def _dotted(where: tuple[int | str, ...]) -> str:
    """`("overrides", 0, "nodes")` → `overrides[1].nodes`, counted as people count."""
    return "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".")


def _fields(table: type[BaseModel], where: tuple[int | str, ...]) -> dict[str, Any]:
    """The fields of the table that a place lies in."""
    for part in where:
        if isinstance(part, str):
            field = next((field for name, field in table.model_fields.items() if part in (name, field.alias)), None)
            inner = next((one for one in getattr(field.annotation, "__args__", ()) if isinstance(one, type) and issubclass(one, BaseModel)), None) if field else None
            if inner is None:
                return {}
            table = inner
    return table.model_fields
