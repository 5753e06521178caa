"""SARIF 2.1.0 (OASIS Standard), for code scanning.

A run is one backend, so that uploads about different backends do not replace each other; a result is one finding, with
a location for each site. An operator is a logical location of the kind `node`. Services that know only files are told
the first line of the model, as GitHub requires a region (GitHub Docs, SARIF support for code scanning). What a suppression
accepts is there with its reason; with a baseline, every result says whether it is new, unchanged or absent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from qlint.graph import Op
from qlint.lint import registry
from qlint.lint.baseline import Entry
from qlint.lint.finding import Finding, Site
from qlint.lint.policy import STATED
from qlint.lint.rule import Rule
from qlint.lint.words import port, value
from qlint.report.place import uri
from qlint.report.result import Failure, Report, Result
from qlint.report.text import notes
from qlint.version import __version__

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LEVELS = {"error": "error", "warning": "warning", "info": "note"}
ROOT = "%SRCROOT%"  # of the repository, as GitHub calls it
TEXT = 1024  # characters of a description that GitHub keeps
LOCATIONS = 100  # of a result that GitHub keeps
REGION = {"startLine": 1, "startColumn": 1, "endLine": 1, "endColumn": 2}  # of a file that has no lines
GRAPHS = 3  # sites whose neighbours are drawn

Json = dict[str, Any]


def render(report: Report) -> str:
    """A SARIF log with a run for each backend."""
    by_backend: dict[str, list[Result]] = {}
    for result in report.results:
        by_backend.setdefault(result.target, []).append(result)
    known = {rule.name: rule for rule in registry.load().rules}
    runs = [_run(target, results, report, known) for target, results in (by_backend or {"": []}).items()]
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": runs}, indent=2, ensure_ascii=False) + "\n"


def _run(target: str, results: list[Result], report: Report, known: dict[str, Rule]) -> Json:
    failures = report.errors
    gone = [entry for entry in report.gone if entry.backend == target]
    compared = bool(report.gone) or any(finding.suppressed is not None and finding.suppressed.by == "baseline" for finding in report.suppressed)
    models = list(dict.fromkeys([*(result.model for result in results), *(failure.model for failure in failures if failure.model)]))
    artifacts = {model: number for number, model in enumerate(models)}
    found = [(result, finding) for result in results for finding in (*result.findings, *result.suppressed)]
    codes = {finding.code: finding for _, finding in sorted(found, key=lambda pair: pair[1].code)}
    rules = {code: number for number, code in enumerate(codes)}
    return {
        "tool": {"driver": {
            "name": "qlint", "fullName": f"qlint {__version__}", "version": __version__, "semanticVersion": __version__,
            "rules": [_rule(finding, known.get(finding.rule)) for finding in codes.values()],
        }},
        "automationDetails": {"id": f"qlint/{target}/" if target else "qlint/"},
        "invocations": [{"executionSuccessful": not failures, "toolExecutionNotifications": [_notification(one, artifacts) for one in failures]}],
        "originalUriBaseIds": {ROOT: {"description": {"text": "the folder in which qlint ran"}}},
        "artifacts": [{"location": _file(model), "roles": ["analysisTarget"]} for model in models],
        "columnKind": "unicodeCodePoints",
        "results": [
            *(_result(result, finding, rules[finding.code], artifacts[result.model], compared=compared) for result, finding in found),
            *(_absent(entry, known.get(entry.rule)) for entry in gone),
        ],
        "properties": {"models": [_summary(result) for result in results]},
    }  # fmt: skip


def _summary(result: Result) -> Json:
    return {"model": result.model, "outcome": result.outcome, "reasons": result.reasons, "summary": result.summary.to_dict()}


def _rule(finding: Finding, rule: Rule | None) -> Json:
    """The page of a rule; of one that is not installed here, what the finding tells of it."""
    if rule is None:
        title = page = finding.rule
        tags = []
    else:
        title, page, tags = rule.title, rule.doc.strip(), [rule.category]
    what = page.partition("## What it does")[2].partition("\n## ")[0]
    return {
        "id": finding.code,
        "name": finding.rule,
        "shortDescription": {"text": _short(title)},
        "fullDescription": {"text": _short(" ".join(what.split()) or title)},
        "help": {"text": page, "markdown": page},
        "properties": {"precision": "high", "tags": ["quantization", *tags]},
    }


def _absent(entry: Entry, rule: Rule | None) -> Json:
    """What the baseline has, and is no longer there."""
    return {
        "ruleId": rule.code if rule is not None else entry.rule,
        "level": LEVELS[entry.severity],
        "message": {"text": _escaped(f"no longer there: {entry.line}")},
        "locations": [{"physicalLocation": {"artifactLocation": _file(entry.model), "region": REGION}}],
        "partialFingerprints": {"primaryLocationLineHash": f"{entry.fingerprint}:1", "qlint/structure/v1": entry.fingerprint},
        "baselineState": "absent",
    }


def _result(result: Result, finding: Finding, rule: int, artifact: int, *, compared: bool) -> Json:
    told = [f"{finding.subject}: {finding.message}.", *(f"{note[:1].upper()}{note[1:]}." for note in notes(finding))]
    made: Json = {
        "ruleId": finding.code,
        "ruleIndex": rule,
        "level": LEVELS[finding.severity],
        "message": {"text": _escaped(" ".join(told))},
        "locations": [_location(result, artifact, site) for site in finding.sites[:LOCATIONS]] or [_location(result, artifact, None)],
        # GitHub knows one fingerprint by name; the others are for tools that compare two logs.
        "partialFingerprints": {
            "primaryLocationLineHash": f"{finding.fingerprint}:1",
            "qlint/structure/v1": finding.fingerprint,
            "qlint/names/v1": "|".join(sorted({f"{site.op}.{site.port}" for site in finding.sites}))[:TEXT],
        },
        "properties": {
            "consequence": finding.consequence,
            "evidence": [one.model_dump(exclude_defaults=True) for one in finding.evidence],
            "sites": [{"op": site.op, "port": site.port, "tensor": site.tensor, "fingerprint": site.fingerprint} for site in finding.sites],
        },
    }  # fmt: skip
    accepted = finding.suppressed
    if compared:
        made["baselineState"] = "unchanged" if accepted is not None and accepted.by == "baseline" else "new"
    if accepted is not None and accepted.by == "suppression":
        stated = accepted.source == STATED
        file = _file(result.model) if stated else {"uri": uri(accepted.source)}
        kind = "inSource" if stated else "external"
        made["suppressions"] = [{"kind": kind, "justification": accepted.reason, "location": {"physicalLocation": {"artifactLocation": file}}}]
    if finding.drags:
        made["relatedLocations"] = [
            {"id": number, "message": {"text": "affected, too"}, "logicalLocations": [_node(result, name, "node")]}
            for number, name in enumerate(finding.drags[:LOCATIONS])
        ]
    if graphs := list(_graphs(result, finding)):
        made["graphs"] = graphs
    return made


def _location(result: Result, artifact: int, site: Site | None) -> Json:
    place: Json = {
        "physicalLocation": {
            "artifactLocation": {**_file(result.model), "index": artifact},
            "region": REGION,
        }
    }
    if site is not None:
        place["logicalLocations"] = [_node(result, site.op, "tensor" if site.kind == "tensor" else "node")]
        where = f"{port([site.port])}: " if site.port else ""
        place["message"] = {"text": _escaped(f"{where}found {value(site.found)}, wanted {value(site.wanted)}")}
    return place


def _node(result: Result, name: str, kind: str) -> Json:
    return {"name": name, "fullyQualifiedName": f"{result.model}::{name}", "kind": kind}


def _file(model: str) -> Json:
    where = uri(model)
    return {"uri": where} if where.startswith("file:") else {"uri": where, "uriBaseId": ROOT}


def _notification(failure: Failure, artifacts: dict[str, int]) -> Json:
    told: Json = {"level": "error", "message": {"text": _escaped(" ".join(part for part in (f"{failure.message}.", failure.hint) if part))}}
    if failure.model:
        told["locations"] = [{"physicalLocation": {"artifactLocation": {**_file(failure.model), "index": artifacts[failure.model]}}}]
    return told


def _graphs(result: Result, finding: Finding) -> Iterator[Json]:
    """Each of the first sites with the operators next to it."""
    model = result.canonical
    if model is None:
        return
    wanted = list(dict.fromkeys(site.op for site in finding.sites))[:GRAPHS]
    ops: dict[str, Op] = {op.label: op for op in reversed(list(model.walk()))} if wanted else {}
    yield from (_neighbourhood(result, ops[name]) for name in wanted if name in ops)


def _neighbourhood(result: Result, op: Op) -> Json:
    """An operator, who makes its inputs, who reads its outputs, and the tensors between them."""
    nodes: dict[object, Json] = {}
    edges: list[Json] = []

    def node(key: object, label: str, about: Op | None) -> str:
        made = nodes.setdefault(key, {"id": f"n{len(nodes)}", **_drawn(result, label, about)})
        return str(made["id"])

    def edge(source: str, target: str, *texts: object) -> None:
        label = {"text": _escaped(", ".join(map(str, texts)))}
        edges.append({"id": f"e{len(edges)}", "sourceNodeId": source, "targetNodeId": target, "label": label})

    center = node(id(op), op.label, op)
    for role, use in op.uses.items():
        made = use.tensor.producer
        source = node(id(made), made.label, made) if made is not None else node(id(use.tensor), use.tensor.name, None)
        edge(source, center, role, *use.quantizers)
    for tensor in op.outputs:
        for use in tensor.uses:
            if use.kind != "dead":
                target = node(id(use.op), use.op.label, use.op) if use.op is not None else node(id(use), use.name, None)
                edge(center, target, use.role or "output", *use.quantizers)
    return {"description": {"text": _escaped(f"the neighbours of {op.label}")}, "nodes": list(nodes.values()), "edges": edges}


def _drawn(result: Result, label: str, op: Op | None) -> Json:
    made: Json = {"label": {"text": _escaped(label)}}
    if op is not None:
        made["location"] = {"logicalLocations": [_node(result, label, "node")]}
        verdict = result.verdict
        made["properties"] = {"kind": op.kind, **({"placement": verdict.where(op)} if verdict is not None else {})}
    return made


def _short(text: str) -> str:
    return text if len(text) <= TEXT else f"{text[: TEXT - 1]}…"


def _escaped(text: str) -> str:
    """Plain text in which braces make no placeholder and brackets no link (SARIF 3.11.5 and 3.11.6)."""
    return text.replace("\\", "\\\\").replace("{", "{{").replace("}", "}}").replace("](", "] (")
