"""What a configuration may say, as data; the JSON Schema for editors is made from it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from qlint.lint.finding import Severity


def _listed(value: object) -> object:
    """One name stands for a list of it."""
    return [value] if isinstance(value, str) else value


def _kebab(name: str) -> str:
    return name.replace("_", "-")


Strings = Annotated[tuple[str, ...], BeforeValidator(_listed, json_schema_input_type=str | list[str])]


class Table(BaseModel):
    """A table of the file: keys are written with hyphens, and no other key is allowed."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=_kebab, defer_build=True)


class Places(Table):
    """Where something holds: every list that is given must match."""

    nodes: Strings = Field((), description="globs of names of nodes")
    ops: Strings = Field((), description="kinds (conv) or native names (Conv, CONV_2D) of operators, or globs of them")


class OverrideTable(Places):
    """Other settings for some models, nodes or operators."""

    models: Strings = Field((), description="globs of model files, relative to the configuration; without a slash they match names in any folder")
    select: Strings = Field((), description="only these rules")
    ignore: Strings = Field((), description="not these rules")
    extend_select: Strings = Field((), description="these rules too")
    severity: dict[str, Severity] = Field({}, description="error, warning or info, by rule")
    backend: Strings = Field((), description="hold these models against these backends instead; not with nodes or ops")


class SuppressTable(Places):
    """Findings that somebody accepts, and why. Without a reason nothing is accepted."""

    rules: Strings = Field(description="names, codes, code prefixes, categories or globs of rules")
    backends: Strings = Field((), description="only on these backends")
    reason: str = Field("", description="why; mandatory")


class SharedSuppressTable(SuppressTable):
    """Findings that somebody accepts in some or all models, and why."""

    models: Strings = Field((), description="globs of model files, relative to the configuration; without a slash they match names in any folder")


class Sidecar(Table):
    """The file MODEL.qlint.toml beside a model."""

    suppress: tuple[SuppressTable, ...] = Field((), description="findings that are accepted in this model")


class Options(Table):
    """A qlint.toml, or the table [tool.qlint] of a pyproject.toml."""

    backend: Strings = Field((), description="hold models against these: NAME[@TARGET|@REVISION], or paths to profiles")
    select: Strings = Field((), description="only these rules: names, codes, code prefixes, categories, globs")
    ignore: Strings = Field((), description="not these rules")
    extend_select: Strings = Field((), description="these rules too, e.g. ones in preview")
    severity: dict[str, Severity] = Field({}, description="error, warning or info, by rule")
    fail_on: Severity = Field("warning", description="lowest severity that makes the exit code 1")
    fail_on_unknown: bool = Field(False, description="an op of unknown placement makes the exit code 1, too")
    fallback: bool = Field(True, description="false judges as if the backends had nothing to fall back to")
    exclude: Strings = Field((), description="globs of files that are left out of folders and patterns")
    baseline: str = Field("", description="the file of the baseline: what is in it does not count")
    rules: Strings = Field((), description="files or folders with rules of your own")
    cache: bool = Field(True, description="keep results, and use them while nothing has changed")
    cache_dir: str = Field("", description="where; by default in the user's own cache folder")
    overrides: tuple[OverrideTable, ...] = Field((), description="other settings for some models, nodes or operators; the last one wins")
    suppress: tuple[SharedSuppressTable, ...] = Field((), description="findings that are accepted, and why")


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a qlint.toml."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Options.model_json_schema(mode="validation")}
