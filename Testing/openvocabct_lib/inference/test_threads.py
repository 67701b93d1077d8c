from __future__ import annotations

import threading

import pytest
import torch

from OpenVocabCTLib.inference.threads import in_threads


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)


@pytest.mark.usefixtures("two_threads")
def test_two_things_are_done_at_once_and_results_keep_their_order() -> None:
    both = threading.Barrier(2, timeout=10)

    def work(item: int) -> int:
        both.wait()
        return item * item

    assert in_threads(work, [3, 4, 5, 6]) == [9, 16, 25, 36]
    assert in_threads(lambda item: item, []) == []


@pytest.mark.usefixtures("two_threads")
def test_work_in_threads_is_not_divided_again() -> None:
    def names(_: int) -> set[str]:
        return set(in_threads(lambda _: threading.current_thread().name, range(4)))

    assert all(len(one) == 1 for one in in_threads(names, range(4)))
    assert in_threads(lambda _: threading.current_thread(), [1]) == [threading.current_thread()], "one needs no thread"


@pytest.mark.usefixtures("two_threads")
def test_an_error_is_raised() -> None:
    with pytest.raises(MemoryError, match="too large"):
        in_threads(_fail, [1, 2, 3])


def _fail(item: int) -> int:
    raise MemoryError(f"{item} is too large")


def test_with_one_thread_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    here = threading.current_thread()
    assert in_threads(lambda _: threading.current_thread(), [1, 2]) == [here, here]
