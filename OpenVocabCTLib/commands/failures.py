"""Turn what can go wrong into one sentence and an exit code."""

from __future__ import annotations

import errno

import typer

from OpenVocabCTLib.errors import InputError, ModelError, OpenVocabCTError, ResourceError
from OpenVocabCTLib.memory import is_out_of_memory

_FULL = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})


def usage_error(error: typer.TyperException) -> InputError:
    """Put a wrong command line into one sentence."""
    return InputError(error.format_message().rstrip("."), "see openvocabct --help, or --help after the command")


def as_user_error(error: BaseException) -> OpenVocabCTError:
    """Say what an exception means for the user; the exit code comes with it."""
    if isinstance(error, OpenVocabCTError):
        return error
    if is_out_of_memory(error):
        return ResourceError("out of memory", "close other programs, use --device cpu, or crop the CT")
    if isinstance(error, OSError):
        return _os_error(error)
    if isinstance(error, ImportError):
        return ModelError(
            f"{error.name or 'a package'} cannot be imported ({error})",
            "install it again; openvocabct doctor shows which packages are broken",
        )
    return OpenVocabCTError(
        f"unexpected {type(error).__name__} ({error})",
        "this is a bug; run again with --debug and report what it prints",
    )


def _os_error(error: OSError) -> OpenVocabCTError:
    if error.errno is None and str(error):  # as of a package whose shared library is missing
        return InputError(str(error), "openvocabct doctor checks the packages; --debug shows where it comes from")
    where = error.filename or "a file"
    if error.errno in _FULL:
        return ResourceError(f"the disk of {where} is full", "free some space or write somewhere else")
    return InputError(f"{where}: {error.strerror or type(error).__name__}", "check the path and its permissions")
