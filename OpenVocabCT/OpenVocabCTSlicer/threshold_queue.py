"""Answers to moved sliders, one after the other; a slider that moves again replaces its own waiting question."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from OpenVocabCTLib.errors import OpenVocabCTError
from OpenVocabCTLib.worker.steps import Progress
from OpenVocabCTSlicer.task_runner import TaskRunner

if TYPE_CHECKING:
    from OpenVocabCTSlicer.logic import Request, Results

# What an answer from the cached image pass does not need.
_SLOW_STAGES = frozenset({"starting", "uploading", "waiting", "loading", "encoding"})


class ThresholdQueue:
    """Asks for new answers, as a rule from the cached image pass.

    Args:
        parent: the Qt object that owns the timer.
        logic: returns the logic.
        on_answer: gets the new answer.
        on_error: gets the error; what waits is dropped.
        on_slow: called when the engine has to read the CT again for an answer, which takes as long as a run.
        on_progress: gets the progress after that.
    """

    def __init__(
        self,
        parent: Any,
        logic: Callable[[], Any],
        on_answer: Callable[[Results], None],
        on_error: Callable[[Exception], None],
        on_slow: Callable[[], None],
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._runner = TaskRunner(parent)
        self._logic = logic
        self._on_answer = on_answer
        self._on_error = on_error
        self._on_slow = on_slow
        self._on_progress = on_progress
        self._waiting: dict[str, tuple[Request, float]] = {}
        self._slow = False

    @property
    def slow(self) -> bool:
        """Whether the CT is being read again for an answer."""
        return self._slow

    def ask(self, request: Request, prompt: str, threshold: float) -> None:
        """Answer a prompt of a run with another threshold, now or after what is under way."""
        self._waiting[prompt] = request, threshold
        self._next()

    def cancel(self) -> None:
        """Ask what is under way to stop; `on_error` gets `Cancelled`."""
        self._waiting.clear()
        self._runner.cancel()

    def close(self) -> None:
        """Drop everything at once."""
        self._waiting.clear()
        self._slow = False
        self._runner.close()

    def dispose(self) -> None:
        """Drop everything and let go of the timer."""
        self._waiting.clear()
        self._slow = False
        self._runner.dispose()

    def _next(self) -> None:
        if self._runner.running or not self._waiting:
            return
        prompt, (request, threshold) = self._waiting.popitem()
        try:
            steps = self._logic().rethreshold(request, prompt, threshold)
        except OpenVocabCTError as error:
            self._failed(error)
            return
        self._runner.start(steps, self._done, self._failed, self._progressed)

    def _progressed(self, progress: Progress) -> None:
        if not self._slow and progress.stage in _SLOW_STAGES:
            self._slow = True
            self._on_slow()
        if self._slow:
            self._on_progress(progress)

    def _done(self, results: Results) -> None:
        self._slow = False
        self._on_answer(results)
        self._next()

    def _failed(self, error: Exception) -> None:
        self._slow = False
        self._waiting.clear()
        self._on_error(error)
