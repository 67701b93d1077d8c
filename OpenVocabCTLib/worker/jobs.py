"""Image passes, one at a time, each of which can be watched and stopped."""

from __future__ import annotations

import logging
import queue
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from OpenVocabCTLib.errors import Cancelled, OpenVocabCTError
from OpenVocabCTLib.worker.errors import StudyMissing
from OpenVocabCTLib.worker.failures import TOO_MANY, Refusal, as_record, as_told, refusal
from OpenVocabCTLib.worker.studies import ModelId

State = Literal["queued", "loading", "running", "done", "failed", "cancelled"]
ENDED: frozenset[State] = frozenset({"done", "failed", "cancelled"})

_log = logging.getLogger(__name__)


def new_job_id() -> str:
    """Return 32 random hexadecimal digits."""
    return secrets.token_hex(16)


@dataclass
class Job:
    """One image pass.

    Attributes:
        key: the volume.
        model: the model.
        id: 32 hexadecimal digits.
        texts: what will be asked, None for anything; a model of several networks runs what that needs.
        state: where it is.
        done: tiles done.
        total: tiles in all, 0 while unknown.
        error: why it failed.
        cancelled: set to stop it.
    """

    key: str
    model: ModelId
    id: str = field(default_factory=new_job_id)
    texts: tuple[str, ...] | None = None
    state: State = "queued"
    done: int = 0
    total: int = 0
    error: OpenVocabCTError | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None

    def progress(self, done: int, total: int) -> bool:
        """Note the progress of an image pass; False, which stops it, when it was cancelled."""
        self.done, self.total = done, total
        return not self.cancelled.is_set()

    def stop_here(self) -> None:
        """Raise `Cancelled` when it was cancelled."""
        if self.cancelled.is_set():
            raise Cancelled("stopped", "nothing was written; start again when you like")

    def finish(self, state: State, error: OpenVocabCTError | None = None) -> None:
        """Note the end."""
        self.error, self.ended, self.state = error, time.monotonic(), state

    def report(self) -> dict[str, Any]:
        """Describe it for a client; ``status`` is the HTTP status with which a request ends that fails like this."""
        seconds = (time.monotonic() if self.ended is None else self.ended) - self.began
        return {
            "job": self.id,
            "state": self.state,
            "done": self.done,
            "total": self.total,
            "seconds": round(seconds, 3),
            "error": None if self.error is None else as_record(self.error),
            "status": None if self.error is None else refusal(self.error).status,
        }


class JobQueue:
    """Runs jobs one after the other in a thread of its own.

    Args:
        work: does one job; raises what went wrong.
        after: called after every job that was accepted, however it ended.
        waiting: jobs that may wait.
        remembered: ended jobs that can still be asked for.
    """

    def __init__(
        self, work: Callable[[Job], None], after: Callable[[Job], None], waiting: int = 16, remembered: int = 64
    ) -> None:
        self._work, self._after = work, after
        self._queue: queue.Queue[Job | None] = queue.Queue()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._waiting, self._remembered = waiting, remembered
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._loop, name="image passes", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Accept a job.

        Raises:
            Refusal: too many wait already (429), or the id is taken (400).
        """
        self.remember(job)
        if job.state == "queued":
            self._queue.put(job)

    def remember(self, job: Job) -> None:
        """Let a job be asked for; see `submit`."""
        with self._lock:
            if job.id in self._jobs:
                raise Refusal(400, OpenVocabCTError("this job exists already", "choose another id"))
            if self._unfinished() >= self._waiting and job.state not in ENDED:
                raise Refusal(TOO_MANY, OpenVocabCTError("the worker has too many jobs waiting", "try again later"))
            self._jobs[job.id] = job
            ended = [known.id for known in self._jobs.values() if known.state in ENDED]
            for known in ended[: max(0, len(ended) - self._remembered)]:
                del self._jobs[known]

    def get(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            StudyMissing: it is unknown or forgotten.
        """
        with self._lock:
            if job_id not in self._jobs:
                raise StudyMissing("the worker does not know this job", "start again")
            return self._jobs[job_id]

    def cancel(self, job_id: str) -> Job:
        """Stop a job after the tile in work; one that waits never begins.

        Raises:
            StudyMissing: it is unknown or forgotten.
        """
        job = self.get(job_id)
        job.cancelled.set()
        return job

    @property
    def busy(self) -> bool:
        """Whether any job waits or runs."""
        with self._lock:
            return self._unfinished() > 0

    def stop(self, timeout: float) -> bool:
        """Cancel everything and end the thread; return whether it ended in time."""
        with self._lock:
            for job in self._jobs.values():
                job.cancelled.set()
        self._queue.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _unfinished(self) -> int:
        return sum(job.state not in ENDED for job in self._jobs.values())

    def _loop(self) -> None:
        while (job := self._queue.get()) is not None:
            try:
                job.stop_here()
                self._work(job)
            except Cancelled as error:
                self._end(job, "cancelled", error)
            except Exception as error:  # noqa: BLE001 the client is told; the thread must live
                told = as_told(error)
                _log.warning("an image pass failed: %s", type(error).__name__)
                self._end(job, "failed", told)
            else:
                self._end(job, "done")

    def _end(self, job: Job, state: State, error: OpenVocabCTError | None = None) -> None:
        self._after(job)
        job.finish(state, error)
