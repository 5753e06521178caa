"""The pytest fixture `qlint_check`: a model that must pass, as a test. Nothing of qlint is imported until a test calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qlint.lint.finding import Severity
    from qlint.profile import Profile
    from qlint.report.result import Report


class Check(Protocol):
    """What the fixture is."""

    def __call__(
        self, model: object, backend: str | Profile | Iterable[str | Profile] = (), *, fail_on: Severity | None = None, fail_on_unknown: bool | None = None, **arguments: Any,
    ) -> Report:
        """Check a model under the configuration that governs it, and fail the test with what `qlint check` prints.

        Args:
            model, backend, arguments: as of `qlint.check`.
            fail_on: the lowest severity that fails the test; None: the configuration's, which is `warning` by default.
            fail_on_unknown: whether an operator of unknown placement fails it, too; None: the configuration's.
        """


@pytest.fixture(scope="session")
def qlint_check() -> Check:
    """`report = qlint_check("model.onnx", backend="qnn-htp", fail_on="error")`: fails the test if there is such a finding."""
    return _check


def _check(model: object, backend: Any = (), *, fail_on: Severity | None = None, fail_on_unknown: bool | None = None, **arguments: Any) -> Report:
    __tracebackhide__ = True
    from pathlib import Path

    import qlint
    from qlint.config import find
    from qlint.errors import QlintError

    try:
        config = arguments.pop("config", None) or find(model if isinstance(model, (str, Path)) else None)
        report = qlint.check(model, backend, config=config, **arguments)
    except QlintError as error:
        pytest.fail(f"qlint: {error}", pytrace=False)
    options = config.options
    if report.exit_code(fail_on or options.fail_on, fail_on_unknown=options.fail_on_unknown if fail_on_unknown is None else fail_on_unknown):
        told = [f"qlint: {error.model}: {error.message}" + (f"\n  hint: {error.hint}" if error.hint else "") for error in report.errors]
        pytest.fail("\n".join([*told, str(report)]), pytrace=False)
    return report
