"""Ask a worker in steps, for interfaces that must stay alive meanwhile."""

from __future__ import annotations

import json
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from OpenVocabCTLib.errors import Cancelled, InputError, OpenVocabCTError
from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.output.segmentation import Segmentation
from OpenVocabCTLib.worker.errors import ProtocolError, StudyMissing
from OpenVocabCTLib.worker.exchange import Request, Response, exchange
from OpenVocabCTLib.worker.protocol import (
    VOLUME_HEADER,
    Address,
    PromptRequest,
    VolumeHeader,
    slabs,
    unpack_steps,
)
from OpenVocabCTLib.worker.replies import error_of, failure_of, json_of, records_of
from OpenVocabCTLib.worker.steps import Progress, Stage, Steps

ANSWER_SECONDS = 1800.0
STATUS_SECONDS = 10.0
_CANCEL_SECONDS = 2.0
_PARTING_SECONDS = 0.04
_FIRST_POLL_SECONDS, _LAST_POLL_SECONDS = 0.01, 0.2
_STAGES: Mapping[str, Stage] = {"queued": "waiting", "loading": "loading", "running": "encoding"}


class StepwiseClient:
    """Asks a worker; every method returns steps, which an interface drives between two events.

    All raise `WorkerLost` when the worker does not answer, and what the worker itself raised otherwise.

    Args:
        address: where the worker listens.
    """

    def __init__(self, address: Address) -> None:
        self.address = address

    def status(self, silence: float = STATUS_SECONDS) -> Steps[dict[str, Any]]:
        """Protocol, version, process, model and memory of the worker.

        Args:
            silence: seconds that it may take.
        """
        return self._json("GET", "/v1/status", silence=silence)

    def vocabulary(self) -> Steps[list[dict[str, Any]]]:
        """Every phrase that is understood: ``{"phrase", "name", "trained"}``."""
        reply = yield from self._json("GET", "/v1/vocabulary")
        return records_of(reply, "phrases")

    def models(self) -> Steps[list[dict[str, Any]]]:
        """The models that the worker can load."""
        reply = yield from self._json("GET", "/v1/models")
        return records_of(reply, "models")

    def prompts(self, texts: Sequence[str]) -> Steps[dict[str, Any]]:
        """How texts are understood; the dictionary of ``openvocabct prompts --json``."""
        return self._json("POST", "/v1/prompts", {"texts": list(texts)})

    def report(self, text: str) -> Steps[dict[str, Any]]:
        """What a radiology report finds, and what to segment to see it: ``{"prompts", "findings"}``."""
        return self._json("POST", "/v1/reports", {"report": text})

    def study(self, key: str) -> Steps[dict[str, Any] | None]:
        """What the worker knows of a volume: ``{"encoded", "notes"}``, None when it has it not."""
        try:
            return (yield from self._json("GET", f"/v1/studies/{key}"))
        except StudyMissing:
            return None

    def has_study(self, key: str) -> Steps[bool]:
        """Whether the worker keeps a volume."""
        return (yield from self.study(key)) is not None

    def upload(self, key: str, header: VolumeHeader, array: np.ndarray) -> Steps[None]:
        """Send a volume.

        Args:
            key: its `content_key`.
            header: describes the array.
            array: voxels (K, J, I) in HU.

        Raises:
            InputError: it is no CT in HU, too large, or does not have this key.
        """
        total = header.nbytes
        request = Request(
            "PUT",
            f"/v1/studies/{key}",
            {VOLUME_HEADER: header.to_json(), "Content-Type": "application/octet-stream"},
            slabs(header, array),
            total,
            lambda sent: Progress("uploading", sent, total),
        )
        json_of((yield from exchange(self.address, request)))

    def encode(
        self, key: str, model: str | None = None, device: str = "auto", texts: Sequence[str] | None = None
    ) -> Steps[None]:
        """Have the image pass done, if it is not there already; cancelling stops it after the tile in work.

        Args:
            key: of an uploaded volume.
            model: name or folder, as the worker knows it; None is its default.
            device: "auto", "cpu", "cuda", "cuda:N" or "mps".
            texts: what will be asked; a model of several networks then runs those that this needs, else all.

        Raises:
            Cancelled: it was cancelled, by this client or another.
            StudyMissing: the worker does not have the volume.
        """
        # Chosen here: a job can then be cancelled before the worker has said that it exists.
        job = secrets.token_hex(16)
        wanted: dict[str, Any] = {"model": model, "device": device, "job": job}
        if texts is not None:
            wanted["texts"] = list(texts)
        accepted = False
        try:
            reply = yield from self._json("POST", f"/v1/studies/{key}/encode", wanted)
            accepted = True
            if reply.get("state") == "done":
                return
            yield from self._follow(job)
        except Cancelled:
            with suppress(OpenVocabCTError):  # cancelled is what the caller wants to hear
                yield from self._cancel(job, accepted)
            raise
        except GeneratorExit:
            self._cancel_without_waiting(job)
            raise

    def answer(
        self,
        key: str,
        geometry: Geometry,
        prompts: Sequence[PromptRequest],
        model: str | None = None,
        device: str = "auto",
    ) -> Steps[Segmentation]:
        """Answer prompts on an encoded volume, one segment each, in their order.

        Args:
            key: of an encoded volume.
            geometry: its grid; the answer must lie on it.
            prompts: what to segment.
            model: as for `encode`.
            device: as for `encode`.

        Raises:
            InputError: a prompt is empty or a threshold is no probability.
            StudyMissing: the worker does not have the volume.
            NotEncoded: it was not encoded with this model on this device.
        """
        wanted = {
            "prompts": [{"text": prompt.text, "threshold": prompt.threshold} for prompt in prompts],
            "model": model,
            "device": device,
        }
        yield Progress("answering", 0, len(prompts))
        response = yield from self._exchange("POST", f"/v1/studies/{key}/answers", wanted, silence=ANSWER_SECONDS)
        if response.status != 200:
            raise error_of(response)
        segmentation = yield from unpack_steps(response.body, geometry)
        if len(segmentation) != len(prompts):
            raise ProtocolError("the worker answered other prompts than asked", "restart the worker")
        return segmentation

    def forget(self, key: str) -> Steps[None]:
        """Have one volume dropped."""
        yield from self._json("DELETE", f"/v1/studies/{key}")

    def free(self) -> Steps[None]:
        """Have all memory freed: volumes, embeddings and models."""
        yield from self._json("DELETE", "/v1/studies")

    def _follow(self, job: str) -> Steps[None]:
        pause = _FIRST_POLL_SECONDS
        while True:
            reply = yield from self._json("GET", f"/v1/jobs/{job}", silence=30.0)
            state = reply.get("state")
            if state == "done":
                return
            if state in ("failed", "cancelled"):
                raise failure_of(reply.get("error"), reply.get("status"))
            yield _job_progress(reply)
            yield from _pause(pause)
            pause = min(pause * 1.5, _LAST_POLL_SECONDS)

    def _cancel(self, job: str, accepted: bool) -> Steps[None]:
        end = time.monotonic() + _CANCEL_SECONDS
        while True:
            try:
                yield from self._json("DELETE", f"/v1/jobs/{job}", silence=_CANCEL_SECONDS)
                return
            except StudyMissing:
                # The request that makes the job may still be on its way.
                if accepted or time.monotonic() > end - _CANCEL_SECONDS / 2:
                    return
            yield from _pause(0.05)

    def _cancel_without_waiting(self, job: str) -> None:
        """Tell the worker in the only way left when a generator is closed: at once, and never mind the answer."""
        if self.address.tls:
            return
        head = f"DELETE /v1/jobs/{job} HTTP/1.1\r\nHost: worker\r\nAuthorization: Bearer {self.address.token}\r\n\r\n"
        with (
            suppress(OSError),
            socket.create_connection((self.address.host, self.address.port), _PARTING_SECONDS) as connection,
        ):
            connection.sendall(head.encode("ascii"))

    def _json(self, method: str, path: str, value: Any = None, silence: float = 60.0) -> Steps[dict[str, Any]]:
        return json_of((yield from self._exchange(method, path, value, silence)))

    def _exchange(self, method: str, path: str, value: Any, silence: float) -> Steps[Response]:
        body = b"" if value is None else _encoded(value)
        headers = {"Content-Type": "application/json"}
        return exchange(self.address, Request(method, path, headers, iter((body,)), len(body), silence=silence))


def _job_progress(reply: Mapping[str, Any]) -> Progress:
    done, total = (value if isinstance(value, int) else 0 for value in (reply.get("done"), reply.get("total")))
    return Progress(_STAGES.get(str(reply.get("state")), "waiting"), done, total)


def _pause(seconds: float) -> Steps[None]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield None


def _encoded(value: object) -> bytes:
    try:
        return json.dumps(value, allow_nan=False).encode()
    except ValueError as error:
        raise InputError("a threshold is no number", "give a number between 0 and 1") from error
