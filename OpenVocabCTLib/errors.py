"""Errors that a user sees: one sentence saying what is wrong and what to do."""

from __future__ import annotations


class OpenVocabCTError(Exception):
    """Base of every error meant for the user.

    Args:
        what: what is wrong, without patient data.
        todo: what to do about it.
    """

    exit_code = 1

    def __init__(self, what: str, todo: str) -> None:
        super().__init__(f"{what}: {todo}")
        self.what = what
        self.todo = todo

    def __reduce__(self) -> tuple[type[OpenVocabCTError], tuple[str, str]]:
        """Keep both parts on the way from one process to another."""
        return type(self), (self.what, self.todo)


class InputError(OpenVocabCTError):
    """Bad usage, or input that is not a CT volume in Hounsfield units."""

    exit_code = 2


class ModelError(OpenVocabCTError):
    """A model or its weights are missing, damaged or do not fit."""

    exit_code = 3


class ResourceError(OpenVocabCTError):
    """Out of memory or disk."""

    exit_code = 4


class Cancelled(OpenVocabCTError):
    """The user stopped the work; nothing was written."""

    exit_code = 130
