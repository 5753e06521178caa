"""The reference pages of docs/: one for each rule and each backend, and their indexes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial
from pathlib import Path

from bites import Bite, Search

from qlint.judge.verdict import SEVERITY, Consequence, weakest
from qlint.lint import registry
from qlint.lint.rule import Rule
from qlint.profile import Profile, load, names
from qlint.report.backend import bases, overlays, page
from qlint.report.backend import evidence as counted

SHOWN = 6  # kernels and pieces of evidence that a cell names
FIXES = {
    "safe": ("`--fix`, the numbers stay", "`qlint check --fix` mends it, and the numbers stay as they are."),
    "unsafe": ("`--fix --unsafe-fixes`", "`qlint check --fix --unsafe-fixes` mends it; the numbers change, and the report says by how much."),
    "display": ("by hand", "The finding says what to do; qlint does not do it."),
}


def pages(docs: Path) -> dict[Path, Callable[[], str]]:
    """Every page below docs/rules and docs/backends, and what writes it."""
    known = registry.load(plugins=False).rules
    reference = Reference(known, [load(name) for name in names()])
    return {
        docs / "rules/index.md": lambda: rules_index(known, reference.by_rule),
        docs / "backends/index.md": lambda: backends_index(reference.profiles),
        **{docs / f"rules/{rule.name}.md": partial(reference.rule, rule) for rule in known},
        **{docs / f"backends/{profile.id}.md": partial(reference.backend, profile) for profile in reference.profiles},
    }


class Reference:
    """Rules, backends, and which of the former bite on which of the latter: looked for once, when somebody asks."""

    def __init__(self, known: list[Rule], profiles: list[Profile]) -> None:
        self.known, self.profiles = known, profiles

    @cached_property
    def bites(self) -> dict[str, list[Bite]]:
        """By backend."""
        search = Search(self.known)
        return {profile.id: list(search.bites(profile)) for profile in self.profiles}

    @cached_property
    def by_rule(self) -> dict[str, dict[str, list[Bite]]]:
        """By rule, then by backend."""
        return {rule.name: {backend: mine for backend, bites in self.bites.items() if (mine := [bite for bite in bites if bite.rule == rule.name])} for rule in self.known}

    def rule(self, rule: Rule) -> str:
        return rule_page(rule, self.by_rule[rule.name], self.profiles, {one.name for one in self.known})

    def backend(self, profile: Profile) -> str:
        return backend_page(profile, self.bites[profile.id], self.known)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; a cell's own bars are escaped."""
    lines = [list(head), *(list(row) for row in rows)]
    told = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]
    return "\n".join([told[0], "|" + "---|" * len(lines[0]), *told[1:]])


def some(values: Iterable[str]) -> str:
    """The first few of some values, and how many more there are."""
    each = list(dict.fromkeys(values))
    return ", ".join(each[:SHOWN]) + (f" … ({len(each) - SHOWN} more)" if len(each) > SHOWN else "")


# -- rules ------------------------------------------------------------------------------------------------------


def consequences(rule: Rule, bites: dict[str, list[Bite]]) -> list[Consequence]:
    """What may follow, the worst first: of what a backend misses, and of what the rule sees by itself."""
    found = {bite.consequence for mine in bites.values() for bite in mine} | ({rule.consequence} if rule.checks or rule.proofs or rule.audits else set())
    return [one for one in SEVERITY if one in found]


def rules_index(known: list[Rule], bites: dict[str, dict[str, list[Bite]]]) -> str:
    """All rules, then the same by consequence and by what can be done."""
    rows = [
        (f"[{rule.code}]({rule.name}.md)", f"[{rule.name}]({rule.name}.md)", rule.title, ", ".join(consequences(rule, bites[rule.name])) or "the backend's", FIXES[rule.applicability][0])
        for rule in known
    ]
    parts = ["# Rules", f"{len(known)} rules. `qlint rule NAME` prints the page of one; names and codes are accepted everywhere.", "## By category"]
    for category in dict.fromkeys(rule.category for rule in known):
        parts += [f"### {category}", table(("code", "name", "what it finds", "consequence", "fix"), (row for rule, row in zip(known, rows, strict=True) if rule.category == category))]
    parts += ["## By consequence", "What may happen if nothing is done. Which of it does depends on the backend."]
    for consequence in SEVERITY:
        mine = [rule for rule in known if consequence in consequences(rule, bites[rule.name])]
        parts += [f"### {consequence}", CONSEQUENCES[consequence], linked(mine)] if mine else []
    parts += ["## By fix"]
    for applicability, (_, meaning) in FIXES.items():
        parts += [f"### {applicability}", meaning, linked(rule for rule in known if rule.applicability == applicability)]
    return "\n\n".join(parts) + "\n"


CONSEQUENCES: dict[Consequence, str] = {
    "refused": "The backend does not load the model, or not this operator where it has nothing to fall back to. An error.",
    "wrong": "It runs in integer, with other numbers than were trained or simulated. An error.",
    "cpu": "The operator leaves the accelerator. A warning.",
    "float": "It runs on the target, not in integer arithmetic. A warning.",
    "unknown": "Nobody has established what happens. A note.",
    "slow": "It runs in integer, with extra work. A note.",
    "note": "It runs in integer; worth knowing. A note, unless the rule says otherwise.",
}


def linked(rules: Iterable[Rule]) -> str:
    """Links to rules, with their codes."""
    return " ·\n".join(f"[{rule.name}]({rule.name}.md) {rule.code}" for rule in rules)


