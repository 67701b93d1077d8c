"""Which request does what; `server` lists them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.worker.bodies import (
    read_job_id,
    read_model,
    read_object,
    read_prompts,
    read_report_text,
    read_texts,
)
from OpenVocabCTLib.worker.engine import Engine
from OpenVocabCTLib.worker.errors import StudyMissing
from OpenVocabCTLib.worker.failures import TOO_LARGE, Refusal
from OpenVocabCTLib.worker.knowledge import findings_report, models_report, prompts_report, vocabulary_report
from OpenVocabCTLib.worker.protocol import VOLUME_HEADER, VolumeHeader

MAX_JSON_BYTES = 1 << 20
_READ_BYTES = 1 << 20

Reply = tuple[int, "dict[str, Any] | bytes"]


class Call(Protocol):
    """What a route sees of an HTTP request."""

    def header(self, name: str) -> str:
        """A header, "" where it is missing."""

    def body_size(self) -> int:
        """Declared size of the body; raises `Refusal` when it is missing or wrong."""

    def read_into(self, buffer: memoryview) -> None:
        """Fill a buffer from the body; raises `ConnectionError` when it ends early."""

    def still_there(self) -> bool:
        """Whether the client still waits."""


@dataclass(frozen=True)
class Routes:
    """Answers requests.

    Attributes:
        engine: does the work.
    """

    engine: Engine

    def find(self, method: str, path: str) -> Callable[[Call], Reply]:
        """Return what answers a request.

        Raises:
            Refusal: there is no such path (404), or it does not know the method (405).
        """
        known = False
        for pattern, methods in _ROUTES:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            known = True
            if method in methods:
                handler, names = methods[method], match.groupdict()
                return lambda call: handler(self, call, **names)
        if known:
            raise Refusal(405, InputError(f"this path does not know {method[:10]}", "see the protocol"))
        raise Refusal(404, InputError("there is no such path", "see the protocol"))

    def status(self, call: Call) -> Reply:
        """Describe the worker; asking does not keep it from going idle."""
        return 200, self.engine.status()

    def vocabulary(self, call: Call) -> Reply:
        """List phrases."""
        return 200, vocabulary_report(self.engine.models.default[0])

    def models(self, call: Call) -> Reply:
        """List models."""
        return 200, models_report()

    def prompts(self, call: Call) -> Reply:
        """Say how texts are understood."""
        return 200, prompts_report(read_texts(_json(call)), self.engine.models.default[0])

    def report(self, call: Call) -> Reply:
        """Say what a radiology report asks to segment."""
        return 200, findings_report(read_report_text(_json(call)))

    def free(self, call: Call) -> Reply:
        """Free all memory."""
        self.engine.free()
        return 200, {}

    def study(self, call: Call, key: str) -> Reply:
        """Say what is known of a volume."""
        self.engine.touch()
        return 200, self.engine.study_report(key)

    def drop(self, call: Call, key: str) -> Reply:
        """Forget a volume."""
        self.engine.studies.drop(key)
        return 200, {}

    def upload(self, call: Call, key: str) -> Reply:
        """Take a volume in; nothing of it is kept unless all of it is right."""
        self.engine.touch()
        size = call.body_size()
        header = VolumeHeader.from_json(call.header(VOLUME_HEADER))
        limit = self.engine.studies.limits.upload_bytes
        if max(size, header.nbytes) > limit:
            told = InputError(
                f"the volume has {max(size, header.nbytes) / 1e9:.3g} GB, the worker accepts {limit / 1e9:.3g} GB",
                "crop it, or start the worker with a larger --max-upload-gb",
            )
            raise Refusal(TOO_LARGE, told)
        if size != header.nbytes:
            raise InputError(f"the volume has {size} bytes, its header {header.nbytes}", "send it again")
        if _has(self.engine, key):
            return 200, self.engine.study_report(key)
        with self.engine.studies.reserve(size):
            voxels: Any = np.empty(size, np.uint8)
            digest = header.start_key()
            view = memoryview(voxels)
            for start in range(0, size, _READ_BYTES):
                piece = view[start : start + _READ_BYTES]
                call.read_into(piece)
                digest.update(piece)
            if digest.hexdigest() != key:
                raise InputError("the volume changed on the way or while it was sent", "send it again")
            self.engine.keep(key, header, voxels)
        return 201, self.engine.study_report(key)

    def encode(self, call: Call, key: str) -> Reply:
        """Ask for an image pass."""
        self.engine.touch()
        body = _json(call)
        texts = read_texts(body) if "texts" in body else None
        return 202, self.engine.encode(key, *read_model(body), read_job_id(body), texts).report()

    def answers(self, call: Call, key: str) -> Reply:
        """Answer prompts."""
        self.engine.touch()
        body = _json(call)
        return 200, self.engine.answer(key, read_prompts(body), *read_model(body), call.still_there)

    def job(self, call: Call, job: str) -> Reply:
        """Say how far an image pass is."""
        self.engine.touch()
        return 200, self.engine.jobs.get(job).report()

    def cancel(self, call: Call, job: str) -> Reply:
        """Stop an image pass."""
        return 200, self.engine.jobs.cancel(job).report()


_Handler = Callable[..., Reply]
_KEY, _JOB = r"(?P<key>[0-9a-f]{64})", r"(?P<job>[0-9a-f]{32})"
# Paths are matched as they come: nothing is decoded, joined or looked up on a disk.
_ROUTES: tuple[tuple[re.Pattern[str], dict[str, _Handler]], ...] = tuple(
    (re.compile(path), methods)
    for path, methods in (
        (r"/v1/status", {"GET": Routes.status}),
        (r"/v1/vocabulary", {"GET": Routes.vocabulary}),
        (r"/v1/models", {"GET": Routes.models}),
        (r"/v1/prompts", {"POST": Routes.prompts}),
        (r"/v1/reports", {"POST": Routes.report}),
        (r"/v1/studies", {"DELETE": Routes.free}),
        (rf"/v1/studies/{_KEY}", {"GET": Routes.study, "PUT": Routes.upload, "DELETE": Routes.drop}),
        (rf"/v1/studies/{_KEY}/encode", {"POST": Routes.encode}),
        (rf"/v1/studies/{_KEY}/answers", {"POST": Routes.answers}),
        (rf"/v1/jobs/{_JOB}", {"GET": Routes.job, "DELETE": Routes.cancel}),
    )
)


def _json(call: Call) -> dict[str, Any]:
    size = call.body_size()
    if size > MAX_JSON_BYTES:
        raise Refusal(TOO_LARGE, InputError(f"the request has {size} bytes", f"send at most {MAX_JSON_BYTES}"))
    data = bytearray(size)
    call.read_into(memoryview(data))
    return read_object(bytes(data))


def _has(engine: Engine, key: str) -> bool:
    try:
        engine.studies.get(key)
    except StudyMissing:
        return False
    return True
