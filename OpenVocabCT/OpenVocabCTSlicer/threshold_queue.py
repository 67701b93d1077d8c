"""Answers to moved sliders, one after the other; a slider that moves again replaces its own waiting question."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from OpenVocabCTSlicer.task_runner import TaskRunner

if TYPE_CHECKING:
    from OpenVocabCTSlicer.logic import Request, ResultRow


class ThresholdQueue:
    """Asks for new answers from the cached image pass.

    Args:
        parent: the Qt object that owns the timer.
        logic: returns the logic.
        on_row: gets the new row of the table.
        on_error: gets the error; what waits is dropped.
    """

    def __init__(
        self,
        parent: Any,
        logic: Callable[[], Any],
        on_row: Callable[[ResultRow], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._runner = TaskRunner(parent)
        self._logic = logic
        self._on_row = on_row
        self._on_error = on_error
        self._waiting: dict[str, tuple[Request, float]] = {}

    def ask(self, request: Request, prompt: str, threshold: float) -> None:
        """Answer a prompt of a run with another threshold, now or after what is under way."""
        self._waiting[prompt] = request, threshold
        self._next()

    def close(self) -> None:
        """Drop everything at once."""
        self._waiting.clear()
        self._runner.close()

    def dispose(self) -> None:
        """Drop everything and let go of the timer."""
        self._waiting.clear()
        self._runner.dispose()

    def _next(self) -> None:
        if self._runner.running or not self._waiting:
            return
        prompt, (request, threshold) = self._waiting.popitem()
        self._runner.start(self._logic().rethreshold(request, prompt, threshold), self._done, self._failed)

    def _done(self, row: ResultRow) -> None:
        self._on_row(row)
        self._next()

    def _failed(self, error: Exception) -> None:
        self._waiting.clear()
        self._on_error(error)
