"""Doing several things at once with the CPU threads that torch may use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")

_here = threading.local()


def in_threads(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Do some work for every item and return the results in their order, as ``list(map(work, items))``.

    Work that is done in threads already is not divided further. It should be NumPy's, which lets other threads run:
    torch divides its own work, and two divisions at once are slower than none.

    Args:
        work: what is done; its first error is raised when everything has ended.
        items: what it is done for.
    """
    threads = min(torch.get_num_threads(), len(items))
    if threads < 2 or getattr(_here, "working", False):
        return [work(item) for item in items]
    with ThreadPoolExecutor(threads, "answering", _begin) as pool:
        return list(pool.map(work, items))


def _begin() -> None:
    _here.working = True
