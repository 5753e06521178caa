"""Fill in the generated parts of docs/: what commands print, the rules, the backends, the JSON Schema.

    python tools/docs.py
"""

from __future__ import annotations

import inspect
import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CHECKOUT = ("qlint", "rules", "profiles", "tests/zoo")


def pages() -> dict[Path, str]:
    """Every generated file, and what belongs in it."""
    import reference

    import qlint
    from qlint.config.schema import json_schema as settings_schema
    from qlint.profile.json_schema import json_schema
    from qlint.report.comparison import Comparison

    docs = ROOT / "docs"
    return {
        docs / "report.schema.json": schema(qlint.Report.json_schema()),
        docs / "comparison.schema.json": schema(Comparison.json_schema()),
        docs / "profile.schema.json": schema(json_schema()),
        docs / "configuration.schema.json": schema(settings_schema()),
        **reference.pages(docs),
        docs / "catalogue.md": catalogue(),
        docs / "algorithms.md": algorithms(),
        **{path: played(text) for path, text in written(docs) if "```console" in text},
    }


def written(docs: Path) -> Iterator[tuple[Path, str]]:
    """The pages that people write."""
    return ((path, path.read_text(encoding="utf-8")) for path in sorted([*docs.glob("*.md"), *docs.glob("tutorials/*.md")]))


def schema(made: dict[str, Any]) -> str:
    """A JSON Schema as its file holds it."""
    return json.dumps(made, indent=2) + "\n"


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that can go wrong with a quantized network, and the rules that find it, or why none does."""

    id: str
    what: str
    rules: tuple[str, ...]
    remark: str


CATALOGUE = {
    r"[A-Z]\d+": ("Graphs and grids", "113 defects that compilers, runtimes and their users know: well-formedness (G), configuration of quantizers (Q), "
                  "where they stand (I), fusion (F), numbers (N), requantization (R), operators (O), algorithms (A) and formats (D)."),
    r"\d+": ("From training to deployment", "42 ways in which a network that was trained with quantizers fails when it is deployed (MQBench, arXiv 2111.03759, and its users)."),
}  # fmt: skip


def catalogue_rows() -> list[Row]:
    """The rows of docs/catalogue.tsv."""
    lines = (ROOT / "docs/catalogue.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return [Row(name, what, tuple(filter(None, rules.split(", "))), remark) for name, what, rules, remark in (line.split("\t") for line in lines)]


def catalogue() -> str:
    """Everything that is known to go wrong, each with its rule or the reason why there is none."""
    from qlint.lint import registry

    codes = {rule.name: rule.code for rule in registry.load(plugins=False).rules}
    page = "# The catalogue\n\nWhat is known to go wrong with quantized networks, and the rule that finds it, or why none does.\n"
    for pattern, (title, about) in CATALOGUE.items():
        rows = [row for row in catalogue_rows() if re.fullmatch(pattern, row.id)]
        cells = [(row.id, row.what, ", ".join([f"[{name}](rules/{name}.md) {codes[name]}" for name in row.rules]) or "none", row.remark) for row in rows]
        table = "\n".join(["| | what can go wrong | rules | |", "|---|---|---|---|", *(f"| {' | '.join(cell)} |" for cell in cells)])
        page += f"\n## {title}\n\n{about}\n\n{table}\n"
    return page


def algorithms() -> str:
    """What qlint knows of training algorithms: the docstrings of their classes, behind what may be seen of them."""
    from qlint.passes import trained
    from qlint.passes.algorithms import ALGORITHMS

    pages = []
    for algorithm in sorted(ALGORITHMS, key=lambda one: one.name.lower()):
        signs = [("the class of a module", algorithm.classes), ("names of parameters", algorithm.parameters), ("what is computed", algorithm.forms)]
        seen = ", ".join(sign for sign, there in signs if there) or "an offset beside the signs of LSQ"
        text = inspect.cleandoc(algorithm.__doc__ or "").partition("\n")
        formula = re.sub(r"(?:^ {4}.*\n?)+", lambda match: f"```text\n{textwrap.dedent(match[0]).rstrip()}\n```\n", text[2].strip("\n"), flags=re.MULTILINE)
        pages.append(f"\n## {algorithm.name}\n\n{text[0]} Seen by {seen}.\n\n{formula.strip()}\n")
    intro = inspect.cleandoc(trained.__doc__ or "").partition("\n\n")[2]
    return f"# Training algorithms\n\n{intro}\nThe header line of a report names the algorithm: `LSQ, W4 per-tensor, A4 per-tensor`.\n{''.join(pages)}"


def played(text: str) -> str:
    """A page with the output of its commands, run in a copy of the checkout.

    A block that names a file is added to that file first, so that what the commands below it print is
    what happens when one follows the page.
    """
    with tempfile.TemporaryDirectory(prefix="qlint-docs-") as folder:
        root = Path(folder)
        for name in CHECKOUT:
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        return FENCE.sub(lambda match: _play(match, root), text)


def _play(match: re.Match[str], root: Path) -> str:
    language, name, body = match.groups()
    if name:
        with (root / name).open("a", encoding="utf-8") as file:
            file.write(f"\n{body}" if (root / name).stat().st_size else body)
    if language != "console":
        return match[0]
    lines = [line for command in commands(body) for line in (f"$ {command}", *_run(command, root))]
    return "\n".join(["```console", *lines, "```"])


def commands(body: str) -> Iterator[str]:
    """The lines of a console block that somebody types."""
    return (line[2:] for line in body.splitlines() if line.startswith("$ "))


def _run(command: str, root: Path) -> list[str]:
    program, *arguments = shlex.split(command)
    assert program == "qlint", f"{command!r}: pages call qlint only"
    done = subprocess.run([sys.executable, "-m", "qlint", *arguments], cwd=root, capture_output=True, text=True, check=False, encoding="utf-8")
    return (done.stderr + done.stdout).rstrip().splitlines()


def main() -> None:
    made = pages()
    for folder in (ROOT / "docs/rules", ROOT / "docs/backends"):
        folder.mkdir(exist_ok=True)
        for gone in set(folder.glob("*.md")) - set(made):
            gone.unlink()
    for path, text in made.items():
        path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
