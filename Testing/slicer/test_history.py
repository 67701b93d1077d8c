from __future__ import annotations

from typing import Any

import pytest

from OpenVocabCTSlicer.history import Favourites, History


class Store:
    """A settings store that keeps texts only, as an INI file does."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def value(self, key: str, default: Any = None) -> Any:
        return self.kept.get(key, default)

    def setValue(self, key: str, value: Any) -> None:  # noqa: N802
        assert isinstance(value, str)
        self.kept[key] = value


def test_newest_first_without_repetition_and_bounded() -> None:
    store = Store()
    history = History(store, limit=3)
    for text in ("a", "b", " A ", "c", "", "  ", "d", "x" * 3000):
        history.add(text)
    assert history.items() == ("d", "c", "A")
    assert History(store, limit=3).items() == ("d", "c", "A")


def test_texts_of_several_lines_survive() -> None:
    history = History(Store())
    history.add('left kidney\n"a, b"; c')
    assert history.items() == ('left kidney\n"a, b"; c',)


def test_remove_and_clear() -> None:
    history = History(Store())
    for text in ("a", "b", "c"):
        history.add(text)
    history.remove("B")
    history.remove("not there")
    assert history.items() == ("c", "a")
    history.clear()
    assert history.items() == ()


def test_favourites_stay_in_order_and_are_apart_from_the_history() -> None:
    store = Store()
    favourites, history = Favourites(store, limit=2), History(store)
    for text in ("b", "a", "B", "c"):
        favourites.add(text)
    history.add("z")
    assert favourites.items() == ("b", "a")
    favourites.remove("b")
    favourites.add("c")
    assert favourites.items() == ("a", "c")


@pytest.mark.parametrize("kept", ["no json", "{}", "3", "[1, 2]", "null", None, 7])
def test_what_cannot_be_read_is_nothing(kept: Any) -> None:
    store = Store()
    history = History(store)
    store.kept["OpenVocabCT/history"] = kept
    assert history.items() == ()
    history.add("a")
    assert history.items() == ("a",)
