"""Earlier prompts and favourites, kept between sessions in a store like QSettings."""

from __future__ import annotations

import json
from typing import Any, Protocol

from OpenVocabCTSlicer.prompts_text import prompt_key

_LONGEST = 2000


class Store(Protocol):
    """The part of QSettings that is used."""

    def value(self, key: str, default: Any = None) -> Any:
        """Return what was stored."""

    def setValue(self, key: str, value: Any) -> None:
        """Store."""


class _Texts:
    """Texts without repetition, kept as JSON in one text: QSettings turns lists of one element into texts."""

    def __init__(self, store: Store, key: str, limit: int) -> None:
        self._store, self._key, self._limit = store, key, limit

    def items(self) -> tuple[str, ...]:
        """Return the texts; none where what is stored cannot be read."""
        try:
            texts = json.loads(self._store.value(self._key, "[]"))
        except (TypeError, ValueError, RecursionError):
            return ()
        return tuple(text for text in texts if isinstance(text, str)) if isinstance(texts, list) else ()

    def remove(self, text: str) -> None:
        """Forget a text."""
        self._keep(self._others(text))

    def clear(self) -> None:
        """Forget all."""
        self._keep([])

    def _others(self, text: str) -> list[str]:
        return [old for old in self.items() if prompt_key(old) != prompt_key(text)]

    def _keep(self, texts: list[str]) -> None:
        self._store.setValue(self._key, json.dumps(texts))


class History(_Texts):
    """Earlier prompts, the newest first.

    Args:
        store: where they are kept.
        limit: how many; the oldest are forgotten.
    """

    def __init__(self, store: Store, key: str = "OpenVocabCT/history", limit: int = 50) -> None:
        super().__init__(store, key, limit)

    def add(self, text: str) -> None:
        """Put a text to the front; blank and overlong texts are not kept."""
        if text.strip() and len(text) <= _LONGEST:
            self._keep([text.strip(), *self._others(text)][: self._limit])


class Favourites(_Texts):
    """Prompts that the user wants to keep, in the order they were added.

    Args:
        store: where they are kept.
        limit: how many; once it is reached nothing is added.
    """

    def __init__(self, store: Store, key: str = "OpenVocabCT/favourites", limit: int = 200) -> None:
        super().__init__(store, key, limit)

    def add(self, text: str) -> None:
        """Add a text that is not there yet; blank and overlong texts are not kept."""
        present = self.items()
        if not text.strip() or len(text) > _LONGEST or len(present) >= self._limit:
            return
        if prompt_key(text) not in map(prompt_key, present):
            self._keep([*present, text.strip()])