def rule_page(rule: Rule, bites: dict[str, list[Bite]], profiles: list[Profile], known: set[str]) -> str:
    """A rule's own page, and the backends it bites on."""
    doc = rule.doc.strip().partition("\n")
    body = re.sub(r"\[([a-z-]+)\](?!\()", lambda match: f"[{match[1]}]({match[1]}.md)" if match[1] in known else match[0], doc[2].strip())
    facts = [
        ("code", f"`{rule.code}`"), ("category", rule.category), ("since", rule.since + (", in preview" if rule.preview else "")),
        ("consequence", ", ".join(consequences(rule, bites)) or "the backend's"), ("fix", FIXES[rule.applicability][0]),
    ]  # fmt: skip
    return f"# {rule.name}\n\n{doc[0]}\n\n{table((name for name, _ in facts), [(value for _, value in facts)])}\n\n{body}\n\n## Backends\n\n{_bites(rule, bites, profiles)}\n"


def _bites(rule: Rule, bites: dict[str, list[Bite]], profiles: list[Profile]) -> str:
    said = []
    if rule.audits:
        said.append("About the settings, not about a model: the same for every backend.")
    if rule.checks:
        said.append("The model alone shows it" + (", and no backend has to be named." if not rule.unasked else "; asked only if no backend is named, as a backend that is says itself whether it minds."))
    if rule.proofs:
        which = [f"[{profile.id}](../backends/{profile.id}.md)" for profile in profiles if profile.arithmetic is not None]
        said.append(f"Proved for backends whose profile says how they compute: {', '.join(which)}.")
    if bites:
        rows = [_row(profile, bites[profile.id]) for profile in profiles if profile.id in bites]
        said.append("Backends with a claim that this rule explains where a model does not meet it, as they are without a target or revision:")
        said.append(table(("backend", "what happens", "kernels", "evidence"), rows))
    elif rule.selectors:
        said.append("With every backend: it takes the place of other findings, where this is their cause.")
    return "\n\n".join(said)


def _row(profile: Profile, bites: list[Bite]) -> Iterator[str]:
    yield f"[{profile.id}](../backends/{profile.id}.md)"
    yield ", ".join(one for one in SEVERITY if any(bite.consequence == one for bite in bites))
    kernels = [f"`{bite.kernel}`" for bite in bites if bite.kernel]
    yield some(kernels) if kernels else "all"
    refs = list(dict.fromkeys(ref for bite in bites for ref in bite.evidence))
    kind = weakest(tuple(profile.evidence[ref] for ref in refs)) if refs else "the profile's list of kernels"
    yield some(f"{profile.evidence[ref].kind}: {ref}" for ref in refs) if refs else kind


# -- backends -----------------------------------------------------------------------------------------------------


def backends_index(profiles: list[Profile]) -> str:
    """All backends: what each is, what it reads, and on how much evidence its profile rests."""
    rows = [
        (f"[{p.id}]({p.id}.md)", p.title, p.vendor, ", ".join(f"**{name}**" if name == p.default_target else name for name in overlays(p)), ", ".join((*p.ingests, *p.converts)), counted(p))
        for p in profiles
    ]
    return (
        "# Backends\n\nWhat qlint judges for, and on whose evidence. `qlint backend NAME` prints the page of one, "
        "`qlint backend diff A B` holds two against each other. The target in force without an `@` is in bold.\n\n"
        f"{table(('backend', 'what it is', 'vendor', 'targets and revisions', 'reads', 'evidence'), rows)}\n\n"
        "Measured: asked of the real backend, and asked again by `make oracles`. Source: read in its code. Documented: its maker says so. "
        "Inferred: follows from one of these. A profile of your own is [a TOML file](../profiles.md).\n"
    )


def backend_page(profile: Profile, bites: list[Bite], known: list[Rule]) -> str:
    """Every claim, and the rules that speak where a model does not meet one."""
    head, *sections = re.split(r"\n\n(?=\S)", page(profile).rstrip("\n"))
    first, _, facts = head.partition("\n")
    counts = bases(profile)
    parts = [f"# {profile.id}", first.partition(" · ")[2] + ".", _code(facts)]
    for section in sections:
        title, _, body = section.partition("\n")
        parts.append(f"## {title[0].upper()}{title[1:]}")
        parts += _kernels(body) if title.startswith("kernels") else [_code(body)]
    speaks = [(rule, mine) for rule in known if (mine := [bite for bite in bites if bite.rule == rule.name])]
    if speaks and counts:
        rows = [(f"[{rule.name}](../rules/{rule.name}.md) {rule.code}", ", ".join(one for one in SEVERITY if any(bite.consequence == one for bite in mine)), some(f"`{bite.kernel}`" for bite in mine if bite.kernel) or "all") for rule, mine in speaks]
        parts += ["## Rules that say what it misses", table(("rule", "what happens", "kernels"), rows)]
    return "\n\n".join(parts) + "\n"


def _kernels(body: str) -> Iterator[str]:
    """A heading for each kernel, so that it can be linked to, and what it says."""
    for kernel in re.split(r"\n\n", body.strip("\n")):
        told, _, rest = kernel.strip("\n").partition("\n")
        name, _, what = told.strip().partition(": ")
        yield f"### {name}"
        yield _code(f"{what}\n{rest}" if rest else what)


def _code(text: str) -> str:
    lines = text.strip("\n").split("\n")
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join(["```text", *(line[margin:] if line[:margin].isspace() or not margin else line for line in lines), "```"])
