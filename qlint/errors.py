"""Errors that a user can act on: they name the file, what was found, what was expected, what to do."""

from __future__ import annotations


class QlintError(Exception):
    """Something qlint could not do. `subject` is the file, profile or rule it is about; `hint` says what to do."""

    def __init__(self, message: str, *, subject: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.subject = subject
        self.hint = hint

    def __str__(self) -> str:
        head = f"{self.subject}: {self.message}" if self.subject else self.message
        return f"{head}\n  hint: {self.hint}" if self.hint else head


class ReadError(QlintError):
    """A model file that cannot be read: damaged, of another format, or not a model."""


class ProfileError(QlintError):
    """A backend profile that is unknown or not valid."""


class RuleError(QlintError):
    """A rule or plugin that is unknown, not valid, or crashed."""
