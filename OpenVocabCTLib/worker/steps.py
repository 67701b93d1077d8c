"""Long work in small steps, so that an interface without threads stays alive while it goes on.

A function that returns ``Steps[T]`` is a generator: between two yields it works for about ten milliseconds at most, it
yields a `Progress` when there is news and None when it waits, and it returns a ``T``.  An interface drives it from a
timer; everything else calls `run`.  To cancel, throw `Cancelled` into it and go on driving it: it tells the worker,
then raises the same exception.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, TypeVar

from OpenVocabCTLib.errors import Cancelled

Stage = Literal["starting", "uploading", "waiting", "loading", "encoding", "answering", "writing", "installing"]
T = TypeVar("T")

_WAIT_SECONDS = 0.001


@dataclass(frozen=True)
class Progress:
    """How far a piece of work is.

    Attributes:
        stage: what is going on.
        done: units done (bytes, tiles, segments), 0 when nothing is counted.
        total: units in all, 0 when unknown.
    """

    stage: Stage
    done: int = 0
    total: int = 0


Steps = Generator[Progress | None, None, T]


def run(steps: Steps[T], on_progress: Callable[[Progress], object] | None = None) -> T:
    """Do all steps here and now, sleeping a millisecond wherever they wait.

    Args:
        steps: the work.
        on_progress: called with every progress; returning False cancels.

    Returns:
        What the steps return.

    Raises:
        Cancelled: ``on_progress`` returned False; the steps had their chance to tell the worker.
        KeyboardInterrupt: Ctrl-C, after the same chance.
    """
    try:
        while True:
            progress = next(steps)
            if progress is None:
                time.sleep(_WAIT_SECONDS)
            elif on_progress is not None and on_progress(progress) is False:
                return cancel(steps)
    except StopIteration as stop:
        return stop.value
    except KeyboardInterrupt:
        _cancel_quietly(steps)
        raise


def cancel(steps: Steps[T]) -> T:
    """Cancel and wait until the steps have ended.

    Returns:
        The result, when the steps were done all the same.

    Raises:
        Cancelled: always otherwise.
    """
    try:
        steps.throw(Cancelled("stopped", "nothing was written; start again when you like"))
        while True:
            time.sleep(_WAIT_SECONDS)
            next(steps)
    except StopIteration as stop:
        return stop.value


def _cancel_quietly(steps: Steps[T]) -> None:
    with suppress(Cancelled):
        cancel(steps)
