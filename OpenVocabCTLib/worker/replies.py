"""Read what a worker answers: JSON, or an error that becomes an exception again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from OpenVocabCTLib.errors import Cancelled, InputError, ModelError, OpenVocabCTError, ResourceError
from OpenVocabCTLib.worker.errors import NotEncoded, ProtocolError, StudyMissing, WorkerRefused
from OpenVocabCTLib.worker.exchange import Response

_SENTENCE_LENGTH = 500
_BY_STATUS: Mapping[int, type[OpenVocabCTError]] = {401: WorkerRefused, 404: StudyMissing, 409: NotEncoded}
_BY_EXIT_CODE: Mapping[int, type[OpenVocabCTError]] = {
    kind.exit_code: kind for kind in (InputError, ModelError, ResourceError, Cancelled)
}


def json_of(response: Response) -> dict[str, Any]:
    """Return the JSON object of a response.

    Raises:
        OpenVocabCTError: what the worker says went wrong, or that it says nothing readable.
    """
    if not 200 <= response.status < 300:
        raise error_of(response)
    return _object(response)


def records_of(reply: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the list of objects that a reply holds under a name.

    Raises:
        ProtocolError: there is none.
    """
    records = reply.get(name)
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise _unreadable()
    return records


def error_of(response: Response) -> OpenVocabCTError:
    """Return the exception that an error response stands for."""
    try:
        return failure_of(_object(response).get("error"), response.status)
    except ProtocolError:
        return ProtocolError(f"the worker answered with HTTP status {response.status}", "check the address")


def failure_of(record: object, status: object) -> OpenVocabCTError:
    """Return the exception that ``{"what", "todo", "exit_code"}`` stands for.

    Args:
        record: the error as the worker sent it.
        status: HTTP status that it came with, or that the job reports; workers of older versions report none.

    Raises:
        ProtocolError: it is no such record.
    """
    if not isinstance(record, dict) or not all(isinstance(record.get(name), str) for name in ("what", "todo")):
        raise _unreadable()
    code = record.get("exit_code")
    by_status = _BY_STATUS.get(status) if isinstance(status, int) else None
    kind = by_status or _BY_EXIT_CODE.get(code if isinstance(code, int) else 1, OpenVocabCTError)
    return kind(_one_line(record["what"]), _one_line(record["todo"]))


def _object(response: Response) -> dict[str, Any]:
    try:
        value = json.loads(response.body)
    except (ValueError, RecursionError) as error:
        raise _unreadable() from error
    if not isinstance(value, dict):
        raise _unreadable()
    return value


def _one_line(text: str) -> str:
    """Make text of another process safe to show."""
    return "".join(c if c.isprintable() else " " for c in text[:_SENTENCE_LENGTH])


def _unreadable() -> ProtocolError:
    return ProtocolError("the worker's answer cannot be read", "check that client and worker have the same version")
