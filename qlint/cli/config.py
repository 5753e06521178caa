"""`qlint config`: the settings that hold, and where each comes from; `qlint init`: the first ones."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qlint.cli.completion import backends, listed
from qlint.cli.settings import CONFIG, ISOLATED
from qlint.errors import QlintError

if TYPE_CHECKING:
    from qlint.config import Config

TEMPLATE = """\
# What qlint checks, and how strictly; `qlint config` shows what holds, docs/configuration.md has every key.
backend = [{backend}]  # `qlint backend` lists them
fail-on = "warning"  # the lowest severity that fails: error, warning, info

# ignore = ["QL803"]  # rules, by name, code, code prefix, category or glob
# severity = {{ missing-add-quantizer = "error" }}
# baseline = "qlint-baseline.json"  # what `qlint baseline write` found does not count
"""
EXAMPLES = """
# [[{prefix}overrides]]  # other settings for some models, nodes or operators
# models = ["exports/draft/**"]
# ignore = ["float-island"]

# [[{prefix}suppress]]  # a finding that is accepted, and why
# rules = ["unquantized-output"]
# models = ["exports/detector.onnx"]
# nodes = ["/head/*"]
# reason = "the post-processing on the host wants float"
"""


class Format(StrEnum):
    """Output formats."""

    text = "text"
    json = "json"


def config(
    model: Annotated[str | None, typer.Argument(help="of this model; without one, of the current folder", show_default=False)] = None,
    given: CONFIG = None,
    isolated: ISOLATED = False,
    schema: Annotated[bool, typer.Option("--schema", help="print the JSON Schema of a qlint.toml, for editors")] = False,
    output_format: Annotated[Format, typer.Option("--output-format", "-f", help="for people, for programs")] = Format.text,
) -> int:
    """Show the settings that hold, and where each value comes from."""
    if schema:
        from qlint.config.schema import json_schema

        print(json.dumps(json_schema(), indent=2))
        return 0
    from qlint.api import load
    from qlint.config import find
    from qlint.runner import Settings

    found = find(model, given or (), isolated=isolated)
    settings = Settings(load, config=found)
    settings.validate([] if model is None else [model])
    policy = settings.policy(model) if model is not None else None
    rows = _rows(found)
    if output_format is Format.json:
        values = {key: {"value": value, "from": origin} for key, value, origin in rows}
        told: dict[str, Any] = {"file": found.source if found.path is not None else None, "settings": values}
        if model is not None and policy is not None:
            told["model"] = {"path": model, "backend": found.backends(model), "rules": [rule.name for rule in policy.rules],
                             "suppressions": [{"what": str(one), "reason": one.reason, "from": one.source} for one in policy.suppressions]}  # fmt: skip
        print(json.dumps(told, indent=2))
        return 0
    print(f"# {f'settings of {model}' if model is not None else 'settings here'}, {f'from {found.source}' if found.path is not None else 'no configuration found'}")
    width = max(len(f"{key} = {_toml(value)}") for key, value, _ in rows if not _tables(value))
    for key, value, origin in rows:
        if not _tables(value):
            print(f"{f'{key} = {_toml(value)}':{min(width, 60)}}  # {origin}")
    for key, value, origin in rows:
        for table in value if _tables(value) else ():
            print(f"\n[[{key}]]  # {origin}")
            print("\n".join(f"{inner} = {_toml(one)}" for inner, one in table.items()))
    if policy is not None and model is not None:
        print(f"\n# {model}: {len(policy.rules)} of {len(policy.known)} rules; backend: {', '.join(found.backends(model)) or 'none'}")
        for one in policy.suppressions:
            if one.private:
                print(f"# accepted: {one}, because {one.reason or '(no reason: it accepts nothing)'} ({one.source})")
    return 0


def _rows(found: Config) -> list[tuple[str, Any, str]]:
    """(key, value, where it comes from); a table of severities has a row for each."""
    from qlint.config.config import DEFAULT

    rows: list[tuple[str, Any, str]] = []
    for key, value in found.options.model_dump(mode="json", by_alias=True).items():
        if isinstance(value, dict) and value:
            rows += [(f"{key}.{inner}", one, found.origins.get(f"{key}.{inner}", DEFAULT)) for inner, one in value.items()]
        else:
            plain = [{inner: one for inner, one in table.items() if one} for table in value] if _tables(value) else value
            rows.append((key, plain, found.origins.get(key, DEFAULT)))
    return rows


def _tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _toml(value: object) -> str:
    from qlint.profile.toml import inline

    return inline(value)


def init(
    backend: Annotated[str, typer.Option("--backend", "-b", metavar="NAMES", help="the backends to check for, with commas", autocompletion=listed(backends))] = "",
    pyproject: Annotated[bool, typer.Option("--pyproject", help="into pyproject.toml, rather than into a qlint.toml")] = False,
) -> int:
    """Write the first configuration of the current folder. What is there already is left as it is."""
    from qlint.config.file import has_table
    from qlint.profile import load

    names = [name for name in backend.split(",") if name]
    for name in names:
        load(name)
    body = TEMPLATE.format(backend=", ".join(f'"{name}"' for name in names))
    path = Path("pyproject.toml" if pyproject else "qlint.toml")
    if has_table(Path("pyproject.toml")) or Path("qlint.toml").exists():
        there = "qlint.toml" if Path("qlint.toml").exists() else "pyproject.toml"
        raise QlintError("configures qlint already, and is left as it is", subject=there, hint="`qlint config` shows what it says")
    if pyproject:
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        text = before + ("\n" if before else "") + "[tool.qlint]\n" + body + EXAMPLES.format(prefix="tool.qlint.")
    else:
        text = body + EXAMPLES.format(prefix="")
    try:
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise QlintError(f"cannot be written ({error.strerror})", subject=str(path)) from error
    print(f"{path}: written. Next: {'' if names else 'name a backend in it, then '}qlint check MODEL · qlint baseline write MODEL accepts what is there today")
    return 0


def clean(given: CONFIG = None, isolated: ISOLATED = False) -> int:
    """Remove the results that were kept."""
    from qlint import cache
    from qlint.config import find
    from qlint.report.text import count

    folder = find(None, given or (), isolated=isolated).cache or cache.default_folder()
    print(f"{folder}: {count(cache.clean(folder), 'result')} removed")
    return 0
