from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import pytest

from OpenVocabCTLib.errors import Cancelled, InputError
from OpenVocabCTLib.worker.steps import Progress
from Testing.slicer_gui.gui import wait_until


class Outcome:
    def __init__(self) -> None:
        self.results: list[Any] = []
        self.errors: list[Exception] = []
        self.progress: list[Progress] = []

    def callbacks(self) -> tuple[Any, Any, Any]:
        return self.results.append, self.errors.append, self.progress.append


@pytest.fixture
def runner(slicer_gui: Any) -> Any:
    from OpenVocabCTSlicer.task_runner import TaskRunner

    return TaskRunner()


def test_runs_to_the_result_with_progress(runner: Any) -> None:
    def steps() -> Generator[Progress | None, None, str]:
        for number in range(5):
            yield Progress("encoding", number, 5)
            yield None
        return "done"

    outcome = Outcome()
    runner.start(steps(), *outcome.callbacks())
    assert runner.running
    wait_until(lambda: not runner.running)
    assert outcome.results == ["done"]
    assert not outcome.errors
    assert [p.done for p in outcome.progress] == [0, 1, 2, 3, 4]


def test_the_interface_is_never_held_up(runner: Any) -> None:
    """A hundred steps of 3 ms each: no tick may take much longer than its budget."""

    def steps() -> Generator[Progress | None, None, None]:
        for number in range(100):
            time.sleep(0.003)
            yield Progress("uploading", number, 100)

    outcome = Outcome()
    runner.start(steps(), *outcome.callbacks())
    longest = 0.0
    while runner.running:
        began = time.process_time(), time.monotonic()
        runner.tick()
        longest = max(longest, time.monotonic() - began[1])
    assert outcome.results == [None]
    assert len(outcome.progress) >= 10, "progress must be shown all along, not at the end"
    assert longest < 0.05


def test_errors_reach_the_user(runner: Any) -> None:
    def steps() -> Generator[None, None, None]:
        yield None
        raise InputError("it is an MR", "choose a CT")

    outcome = Outcome()
    runner.start(steps(), *outcome.callbacks())
    wait_until(lambda: not runner.running)
    assert [str(e) for e in outcome.errors] == ["it is an MR: choose a CT"]


def test_cancel_lets_the_task_tell_the_worker(runner: Any) -> None:
    told = []

    def steps() -> Generator[None, None, None]:
        try:
            while True:
                yield None
        except Cancelled:
            for word in ("telling", "told"):
                told.append(word)
                yield None
            raise

    outcome = Outcome()
    runner.start(steps(), *outcome.callbacks())
    runner.tick()
    runner.cancel()
    assert runner.running
    assert runner.cancelling
    runner.cancel()  # pressing twice does no harm
    wait_until(lambda: not runner.running)
    assert told == ["telling", "told"]
    assert [type(e) for e in outcome.errors] == [Cancelled]
    assert not outcome.results


def test_close_calls_nobody_back(runner: Any) -> None:
    closed = []

    def steps() -> Generator[None, None, None]:
        try:
            while True:
                yield None
        finally:
            closed.append(True)

    outcome = Outcome()
    runner.start(steps(), *outcome.callbacks())
    runner.tick()
    runner.close()
    assert closed == [True]
    assert not runner.running
    assert not outcome.results
    assert not outcome.errors
    runner.cancel()
    runner.tick()


def test_one_task_at_a_time(runner: Any) -> None:
    def steps() -> Generator[None, None, None]:
        while True:
            yield None

    outcome = Outcome()
    runner.start(steps(), *outcome.callbacks())
    with pytest.raises(RuntimeError):
        runner.start(steps(), *outcome.callbacks())
    runner.close()


def test_a_task_may_start_the_next_one(runner: Any) -> None:
    def steps(value: int) -> Generator[None, None, int]:
        yield None
        return value

    outcome = Outcome()
    runner.start(steps(1), lambda _v: runner.start(steps(2), *outcome.callbacks()), outcome.errors.append)
    wait_until(lambda: not runner.running)
    assert outcome.results == [2]


def test_sentence_hides_what_is_not_ours(slicer_gui: Any) -> None:
    from OpenVocabCTSlicer.task_runner import sentence

    assert sentence(InputError("a", "b")) == "a: b"
    assert "/home" not in sentence(OSError("/home/doe^john/ct.nii"))
    assert "OSError" in sentence(OSError("x"))
