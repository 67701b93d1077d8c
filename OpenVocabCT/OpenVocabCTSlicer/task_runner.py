"""Runs Steps from a timer, a few milliseconds at a time, so that the interface never waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import qt

from OpenVocabCTLib.errors import Cancelled, OpenVocabCTError
from OpenVocabCTLib.worker.steps import Progress, Steps
from OpenVocabCTSlicer.strings import _

BUDGET_SECONDS = 0.015
INTERVAL_MS = 5


class TaskRunner:
    """Drives one task at a time.

    Args:
        parent: the Qt object that owns the timer.
        clock: seconds, for tests.
    """

    def __init__(self, parent: Any = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._steps: Steps[Any] | None = None
        self._cancelling = False
        self._on_progress: Callable[[Progress], None] = _ignore
        self._on_done: Callable[[Any], None] = _ignore
        self._on_error: Callable[[Exception], None] = _ignore
        self._timer = qt.QTimer(parent)
        self._timer.setInterval(INTERVAL_MS)
        self._timer.connect("timeout()", self.tick)

    @property
    def running(self) -> bool:
        """Whether there is a task."""
        return self._steps is not None

    @property
    def cancelling(self) -> bool:
        """Whether the task has been asked to stop and has not stopped yet."""
        return self._cancelling

    def start(
        self,
        steps: Steps[Any],
        on_done: Callable[[Any], None],
        on_error: Callable[[Exception], None],
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        """Start a task.

        Args:
            steps: the work; each step takes at most about 10 ms.
            on_done: gets the result.
            on_error: gets the error; `Cancelled` after `cancel`.
            on_progress: gets the latest progress, at most once a tick.

        Raises:
            RuntimeError: another task is running.
        """
        if self.running:
            raise RuntimeError("a task is running already")
        self._steps, self._cancelling = steps, False
        self._on_done, self._on_error, self._on_progress = on_done, on_error, on_progress or _ignore
        self._timer.start()

    def tick(self) -> None:
        """Do steps until there is something to wait for or the budget is used up."""
        end = self._clock() + BUDGET_SECONDS
        progress = None
        while self._steps is not None:
            step = self._advance(self._steps, None)
            if step is not None:
                progress = step
            if step is None or self._clock() >= end:
                break
        if progress is not None and self.running:
            self._on_progress(progress)

    def cancel(self) -> None:
        """Ask the task to stop: it may tell the worker first, then `on_error` gets `Cancelled`."""
        if self._steps is not None and not self._cancelling:
            self._cancelling = True
            self._advance(self._steps, Cancelled(_("stopped"), _("nothing was changed")))

    def close(self) -> None:
        """Drop the task at once, without calling anybody back: the scene or the window goes away."""
        steps, self._steps = self._steps, None
        self._timer.stop()
        if steps is not None:
            steps.close()

    def dispose(self) -> None:
        """Drop the task and let go of the timer."""
        self.close()
        self._timer.disconnect("timeout()", self.tick)

    def _advance(self, steps: Steps[Any], error: Cancelled | None) -> Progress | None:
        try:
            return next(steps) if error is None else steps.throw(error)
        except StopIteration as stop:
            self._finish(self._on_done, stop.value)
        except Exception as failure:  # noqa: BLE001 -- every failure is shown to the user by on_error
            self._finish(self._on_error, failure)
        return None

    def _finish(self, callback: Callable[[Any], None], value: Any) -> None:
        self._steps, self._cancelling = None, False
        self._timer.stop()
        callback(value)


def sentence(error: Exception) -> str:
    """Return one sentence for the user; an error that is not ours is named by its kind."""
    if isinstance(error, OpenVocabCTError):
        return str(error)
    return _('an unexpected problem ({kind}): use "Copy report" and tell the developers').format(
        kind=type(error).__name__
    )


def _ignore(_value: Any) -> None:
    """Nobody asked to be told."""
