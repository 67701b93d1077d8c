"""Running independent jobs, here or in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

from OpenVocabCTLib.errors import ResourceError

R = TypeVar("R")


def in_order(jobs: Sequence[Callable[[], R]], processes: int) -> Generator[R, None, None]:
    """Yield the result of every job, in the order of the jobs.

    Args:
        jobs: what to call; with several processes, jobs and results must be picklable.
        processes: how many to run at the same time; one runs here.

    Raises:
        ResourceError: a process died, which is what a full memory looks like.
        Exception: whatever a job raises; jobs that have not begun are given up.
    """
    if processes == 1 or len(jobs) < 2:
        for job in jobs:
            yield job()
        return
    # Spawned, not forked: a fork of a process with running torch threads can hang.
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // processes)
    pool = ProcessPoolExecutor(min(processes, len(jobs)), context, _begin_worker, (threads,))
    try:
        for future in [pool.submit(job) for job in jobs]:
            yield future.result()
    except BrokenProcessPool as error:
        raise ResourceError(
            "a process that prepares cases died, perhaps for want of memory", "run it again with fewer --jobs"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker(threads: int) -> None:
    import SimpleITK as sitk
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops the work
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    # Share the cores: each process would otherwise take all of them.
    torch.set_num_threads(threads)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


def _end_with(parent: int) -> None:
    """End this process when its parent has gone: a killed one tells nobody, and its workers would wait for ever."""
    wait([parent])
    os._exit(1)
