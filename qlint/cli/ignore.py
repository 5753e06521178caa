"""`qlint check --add-ignore REASON`: accept what is found, in the file beside each model."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from qlint.errors import QlintError

if TYPE_CHECKING:
    from qlint.lint.finding import Finding
    from qlint.report.result import Report, Result


def accept(report: Report, reason: str) -> int:
    """Append to each MODEL.qlint.toml what accepts the findings on the model, and say what was added. What stands there stays as it is.

    Raises:
        QlintError: there is no reason, or a file cannot be written.
    """
    if not reason.strip():
        raise QlintError("--add-ignore wants a reason", hint='say why, e.g. --add-ignore "the post-processing on the host wants float"')
    written = 0
    for model, results in groupby(sorted(report.results, key=lambda result: result.model), key=lambda result: result.model):
        added = _tables(list(results), reason.strip())
        if added:
            written += len(added)
            print(f"{_append(model, added)}: accepts {', '.join(dict.fromkeys(str(rule) for table in added for rule in table['rules']))}")  # type: ignore[attr-defined]
    if not written:
        print("nothing to accept")
    return 2 if report.errors else 0


def _tables(results: list[Result], reason: str) -> list[dict[str, object]]:
    """One table for each rule: its nodes on all backends, or on those where it was found."""
    found: dict[str, dict[str, None]] = {}
    backends: dict[str, dict[str, None]] = {}
    for result in results:
        for finding in result.findings:
            if finding.code.startswith("QL9") and not finding.sites:
                continue  # about the settings themselves
            found.setdefault(finding.rule, {}).update(dict.fromkeys(_nodes(finding)))
            backends.setdefault(finding.rule, {})[result.backend] = None
    every = {result.backend for result in results}
    tables: list[dict[str, object]] = []
    for rule, nodes in found.items():
        here = [backend for backend in backends[rule] if backend]
        tables.append({
            "rules": [rule], **({"nodes": list(nodes)} if all(nodes) else {}), **({"backends": here} if here and set(here) != every else {}), "reason": reason,
        })  # fmt: skip
    return tables


def _nodes(finding: Finding) -> list[str]:
    """The names that the finding is about; the empty one is the model."""
    return [site.op for site in finding.sites] or [""]


def _append(model: str, tables: list[dict[str, object]]) -> str:
    import tomllib

    from qlint.config.config import sidecar, sidecar_of
    from qlint.profile.toml import dumps

    path = sidecar_of(model)
    sidecar(model)  # a file that is not valid is not made longer
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    text = before + ("\n" if before else "") + dumps({"suppress": tables}).lstrip("\n")
    tomllib.loads(text)
    try:
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise QlintError(f"cannot be written ({error.strerror})", subject=str(path), hint="suppressions stand beside the model") from error
    return str(path)
