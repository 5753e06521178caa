"""What the shell completes: commands, options, and names of backends and rules, which are found in names of files.

The shell's script calls `qlint __complete`, which `qlint.cli.main` hands over before anything is parsed: signatures tell what a
command takes, and neither a profile nor a rule is loaded.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum, StrEnum
from typing import Annotated, Any, get_args, get_type_hints

import typer
from typer.models import OptionInfo

# bash ends words where it likes ($COMP_WORDBREAKS), so it sends the line; the others send words. Without an answer each completes files.
SCRIPTS = {
    "bash": r"""
_qlint_completion() {
    local IFS=$'\n'
    COMPREPLY=( $(qlint __complete bash "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null) )
}
complete -o default -F _qlint_completion qlint
""",
    "zsh": r"""
#compdef qlint
_qlint_completion() {
    local -a found
    found=("${(@f)$(qlint __complete zsh "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "$found" ]]; then compadd -a found; else _files; fi
}
compdef _qlint_completion qlint
""",
    "fish": r"""
function __qlint_complete
    set --local words (commandline --tokenize --cut-at-cursor) (commandline --current-token --cut-at-cursor)
    set --local found (qlint __complete fish $words[2..-1] 2>/dev/null)
    if set --query found[1]
        string join \n -- $found
    else
        __fish_complete_path $words[-1]
    end
end
complete --command qlint --no-files --arguments "(__qlint_complete)"
""",
}


class Shell(StrEnum):
    """Shells that have a script."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


def completion(shell: Annotated[Shell, typer.Argument(help="bash, zsh or fish", metavar="SHELL", show_default=False)]) -> None:
    """Print what makes a shell complete commands, options, backends and rules, e.g. for `eval "$(qlint completion bash)"` in ~/.bashrc."""
    print(SCRIPTS[shell].strip())


def main(shell: str, words: Sequence[str]) -> None:
    """Answer a shell: one candidate a line. The last word is the one that is completed; of bash it is the line and its word breaks."""
    from qlint.cli.app import app

    cut = 0
    if shell == "bash":
        line, breaks = words
        words = line.split(" ")[1:]
        begun = words[-1] if words else ""
        cut = max((begun.rfind(sign) + 1 for sign in breaks if sign in "@=:"), default=0)  # bash completes what is behind the last one
    sys.stdout.write("".join(f"{one[cut:]}\n" for one in offered(app, list(words))))


def offered(app: typer.Typer, words: list[str]) -> list[str]:
    """What can stand in place of the last word, which has been begun or is empty."""
    *before, begun = words or [""]
    callback: Callable[..., Any] | None = None
    names = _commands(app)
    while before and (below := names.get(before[0])) is not None:
        before, names, callback = before[1:], below if isinstance(below, dict) else {}, None if isinstance(below, dict) else below
    options, arguments = _parameters(callback) if callback is not None else ({}, [])
    last = before[-1] if before else ""
    if (values := options.get(last)) is not None:
        found: Iterable[str] = values(begun)
    elif begun.startswith("-"):
        found = [*options, "--help"]
    elif callback is None:
        found = names if not before else ()
    else:
        found = [one for values in arguments for one in values(begun)]
    return [one for one in found if one.startswith(begun)]


Values = Callable[[str], list[str]]


def _commands(app: typer.Typer) -> dict[str, Any]:
    """Commands by name: their functions, or the same of a group."""
    groups = {str(group.typer_instance.info.name): _commands(group.typer_instance) for group in app.registered_groups if group.typer_instance is not None}
    return {one.name or one.callback.__name__.replace("_", "-"): one.callback for one in app.registered_commands if one.callback is not None} | groups


def _parameters(callback: Callable[..., Any]) -> tuple[dict[str, Values | None], list[Values]]:
    """Options with what completes their values (None of a flag), and what completes the arguments."""
    options: dict[str, Values | None] = {}
    arguments: list[Values] = []
    for name, hint in get_type_hints(callback, include_extras=True).items():
        kind, *told = get_args(hint) if hasattr(hint, "__metadata__") else (hint,)
        for info in told:
            values: Values = info.autocompletion or _choices(kind)
            if not isinstance(info, OptionInfo):
                arguments.append(values)
            elif not info.hidden:
                named = [one for one in (info.default, *(info.param_decls or ())) if isinstance(one, str) and one.startswith("-")]  # in an Annotated the first is the default
                written = [one for declared in named or [f"--{name.replace('_', '-')}"] for one in declared.split("/")]
                options |= dict.fromkeys(written, None if kind is bool else values)
    return options, arguments


def _choices(kind: Any) -> Values:
    """The members of an enumeration; nothing of anything else."""
    choices = [str(member.value) for one in (kind, *get_args(kind)) if isinstance(one, type) and issubclass(one, Enum) for member in one]
    return lambda begun: choices


def listed(names: Callable[[str], Iterable[str]]) -> Callable[[str], list[str]]:
    """The same for an option that takes several with commas: the last one is completed."""

    def complete(begun: str) -> list[str]:
        before, comma, last = begun.rpartition(",")
        return [f"{before}{comma}{name}" for name in names(last)]

    return complete


def backends(begun: str) -> list[str]:
    """Backends; behind an @ the targets and revisions of one."""
    name, at, overlay = begun.partition("@")
    if not at:
        return [one for one in _stems("profiles", ".toml") if one.startswith(name)]
    return [f"{name}@{one}" for one in _overlays(name) if one.startswith(overlay)]


def _overlays(name: str) -> Iterator[str]:
    import tomllib

    try:
        with open(os.path.join(_folder("profiles"), f"{name}.toml"), "rb") as file:
            told = tomllib.load(file)
    except (OSError, ValueError):
        return
    yield from dict.fromkeys((*told.get("targets", ()), *told.get("target", ()), *told.get("revision", ())))


def rules(begun: str) -> list[str]:
    """Rules by name, or by code once a code is begun."""
    stems = _stems("rules", ".py")
    if not begun[:1].isupper():
        return [name for stem in stems if (name := stem.replace("_", "-")).startswith(begun)]
    return sorted(code for stem in stems for code in _codes(stem) if code.startswith(begun))


def _codes(stem: str) -> list[str]:
    with open(os.path.join(_folder("rules"), f"{stem}.py"), encoding="utf-8") as file:
        return re.findall(r'^    code="(\w+)"', file.read(), re.MULTILINE)


def _stems(package: str, suffix: str) -> list[str]:
    return sorted(name.removesuffix(suffix) for name in os.listdir(_folder(package)) if name.endswith(suffix) and not name.startswith("_"))


def _folder(package: str) -> str:
    import qlint

    return next(folder for root in qlint.__path__ if os.path.isdir(folder := os.path.join(root, package)))
