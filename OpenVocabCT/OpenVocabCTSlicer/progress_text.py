"""What the progress bar says, and how long the rest will take."""

from __future__ import annotations

import time
from collections.abc import Callable

from OpenVocabCTLib.worker.steps import Progress
from OpenVocabCTSlicer.strings import _

_MINIMUM_SECONDS = 1.0
_MINUTE = 60


class RemainingTime:
    """Estimates the rest of a stage from the rate seen so far in this stage.

    Args:
        clock: seconds, for tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stage = ""
        self._began = 0.0
        self._first = 0

    def seconds(self, progress: Progress) -> float | None:
        """Return the seconds left, None while nobody can know."""
        now = self._clock()
        if progress.stage != self._stage:
            self._stage, self._began, self._first = progress.stage, now, progress.done
        elapsed, done = now - self._began, progress.done - self._first
        if elapsed < _MINIMUM_SECONDS or done <= 0 or progress.total <= progress.done:
            return None
        return elapsed / done * (progress.total - progress.done)


def stage_text(progress: Progress) -> str:
    """Return what is happening, in words."""
    return {
        "starting": _("Starting the engine"),
        "uploading": _("Handing over the CT"),
        "waiting": _("Waiting for another run"),
        "loading": _("Loading the model"),
        "encoding": _("Reading the CT (once per CT)"),
        "answering": _("Answering the prompts"),
        "writing": _("Writing the segments"),
        "installing": _("Installing Python packages"),
    }.get(progress.stage, _("Working"))


def percent(progress: Progress) -> int | None:
    """Return 0..100, None where the amount of work is unknown."""
    return min(100, 100 * progress.done // progress.total) if progress.total > 0 else None


def duration(seconds: float) -> str:
    """Return "about 40 s left" or "about 3 min left"."""
    if seconds < _MINUTE:
        return _("about {seconds} s left").format(seconds=max(1, round(seconds)))
    return _("about {minutes} min left").format(minutes=round(seconds / _MINUTE))
