"""`qlint backend`: what is known of a backend, and on whose evidence; and the life of a profile, from scaffold to review."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from qlint.cli.completion import backends

NAME = Annotated[str, typer.Argument(metavar="NAME[@TARGET]", help="a name, an alias, or a path to a profile", show_default=False, autocompletion=backends)]


class Format(StrEnum):
    """Output formats."""

    text = "text"
    json = "json"


class Tool(StrEnum):
    """Tools whose configurations can be imported."""

    aimet = "aimet"
    torch = "torch"
    tpc = "tpc"
    nncf = "nncf"


FORMAT = Annotated[Format, typer.Option("--output-format", "-f", help="for people, for programs")]


class NameOrCommand(TyperGroup):
    """`qlint backend qnn-htp` is short for `qlint backend show qnn-htp`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, ...]:
        """Take what is no command for a name."""
        is_name = args[0] not in self.commands and all(one.startswith("-") for one in args[1:2])
        return super().resolve_command(ctx, ["show", *args] if is_name else args)


app = typer.Typer(name="backend", cls=NameOrCommand, invoke_without_command=True, subcommand_metavar="[NAME | COMMAND] [ARGS]...")


@app.callback()
def backend(ctx: typer.Context, output_format: FORMAT = Format.text) -> None:
    """List the backends, show what is known of one, compare two; check, start or import a profile.

    `qlint backend NAME` shows one.
    """
    if ctx.invoked_subcommand is not None:
        return
    from qlint.profile import load, names
    from qlint.report.backend import listed, table

    profiles = [load(name) for name in names()]
    if output_format is Format.json:
        _json([listed(profile) for profile in profiles])
    else:
        print(table(profiles), end="")


@app.command()
def show(name: NAME, output_format: FORMAT = Format.text) -> None:
    """Everything that a profile claims, in the order in which it is tried, with evidence."""
    from qlint.profile import load
    from qlint.report.backend import page

    profile = load(name)
    print(profile.model_dump_json(indent=2, exclude_defaults=True, by_alias=True) if output_format is Format.json else page(profile).rstrip("\n"))


@app.command()
def diff(before: NAME, after: NAME, output_format: FORMAT = Format.text) -> None:
    """What differs between two backends, targets or revisions, claim by claim.

    Exit code: 0 they claim the same, 1 they do not.
    """
    from qlint.profile import load
    from qlint.report import backend_diff

    found = backend_diff.compare(load(before), load(after))
    if output_format is Format.json:
        _json(found.to_dict())
    else:
        print(backend_diff.render(found), end="")
    raise typer.Exit(int(bool(found.changes)))


@app.command()
def validate(file: Annotated[str, typer.Argument(metavar="FILE", help="the profile to validate", show_default=False)]) -> None:
    """Read a profile in each of its targets and revisions, and say what is wrong with it."""
    from qlint.judge.kernels import Kernels
    from qlint.profile import load
    from qlint.profile.validate import unlike
    from qlint.readers.kinds import kinds
    from qlint.report.backend import evidence

    profile = load(file)
    for one in (profile, *(load(f"{file}@{overlay}") for overlay in dict.fromkeys((*profile.targets, *profile.target, *profile.revision)))):
        Kernels(one)
        for doubt in unlike(one, kinds()):
            print(f"{file}: {doubt}", file=sys.stderr)
    print(f"{file}: valid, {len(profile.kernels)} kernels, {evidence(profile)}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of profiles, for editors."""
    from qlint.profile.json_schema import json_schema

    _json(json_schema())


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="the id of the backend", show_default=False)],
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="default: NAME.toml here; - is stdout")] = None,
) -> None:
    """Write the first draft of a profile: it is valid as it stands, and says what to fill in."""
    from qlint.profile.scaffold import scaffold

    path = Path(f"{name}.toml") if output is None else output
    _write(scaffold(name), path)
    if str(path) != "-":
        print(f"{path}: written. Fill it in, then: qlint backend validate {path} · qlint check MODEL --backend {_as_name(path)}")


@app.command("import")
def import_(
    tool: Annotated[Tool, typer.Argument(help="whose file it is", show_default=False)],
    source: Annotated[str, typer.Argument(help="the file; of torch also the name of a backend that torch knows, like fbgemm", show_default=False)],
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="default: stdout")] = None,
    name: Annotated[str, typer.Option("--id", help="of the profile; default: made from the source")] = "",
) -> None:
    """Make a profile of a configuration for AIMET, PyTorch, Sony's Model Compression Toolkit or NNCF.

    What could not be carried over is said on stderr, and in the head of the profile.
    """
    from qlint.profile.importers import draft

    made = draft(tool.value, source, name)
    _write(made.to_toml(), output or Path("-"))
    if made.left:
        print("\n".join([f"{source}: not carried over:", *(f"  {sentence}" for sentence in made.left)]), file=sys.stderr)


def _write(text: str, path: Path) -> None:
    from qlint.errors import ProfileError

    if str(path) == "-":
        sys.stdout.write(text)
        return
    try:
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError as error:
        raise ProfileError("exists, and is left as it is", subject=str(path), hint="-o names another file") from error
    except OSError as error:
        raise ProfileError(f"cannot be written ({error.strerror})", subject=str(path), hint="-o names another file") from error


def _as_name(path: Path) -> str:
    """A path as `--backend` takes it for one."""
    return str(path) if str(path).endswith(".toml") or "/" in str(path) else f"./{path}"


def _json(value: object) -> None:
    import json

    print(json.dumps(value, indent=2, default=str))
