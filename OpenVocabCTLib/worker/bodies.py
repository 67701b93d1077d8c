"""The JSON that clients send, checked before anything is done with it."""

from __future__ import annotations

import json
import re
from typing import Any

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.worker.protocol import MAX_PROMPT_LENGTH, MAX_PROMPTS, MAX_REPORT_LENGTH, PromptRequest

_JOB_ID = re.compile(r"[0-9a-f]{32}")
_NAME_LENGTH = 1000
_TODO = "send it as the protocol says"


def read_object(data: bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InputError: it is something else.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError("the request is not valid JSON", _TODO) from error
    if not isinstance(value, dict):
        raise InputError("the request is no JSON object", _TODO)
    return value


def read_model(body: dict[str, Any]) -> tuple[str | None, str]:
    """Return model and device of a request; (None, "auto") is the default."""
    model, device = body.get("model"), body.get("device", "auto")
    return None if model is None else _text(model, "model", _NAME_LENGTH), _text(device, "device", _NAME_LENGTH)


def read_job_id(body: dict[str, Any]) -> str | None:
    """Return the id that the client chose for its job, None when it left that open."""
    job = body.get("job")
    if job is None:
        return None
    if not isinstance(job, str) or not _JOB_ID.fullmatch(job):
        raise InputError("the id of the job is not 32 hexadecimal digits", _TODO)
    return job


def read_texts(body: dict[str, Any]) -> list[str]:
    """Return the prompts of ``{"texts": [...]}``."""
    return [_text(text, "prompt", MAX_PROMPT_LENGTH) for text in _items(body.get("texts"))]


def read_report_text(body: dict[str, Any]) -> str:
    """Return the report of ``{"report": "..."}``."""
    return _text(body.get("report"), "report", MAX_REPORT_LENGTH)


def read_prompts(body: dict[str, Any]) -> list[PromptRequest]:
    """Return the prompts of ``{"prompts": [{"text", "threshold"}, ...]}``."""
    return [_prompt(item) for item in _items(body.get("prompts"))]


def _prompt(item: object) -> PromptRequest:
    if not isinstance(item, dict):
        raise InputError("a prompt is no JSON object", _TODO)
    threshold = item.get("threshold")
    if threshold is not None:
        if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 < threshold < 1:
            raise InputError("a threshold is no probability", "give a number between 0 and 1")
        threshold = float(threshold)
    return PromptRequest(_text(item.get("text"), "prompt", MAX_PROMPT_LENGTH), threshold)


def _items(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise InputError("the prompts are no list", _TODO)
    if not 1 <= len(value) <= MAX_PROMPTS:
        raise InputError(f"there are {len(value)} prompts", f"ask 1 to {MAX_PROMPTS} at a time")
    return value


def _text(value: object, what: str, length: int) -> str:
    if not isinstance(value, str):
        raise InputError(f"a {what} is not text", _TODO)
    if len(value) > length:
        raise InputError(f"a {what} has more than {length} characters", "make it shorter")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:  # half of a surrogate pair
        raise InputError(f"a {what} has characters that no text has", "type it again") from error
    return value
