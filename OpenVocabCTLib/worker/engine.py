"""What the worker does, without HTTP: keep volumes, run image passes, answer prompts."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from OpenVocabCTLib import __version__
from OpenVocabCTLib.errors import Cancelled
from OpenVocabCTLib.worker.errors import NotEncoded
from OpenVocabCTLib.worker.failures import as_told
from OpenVocabCTLib.worker.jobs import Job, JobQueue, new_job_id
from OpenVocabCTLib.worker.loading import ModelKeeper, give_back_memory, warm_up
from OpenVocabCTLib.worker.packing import Packer
from OpenVocabCTLib.worker.protocol import PROTOCOL_VERSION, PromptRequest, VolumeHeader
from OpenVocabCTLib.worker.studies import Limits, ModelId, StudyStore

if TYPE_CHECKING:
    from OpenVocabCTLib.commands.services import LoadedModel
    from OpenVocabCTLib.inference import Study

_log = logging.getLogger(__name__)


class Engine:
    """Owns models, volumes and jobs; safe to use from many threads, and no question about its state ever waits.

    Args:
        load_model: loads a model by name or folder on a device.
        limits: how much it keeps.
        default: model and device of requests that name none.
        idle_seconds: after so long without a request all memory is freed; never if 0.
    """

    def __init__(
        self,
        load_model: Callable[[str | None, str], LoadedModel],
        limits: Limits | None = None,
        default: ModelId = (None, "auto"),
        idle_seconds: float = 0.0,
    ) -> None:
        self.studies = StudyStore(limits or Limits())
        self.models = ModelKeeper(load_model, default, self.studies.drop_model)
        self.jobs = JobQueue(self._encode, self._after)
        # One set of answers at a time: more would need more memory and be no faster.
        self._answering = threading.Lock()
        self._idle_seconds = idle_seconds
        self._last_use = time.monotonic()
        self._stopped = threading.Event()
        self._loading: threading.Thread | None = None
        if idle_seconds > 0:
            threading.Thread(target=self._watch_idleness, name="idleness", daemon=True).start()

    def touch(self) -> None:
        """Note that somebody needs the worker."""
        self._last_use = time.monotonic()

    def status(self) -> dict[str, Any]:
        """Describe the worker, without anything about patients."""
        return {
            "protocol": PROTOCOL_VERSION,
            "version": __version__,
            "pid": os.getpid(),
            "model": self.models.report(),
            "studies": self.studies.report(),
            "bytes": self.studies.bytes,
            "busy": self.jobs.busy,
        }

    def study_report(self, key: str) -> dict[str, Any]:
        """Say what is known of a volume.

        Raises:
            StudyMissing: it is not here.
        """
        kept = self.studies.get(key)
        return {"encoded": bool(kept.encoded), "notes": list(kept.volume.notes)}

    def keep(self, key: str, header: VolumeHeader, voxels: np.ndarray) -> None:
        """Check a volume and keep it.

        Args:
            key: its key, already compared with the voxels.
            header: describes the voxels.
            voxels: bytes as they came over the wire.

        Raises:
            InputError: it is no CT in HU.
        """
        from OpenVocabCTLib.volume import CTVolume

        array = voxels.view(header.wire_dtype).reshape(header.geometry.shape)
        self.studies.put(key, CTVolume.from_array(array, header.geometry))

    def encode(
        self,
        key: str,
        model: str | None,
        device: str,
        job_id: str | None = None,
        texts: Sequence[str] | None = None,
    ) -> Job:
        """Ask for an image pass; it is done at once when it is there.

        Args:
            key: of the volume.
            model: name or folder; None is the default.
            device: where the model runs.
            job_id: chosen by the client.
            texts: what will be asked; None is anything.

        Raises:
            StudyMissing: the volume is not here.
            Refusal: too many jobs wait, or the id is taken.
        """
        wanted = None if texts is None else tuple(texts)
        job = Job(key, self.models.identify(model, device), job_id or new_job_id(), wanted)
        study = self._study(key, job.model)
        if study is not None and study.is_ready_for(wanted):
            job.finish("done")
            self.jobs.remember(job)
            return job
        self.studies.pin(key)
        try:
            self.jobs.submit(job)
        except BaseException:
            self.studies.unpin(key)
            raise
        return job

    def answer(
        self,
        key: str,
        prompts: Sequence[PromptRequest],
        model: str | None,
        device: str,
        wanted: Callable[[], bool] = lambda: True,
    ) -> bytes:
        """Answer prompts on an encoded volume.

        Args:
            key: of the volume.
            prompts: what to segment.
            model: name or folder; None is the default.
            device: where the model runs.
            wanted: asked between two prompts; False stops.

        Returns:
            The packed segmentation.

        Raises:
            StudyMissing: the volume is not here.
            NotEncoded: it has no image pass of this model.
            InputError: a prompt is empty or a threshold is no probability.
            Cancelled: the answer is not wanted any more.
        """
        from OpenVocabCTLib.prompts import PromptSet

        study = self._study(key, self.models.identify(model, device))
        parsed = PromptSet.parse([prompt.text for prompt in prompts])
        if study is None or not study.is_ready_for(parsed):
            raise NotEncoded("this volume has no image pass with this model", "ask for the image pass first")
        with self._answering:
            packer = Packer()
            stream = study.stream(parsed, [prompt.threshold for prompt in prompts])
            for segment in stream.segments:
                packer.add(segment)
                if not wanted():
                    raise Cancelled("stopped", "nothing was written")
            self.touch()
            return packer.finish(study.volume.geometry, stream.notes)

    def free(self) -> None:
        """Drop volumes, embeddings and models; a job that runs ends without a result."""
        self.studies.clear()
        self.models.clear()
        give_back_memory()

    def preload(self) -> None:
        """Load the default model in the background, so that the first image pass need not wait for it."""
        self._loading = threading.Thread(target=self._preload, name="loading", daemon=True)
        self._loading.start()

    def stop(self, timeout: float = 2.0) -> bool:
        """Cancel all jobs; return whether the one in work ended in time, and no model is being loaded in advance."""
        self._stopped.set()
        ended = self.jobs.stop(timeout)
        return ended and not (self._loading is not None and self._loading.is_alive())

    def _study(self, key: str, model: ModelId) -> Study | None:
        self.models.find(model)  # now the one used last
        return self.studies.study(key, model)

    def _preload(self) -> None:
        try:
            self.models.load(self.models.default)
            warm_up()
        except Exception as error:  # noqa: BLE001 the first image pass runs into the same and tells the client
            _log.warning("the model was not loaded in advance: %s", as_told(error).what)

    def _encode(self, job: Job) -> None:
        study = self.studies.study(job.key, job.model)  # another job may have done the same meanwhile
        if study is None:
            job.state = "loading"
            loaded = self.models.load(job.model)
            job.stop_here()
            volume = self.studies.get(job.key).volume
            job.state = "running"
            study = loaded.segmenter.encode(volume, progress=job.progress)
        job.state = "running"
        study.prepare(job.texts, job.progress)
        self.studies.add(job.key, job.model, study)

    def _after(self, job: Job) -> None:
        self.studies.unpin(job.key)
        self.touch()

    def _watch_idleness(self) -> None:
        while not self._stopped.wait(min(self._idle_seconds / 4, 15.0)):
            idle = time.monotonic() - self._last_use
            if idle > self._idle_seconds and not self.jobs.busy and (len(self.studies) or self.models.report()):
                self.free()
