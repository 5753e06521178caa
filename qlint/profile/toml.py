"""Writing a profile as TOML: top-level values, then tables, then claims as arrays of tables; what is nested stands on one line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")


def dumps(data: Mapping[str, Any]) -> str:
    """TOML that `tomllib` reads back as the same data. Values are text, numbers, truth values, and lists and tables of them."""
    return "\n".join(_lines(data)) + "\n"


def _lines(data: Mapping[str, Any]) -> Iterator[str]:
    tables = {key: value for key, value in data.items() if isinstance(value, Mapping)}
    claims = {key: value for key, value in data.items() if isinstance(value, (list, tuple)) and any(isinstance(one, Mapping) for one in value)}
    yield from (f"{_key(key)} = {inline(value)}" for key, value in data.items() if key not in tables and key not in claims)
    for key, table in tables.items():
        if table and all(isinstance(one, Mapping) for one in table.values()) and key == "evidence":
            for name, one in table.items():
                yield from ("", f"[{_key(key)}.{_key(name)}]", *_fields(one))
        else:
            yield from ("", f"[{_key(key)}]", *_fields(table))
    for key, many in claims.items():
        for one in many:
            yield from ("", f"[[{_key(key)}]]", *_fields(one))


def _fields(table: Mapping[str, Any]) -> Iterator[str]:
    return (f"{_key(key)} = {inline(value)}" for key, value in table.items())


def _key(key: str) -> str:
    return key if _BARE.match(key) else _text(key)


def _text(value: str) -> str:
    """A basic string; JSON's escapes are TOML's, but for surrogates and the delete character."""
    return json.dumps(value.encode("utf-8", "replace").decode(), ensure_ascii=False).replace("\x7f", "\\u007f")


def inline(value: Any) -> str:
    """One value, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(_fields(value)) + " }" if value else "{}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(inline, value)) + "]"
    return repr(value)
