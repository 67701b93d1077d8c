from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from OpenVocabCTLib.errors import ResourceError
from OpenVocabCTLib.worker.errors import StudyMissing
from OpenVocabCTLib.worker.studies import Limits, StudyStore

MODEL = (None, "auto")


def volume(count: int = 90) -> Any:
    return SimpleNamespace(array=np.zeros(count, np.uint8))


def passed(count: int = 150) -> Any:
    """What an image pass leaves behind."""
    return SimpleNamespace(embedding=SimpleNamespace(bytes=count))


def keys(store: StudyStore) -> list[str]:
    return [record["key"] for record in store.report()]


def read(store: StudyStore, key: str) -> None:
    """Take a volume in and have its image pass done, as the engine does."""
    with store.reserve(90):
        store.put(key, volume())
    store.pin(key)
    store.add(key, MODEL, passed())
    store.unpin(key)


def test_one_volume_is_kept_also_where_it_is_larger_than_all_may_be() -> None:
    store = StudyStore(Limits(total_bytes=200))
    read(store, "a")
    assert store.study("a", MODEL) is not None, "its answers come next"
    read(store, "b")
    assert keys(store) == ["b"]


def test_the_one_that_was_just_read_is_kept_and_others_go() -> None:
    store = StudyStore(Limits(total_bytes=260))
    store.put("a", volume())
    store.pin("a")
    store.add("a", MODEL, passed())
    store.put("b", volume())
    store.unpin("a")
    assert keys(store) == ["a"]


def test_what_was_dropped_while_it_was_read_takes_no_other_with_it() -> None:
    store = StudyStore(Limits(total_bytes=50))
    store.put("a", volume())
    store.pin("a")
    store.drop("a")
    store.put("b", volume())
    store.unpin("a")
    assert keys(store) == ["b"]


def test_a_pinned_volume_stays_and_what_finds_no_room_is_refused() -> None:
    store = StudyStore(Limits(total_bytes=100))
    store.put("a", volume())
    store.pin("a")
    with store.reserve(80), pytest.raises(ResourceError), store.reserve(80):
        pass
    assert keys(store) == ["a"]
    store.unpin("a")
    store.drop("a")
    with pytest.raises(StudyMissing):
        store.get("a")
