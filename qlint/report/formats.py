"""The output formats: what each is for, and where its renderer is."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from qlint.errors import QlintError

if TYPE_CHECKING:
    from qlint.report.result import Report

# Each is a module of this package with a `render(report) -> str`; `json` is the contract itself.
FORMATS = {
    "text": "for people",
    "concise": "a line a finding, for grep",
    "json": "for programs; `qlint schema` describes it",
    "html": "a page with the graph, to look around in",
    "markdown": "for job summaries and comments",
    "github": "annotations of GitHub Actions",
    "gitlab": "GitLab's code quality report",
    "junit": "JUnit XML, for test reports",
    "sarif": "SARIF 2.1.0, for code scanning",
}


def split(wanted: str) -> tuple[str, str]:
    """(format, file) of `html=report.html`; the file is empty if none is named.

    Raises:
        QlintError: there is no such format.
    """
    name, sign, file = wanted.partition("=")
    if name not in FORMATS:
        raise QlintError(f"there is no output format {name!r}", hint=f"there are {', '.join(FORMATS)}")
    if sign and not file:
        raise QlintError(f"--output-format {wanted} names no file", hint=f"{name}=FILE, or only {name}")
    return name, file


def require(name: str) -> None:
    """Make sure, before anything is checked, that this format can be rendered.

    Raises:
        QlintError: a library is missing.
    """
    if name == "html":
        from qlint.report.drawing import library

        library()


def renderer(name: str) -> Callable[[Report], str]:
    """What makes a report of this format."""
    if name == "json":
        return lambda report: report.to_json() + "\n"
    render: Callable[[Report], str] = import_module(f"qlint.report.{name}").render
    return render
