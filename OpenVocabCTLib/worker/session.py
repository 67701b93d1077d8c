"""From a volume and prompts to a segmentation, whatever has to be done first: start, upload, image pass, answer."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from OpenVocabCTLib.output.segmentation import Segmentation
from OpenVocabCTLib.worker.announcing import check_protocol
from OpenVocabCTLib.worker.client import StepwiseClient
from OpenVocabCTLib.worker.errors import NotEncoded, StudyMissing, WorkerLost
from OpenVocabCTLib.worker.protocol import Address, PromptRequest, VolumeHeader, content_key_steps
from OpenVocabCTLib.worker.steps import Progress, Steps
from OpenVocabCTLib.worker.stepwise import STATUS_SECONDS

START_SECONDS = 180.0
_REMEMBERED = 32
# Several clients can push each other's volumes out of a worker that keeps few.
_TRIES = 8

T = TypeVar("T")


class Worker(Protocol):
    """What a session needs of a `WorkerProcess`."""

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""

    def address(self) -> Address | None:
        """Where it listens, None while it is starting; raises `WorkerLost` when it has ended."""

    def lost(self) -> WorkerLost:
        """One sentence on how it ended."""

    def stop(self, timeout: float = 3.0) -> None:
        """End it."""


class Session:
    """A connection to one worker, which is started when it is first needed, and anew after it died.

    Args:
        worker: starts a worker on this machine, or the address of one that runs elsewhere.
    """

    def __init__(self, worker: Callable[[], Worker] | Address) -> None:
        self._source = worker
        self._worker: Worker | None = None
        self._client: StepwiseClient | None = None
        self._keys: OrderedDict[Hashable, str] = OrderedDict()
        self._encoded: OrderedDict[tuple[str, str | None, str], None] = OrderedDict()

    def segment(
        self,
        volume: tuple[VolumeHeader, np.ndarray],
        prompts: Sequence[PromptRequest],
        model: str | None = None,
        device: str = "auto",
        revision: Hashable | None = None,
    ) -> Steps[Segmentation]:
        """Answer prompts on a volume.

        Args:
            volume: header and voxels (K, J, I) in HU; the voxels must not change meanwhile.
            prompts: what to segment, one segment each.
            model: name or folder, as the worker knows it; None is its default.
            device: "auto", "cpu", "cuda", "cuda:N" or "mps".
            revision: changes whenever voxels or grid do; with it a second call need not hash the voxels again.

        Raises:
            WorkerLost: the worker died meanwhile; the next call starts a new one.
            Cancelled: Cancelled was thrown into the steps, or another client stopped the image pass.
            OpenVocabCTError: what the worker found wrong.
        """
        return self._with_client(lambda client: self._segment(client, volume, prompts, model, device, revision))

    def status(self) -> Steps[dict[str, Any]]:
        """What the worker says of itself; starts it when there is none, and spares one that is too busy to say."""
        return self._with_client(lambda client: client.status(), is_patient=True)

    def vocabulary(self) -> Steps[list[dict[str, Any]]]:
        """Every phrase that is understood: ``{"phrase", "name", "trained"}``."""
        return self._with_client(lambda client: client.vocabulary())

    def models(self) -> Steps[list[dict[str, Any]]]:
        """The models that the worker can load."""
        return self._with_client(lambda client: client.models())

    def prompts(self, texts: Sequence[str]) -> Steps[dict[str, Any]]:
        """How texts are understood."""
        return self._with_client(lambda client: client.prompts(texts))

    def report(self, text: str) -> Steps[dict[str, Any]]:
        """What a radiology report finds, and what to segment to see it."""
        return self._with_client(lambda client: client.report(text))

    def free(self) -> Steps[None]:
        """Have the worker free its memory; nothing is started for it."""
        self._encoded.clear()
        if self._worker is not None and not self._worker.alive:
            self._drop()
        if self._client is not None:
            yield from self._with_client(lambda client: client.free())

    @property
    def running(self) -> bool:
        """Whether a worker is known to be there."""
        return self._client is not None and (self._worker is None or self._worker.alive)

    def close(self, timeout: float = 0.0) -> None:
        """End the worker that this session started; the session can be used again.

        Args:
            timeout: seconds to wait for its end; by default it is told to end and not waited for.
        """
        worker = self._worker
        self._drop()
        if worker is not None:
            worker.stop(timeout)

    def _with_client(self, ask: Callable[[StepwiseClient], Steps[T]], is_patient: bool = False) -> Steps[T]:
        try:
            client = yield from self._ready()
            return (yield from ask(client))
        except WorkerLost as error:
            worker, is_known = self._worker, self._client is not None
            is_alive = worker is not None and (yield from _still_alive(worker))
            if is_patient and is_known and is_alive:
                raise  # others may wait for what it is busy with
            if self._worker is worker:
                self._drop()
            if worker is None:
                raise
            worker.stop(0)
            raise (error if is_alive else worker.lost()) from error

    def _ready(self) -> Steps[StepwiseClient]:
        """Return a client of a live worker whose protocol is ours."""
        if self._worker is not None and not self._worker.alive:
            self.close()
        if self._client is not None:
            return self._client
        # A worker that is starting imports torch and may not get round to answering; when it dies, this ends too.
        silence = STATUS_SECONDS if isinstance(self._source, Address) else START_SECONDS
        client = StepwiseClient((yield from self._address()))
        status = yield from client.status(silence)
        check_protocol(status.get("protocol"))
        self._client = client
        return client

    def _address(self) -> Steps[Address]:
        if isinstance(self._source, Address):
            return self._source
        if self._worker is None:
            yield Progress("starting")
            self._worker = self._source()
        end = time.monotonic() + START_SECONDS
        while (address := self._worker.address()) is None:
            if time.monotonic() > end:
                raise WorkerLost(f"the worker did not start within {START_SECONDS:.0f} s", "try again")
            yield None
        return address

    def _segment(
        self,
        client: StepwiseClient,
        volume: tuple[VolumeHeader, np.ndarray],
        prompts: Sequence[PromptRequest],
        model: str | None,
        device: str,
        revision: Hashable | None,
    ) -> Steps[Segmentation]:
        header, array = volume
        key = yield from self._key(header, array, revision)
        encoded = (key, model, device)
        for _ in range(_TRIES):
            try:
                if encoded not in self._encoded:
                    if not (yield from client.has_study(key)):
                        yield from client.upload(key, header, array)
                    yield from client.encode(key, model, device, [prompt.text for prompt in prompts])
                segmentation = yield from client.answer(key, header.geometry, prompts, model, device)
                _remember(self._encoded, encoded, None)
                return segmentation
            except (StudyMissing, NotEncoded) as error:
                # The worker was idle, other volumes needed its memory between two of our requests, or these prompts
                # need a network of the model that earlier ones did not.
                self._encoded.pop(encoded, None)
                forgotten = error
        raise forgotten

    def _key(self, header: VolumeHeader, array: np.ndarray, revision: Hashable | None) -> Steps[str]:
        if revision is None:
            return (yield from content_key_steps(header, array))
        known = (header, revision)
        if known not in self._keys:
            _remember(self._keys, known, (yield from content_key_steps(header, array)))
        return self._keys[known]

    def _drop(self) -> None:
        self._worker = self._client = None
        self._encoded.clear()


def _remember(memory: OrderedDict[Any, Any], key: Hashable, value: Any) -> None:
    memory[key] = value
    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)


def _still_alive(worker: Worker) -> Steps[bool]:
    """Say whether a worker whose connection broke lives; the system may take a moment to notice its death."""
    end = time.monotonic() + 0.5
    while worker.alive and time.monotonic() < end:
        yield None
    return worker.alive
