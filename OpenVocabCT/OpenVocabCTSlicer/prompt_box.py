"""The box where prompts are typed: Ctrl+Enter, completion, history and favourites."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

from OpenVocabCTLib.worker.steps import Steps
from OpenVocabCTSlicer.completion import Completion
from OpenVocabCTSlicer.strings import _
from OpenVocabCTSlicer.suggestions import Suggestion
from OpenVocabCTSlicer.task_runner import TaskRunner

_MENU_TEXT = 60


class PromptBox:
    """Wires the text box and its two menus.

    Args:
        text_edit: QPlainTextEdit.
        history_button: QToolButton that gets the menu of earlier prompts.
        favourites_button: QToolButton that gets the menu of favourites.
        history: earlier texts, newest first.
        favourites: texts the user keeps.
        submit: called on Ctrl+Enter.
    """

    def __init__(
        self,
        text_edit: Any,
        history_button: Any,
        favourites_button: Any,
        history: Any,
        favourites: Any,
        submit: Callable[[], None],
    ) -> None:
        self._edit = text_edit
        self._history = history
        self._favourites = favourites
        self._vocabulary: tuple[Suggestion, ...] = ()
        self._submit = submit
        self._actions: list[Any] = []
        self._runner = TaskRunner(text_edit)
        self._shortcuts = [self._shortcut(keys) for keys in ("Ctrl+Return", "Ctrl+Enter")]
        self.completion = Completion(text_edit, lambda: self._vocabulary)
        self.history_menu = self._menu(history_button, self.fill_history)
        self.favourites_menu = self._menu(favourites_button, self.fill_favourites)

    @property
    def text(self) -> str:
        """What is in the box."""
        return self._edit.toPlainText()

    @text.setter
    def text(self, value: str) -> None:
        if value != self.text:
            self._edit.setPlainText(value)

    def set_vocabulary(self, vocabulary: tuple[Suggestion, ...]) -> None:
        """Offer these phrases from now on."""
        self._vocabulary = vocabulary

    def load_vocabulary(
        self, phrases: Callable[[], Steps[tuple[Suggestion, ...]]], on_error: Callable[[Exception], None]
    ) -> None:
        """Fetch the phrases to offer in the background, unless that is going on."""
        if not self._runner.running:
            self._runner.start(phrases(), self.set_vocabulary, on_error)

    def remember(self) -> None:
        """Put the text into the history."""
        self._history.add(self.text.strip())

    def fill_history(self) -> None:
        """Fill the menu of earlier prompts just before it opens."""
        self._fill(self.history_menu, self._history.items(), _("No earlier prompts"))
        if self._history.items():
            self.history_menu.addSeparator()
            self._add(self.history_menu, _("Clear history"), self._history.clear)

    def fill_favourites(self) -> None:
        """Fill the menu of favourites just before it opens."""
        items = self._favourites.items()
        self._fill(self.favourites_menu, items, _("No favourites yet"))
        self.favourites_menu.addSeparator()
        text = self.text.strip()
        if text in items:
            self._add(self.favourites_menu, _("Remove this text from the favourites"), self._remove_favourite)
        elif text:
            self._add(self.favourites_menu, _("Add this text to the favourites"), self._add_favourite)

    def dispose(self) -> None:
        """Disconnect everything."""
        self._runner.dispose()
        self.completion.dispose()
        for shortcut in self._shortcuts:
            shortcut.disconnect("activated()", self._submit)
        self.history_menu.disconnect("aboutToShow()", self.fill_history)
        self.favourites_menu.disconnect("aboutToShow()", self.fill_favourites)

    def _shortcut(self, keys: str) -> Any:
        shortcut = qt.QShortcut(qt.QKeySequence(keys), self._edit)
        shortcut.setContext(qt.Qt.WidgetShortcut)
        shortcut.connect("activated()", self._submit)
        return shortcut

    def _menu(self, button: Any, fill: Callable[[], None]) -> Any:
        menu = qt.QMenu(button)
        menu.connect("aboutToShow()", fill)
        button.setMenu(menu)
        return menu

    def _fill(self, menu: Any, texts: tuple[str, ...], nothing: str) -> None:
        menu.clear()
        self._actions = []
        for text in texts:
            self._add(menu, _shortened(text), self._writer(text))
        if not texts:
            self._add(menu, nothing, None)

    def _writer(self, text: str) -> Callable[[], None]:
        return lambda: self._edit.setPlainText(text)

    def _add(self, menu: Any, text: str, slot: Callable[[], None] | None) -> None:
        # "&" would underline a letter.
        action = menu.addAction(text.replace("&", "&&"))
        action.setEnabled(slot is not None)
        if slot is not None:
            action.connect("triggered()", slot)
        self._actions.append(action)

    def _add_favourite(self) -> None:
        self._favourites.add(self.text.strip())

    def _remove_favourite(self) -> None:
        self._favourites.remove(self.text.strip())


def _shortened(text: str) -> str:
    line = ", ".join(part.strip() for part in text.splitlines() if part.strip())
    return line if len(line) <= _MENU_TEXT else line[: _MENU_TEXT - 1] + "…"
