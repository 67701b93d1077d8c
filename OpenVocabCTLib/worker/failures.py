"""What the server tells a client when something goes wrong: one sentence, an exit code and an HTTP status."""

from __future__ import annotations

import logging
import traceback
from typing import Any

from OpenVocabCTLib.errors import InputError, ModelError, OpenVocabCTError, ResourceError
from OpenVocabCTLib.memory import is_out_of_memory
from OpenVocabCTLib.worker.errors import NotEncoded, StudyMissing, WorkerRefused

BAD_REQUEST, UNAUTHORIZED, NOT_FOUND, CONFLICT = 400, 401, 404, 409
LENGTH_REQUIRED, TOO_LARGE, TOO_MANY, SERVER_ERROR, BUSY, NO_SPACE = 411, 413, 429, 500, 503, 507

_STATUS: tuple[tuple[type[OpenVocabCTError], int], ...] = (
    (WorkerRefused, UNAUTHORIZED),
    (StudyMissing, NOT_FOUND),
    (NotEncoded, CONFLICT),
    (InputError, BAD_REQUEST),
    (ResourceError, NO_SPACE),
)

_log = logging.getLogger(__name__)


class Refusal(Exception):
    """A request that is not done, with the HTTP status that says so.

    Args:
        status: HTTP status code.
        error: what the user is told.
    """

    def __init__(self, status: int, error: OpenVocabCTError) -> None:
        super().__init__(str(error))
        self.status, self.error = status, error


def refusal(error: BaseException) -> Refusal:
    """Say what any exception means for the client; unexpected ones are logged by place, without their words.

    The words of an exception may quote a prompt or a path, which do not belong into a log.
    """
    if isinstance(error, Refusal):
        return error
    told = as_told(error)
    return Refusal(next((status for kind, status in _STATUS if isinstance(told, kind)), SERVER_ERROR), told)


def as_told(error: BaseException) -> OpenVocabCTError:
    """Put any exception into one sentence."""
    if isinstance(error, OpenVocabCTError):
        return error
    if is_out_of_memory(error):
        return ResourceError("the worker is out of memory", "close other programs, choose device cpu, or crop the CT")
    if isinstance(error, ImportError):
        missing = error.name or "a package"
        return ModelError(f"the worker's Python cannot import {missing}", "install the packages of OpenVocabCT again")
    frame = traceback.extract_tb(error.__traceback__)[-1:]
    place = f"{frame[0].filename}:{frame[0].lineno}" if frame else "unknown place"
    _log.error("unexpected %s at %s", type(error).__name__, place)
    return OpenVocabCTError(
        f"unexpected {type(error).__name__} in the worker", "this is a bug; report it with the worker's log"
    )


def as_record(error: OpenVocabCTError) -> dict[str, Any]:
    """Return an error as it goes over the wire."""
    return {"what": error.what, "todo": error.todo, "exit_code": error.exit_code}
