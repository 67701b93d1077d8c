"""Many CTs on a Ray cluster: workers that own a device, and cases that survive the death of the worker they were on."""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from OpenVocabCTLib.batch.manifest import Record
from OpenVocabCTLib.batch.steps import CaseSteps, failure
from OpenVocabCTLib.errors import InputError, OpenVocabCTError, ResourceError

if TYPE_CHECKING:
    from OpenVocabCTLib.inference import Segmenter
    from OpenVocabCTLib.volume import CTVolume

ATTEMPTS = 3
LOCAL = "local"
# Two cases a worker: one is read or written while the other is computed.
_IN_FLIGHT = 2
_CPUS_PER_WORKER = 4
_CONNECT_SECONDS = 10.0

MakeSegmenter = Callable[[], "Segmenter"]
ReadVolume = Callable[[Path], "CTVolume"]


class CaseWorker:
    """What runs in a Ray actor: a model on a device of its own.

    Args:
        make_segmenter: loads the model.
        read_volume: reads a CT.
    """

    def __init__(self, make_segmenter: MakeSegmenter, read_volume: ReadVolume) -> None:
        self._segmenter = make_segmenter()
        self._segmenter.cache.max_bytes = 0
        self._read_volume = read_volume
        self._computing = threading.Lock()

    def pid(self) -> int:
        """Process id."""
        return os.getpid()

    def run(self, case: CaseSteps) -> Record:
        """Do one case.

        Raises:
            DiskFull, ModelError: what would meet every further case.
        """
        try:
            volume = case.read(self._read_volume)
            with self._computing:
                segmentation = case.compute(self._segmenter, volume)
            return case.write(segmentation)
        except Exception as error:  # noqa: BLE001 one CT that fails must not end the others
            return case.failed(error)


@dataclass(frozen=True)
class _Attempt:
    """A case that a worker has been given: how often it was tried, this time included, and by whom."""

    case: CaseSteps
    number: int
    worker: int


class RayPool:
    """Workers on a Ray cluster. Use it in a ``with`` block; `run` may be called once.

    Args:
        address: of an existing cluster, or "local" for one on this machine that ends with the pool.
        make_segmenter: loads the model, in each worker.
        read_volume: reads a CT, in the workers; all machines see the same files under the same paths.
        workers: how many; by default one per GPU, or one per four CPU cores where there is no GPU.

    Raises:
        InputError: Ray is not installed, or no cluster answers at the address, or it wants another token.
    """

    def __init__(
        self, address: str, make_segmenter: MakeSegmenter, read_volume: ReadVolume, workers: int | None = None
    ) -> None:
        self._ray = _import_ray()
        self._connect(address)
        resources = self._ray.cluster_resources()
        cpus, gpus = int(resources.get("CPU", 1)), int(resources.get("GPU", 0))
        self.size = min(workers or gpus or max(1, cpus // _CPUS_PER_WORKER), max(1, cpus))
        needs: dict[str, float] = {"num_cpus": max(1, min(cpus // self.size, _CPUS_PER_WORKER))}
        if gpus:
            needs = {"num_cpus": 1, "num_gpus": min(1.0, gpus / self.size)}
        self._actor = self._ray.remote(CaseWorker).options(
            **needs, max_concurrency=_IN_FLIGHT + 1
        )  # one to say that it lives
        self._arguments = (make_segmenter, read_volume)
        self._workers: dict[int, Any] = {}
        self._made = 0

    def __enter__(self) -> RayPool:
        return self

    def __exit__(self, *error: object) -> None:
        self._ray.shutdown()

    def run(self, cases: Sequence[CaseSteps]) -> Iterator[Record]:
        """Do all cases.

        A case whose worker dies, or that fails for a reason that may lie in the worker, is given to another one, three
        times in all. What is wrong with the input stays wrong, and is not tried again.

        Yields:
            One record per case, as they are finished.

        Raises:
            DiskFull, ModelError: what would meet every further case.
        """
        waiting = deque(_Attempt(case, 1, -1) for case in cases)
        running: dict[Any, _Attempt] = {}
        while waiting or running:
            self._hand_out(waiting, running)
            (reference,), _ = self._ray.wait(list(running), num_returns=1)
            attempt = running.pop(reference)
            record, worker_lost = self._result(reference, attempt)
            if worker_lost:
                self._workers.pop(attempt.worker, None)
            if _may_succeed_elsewhere(record) and attempt.number < ATTEMPTS:
                waiting.append(attempt)
            else:
                yield replace(record, attempts=attempt.number)

    def worker_pids(self) -> list[int]:
        """Return the process ids of the workers."""
        return self._ray.get([worker.pid.remote() for worker in self._workers.values()])

    def _connect(self, address: str) -> None:
        options = {"include_dashboard": False} if address == LOCAL else {}
        try:
            _check_that_somebody_listens(address)
            self._ray.init(address=address, log_to_driver=False, logging_level="ERROR", **options)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            todo = "check the address and the cluster's token (RAY_AUTH_TOKEN), or use --ray local"
            raise InputError(f"no Ray cluster answers at {address!r}", todo) from error

    def _hand_out(self, waiting: deque[_Attempt], running: dict[Any, _Attempt]) -> None:
        """Give waiting cases to workers that have room, a case that failed to another worker where there is one."""
        while len(self._workers) < min(self.size, len(waiting) + len(running)):
            self._workers[self._made] = self._actor.remote(*self._arguments)
            self._made += 1
        while waiting:
            attempt = waiting[0]
            # A case that is tried again has its worker for itself: should it end that one too, no other pays for it.
            room = _IN_FLIGHT if attempt.worker >= 0 else 1
            load = dict.fromkeys(self._workers, 0)
            for given in running.values():
                if given.worker in load:
                    load[given.worker] += _IN_FLIGHT if given.number > 1 else 1
            others = [number for number in load if number != attempt.worker] or list(load)
            number = min(others, key=load.__getitem__)
            if load[number] + room > _IN_FLIGHT:
                return
            waiting.popleft()
            reference = self._workers[number].run.remote(attempt.case)
            running[reference] = _Attempt(attempt.case, attempt.number + (attempt.worker >= 0), number)

    def _result(self, reference: Any, attempt: _Attempt) -> tuple[Record, bool]:
        """Return what came of a case, and whether its worker is gone."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference), False
        except errors.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, OpenVocabCTError):
                raise cause from error
            return failure(attempt.case.blank, _lost("failed in its worker")), False
        except errors.RayError:
            return failure(attempt.case.blank, _lost("lost its worker")), True


class _WorkerError(ResourceError):
    """A case failed for a reason that may lie in the worker."""


def _lost(how: str) -> OpenVocabCTError:
    return _WorkerError(f"the CT {how} {ATTEMPTS} times", "look at the memory and the logs of the machines")


def _may_succeed_elsewhere(record: Record) -> bool:
    return record.exit_code not in (0, InputError.exit_code)


def _check_that_somebody_listens(address: str) -> None:
    """Raise OSError where nobody does; Ray itself would try for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()


def _import_ray() -> Any:
    # Ray reports its use to its makers unless told otherwise.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise InputError("Ray is not installed", "run pip install 'openvocabct[ray]', or leave --ray out") from error
    return ray
