"""A list under the cursor that completes the prompt being typed.

QCompleter hands keys straight to the text box, past event filters; with a plain list and one event filter Enter and
Tab accept a suggestion without also writing a line break.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

from OpenVocabCTSlicer.strings import _
from OpenVocabCTSlicer.suggestions import LIMIT, Suggestion, current_word, matches

_WIDTH = 320


class Completion:
    """Offers phrases below the cursor of a text box.

    Args:
        text_edit: the QPlainTextEdit.
        vocabulary: returns every phrase there is.
    """

    def __init__(self, text_edit: Any, vocabulary: Callable[[], tuple[Suggestion, ...]]) -> None:
        self._edit = text_edit
        self._vocabulary = vocabulary
        self._accepting = False
        self._offered: tuple[Suggestion, ...] = ()
        self.list = qt.QListWidget(text_edit)
        # A child of the window, not a pop-up: pop-ups take the keyboard away from the text box on some platforms.
        self.list.setFocusPolicy(qt.Qt.NoFocus)
        self.list.objectName = "completionList"
        self.list.setVerticalScrollBarPolicy(qt.Qt.ScrollBarAlwaysOff)
        self.list.hide()
        self.list.connect("itemClicked(QListWidgetItem*)", self._on_clicked)
        self._filter = KeyFilter(self._on_key, self.hide)
        text_edit.installEventFilter(self._filter)
        text_edit.connect("textChanged()", self.update)

    @property
    def shown(self) -> bool:
        """Whether suggestions are offered."""
        return bool(self._offered)

    @property
    def offered(self) -> tuple[Suggestion, ...]:
        """The suggestions shown, best first."""
        return self._offered

    def update(self) -> None:
        """Offer what fits the text in front of the cursor."""
        if self._accepting or not self._edit.hasFocus():
            return
        word = current_word(self._edit.toPlainText(), self._edit.textCursor().position())
        self.offer(matches(word.text, self._vocabulary()))

    def offer(self, suggestions: tuple[Suggestion, ...]) -> None:
        """Show these suggestions; none hides the list."""
        self._offered = suggestions
        if not suggestions:
            self.list.hide()
            return
        self.list.clear()
        for suggestion in suggestions:
            mark = "" if suggestion.trained else "  " + _("(untested)")
            self.list.addItem(suggestion.phrase + mark)
        self.list.setCurrentRow(0)
        self._place()
        self.list.show()
        self.list.raise_()

    def hide(self) -> None:
        """Take the list away."""
        self.offer(())

    def accept(self) -> None:
        """Write the chosen suggestion in place of what was typed."""
        if not self._offered:
            return
        chosen = self._offered[max(0, min(self.list.currentRow, len(self._offered) - 1))]
        word = current_word(self._edit.toPlainText(), self._edit.textCursor().position())
        cursor = self._edit.textCursor()
        cursor.setPosition(word.start)
        cursor.setPosition(word.end, qt.QTextCursor.KeepAnchor)
        self._accepting = True
        try:
            cursor.insertText(chosen.phrase)
        finally:
            self._accepting = False
        self._edit.setTextCursor(cursor)
        self.hide()

    def dispose(self) -> None:
        """Let go of the text box."""
        self._edit.disconnect("textChanged()", self.update)
        self._edit.removeEventFilter(self._filter)
        self.list.disconnect("itemClicked(QListWidgetItem*)", self._on_clicked)
        # It moved to the window and would stay there.
        self.list.deleteLater()

    def _place(self) -> None:
        window = self._edit.window()
        self.list.setParent(window)
        corner = self._edit.viewport().mapTo(window, self._edit.cursorRect().bottomLeft())
        row = max(18, self.list.sizeHintForRow(0))
        height = row * min(LIMIT, len(self._offered)) + 4
        top = corner.y() + 2
        if top + height > window.height:
            top = max(0, corner.y() - self._edit.cursorRect().height() - height)
        self.list.setGeometry(max(0, min(corner.x(), window.width - _WIDTH)), top, min(_WIDTH, window.width), height)

    def _on_clicked(self, _item: Any) -> None:
        self.accept()

    def _on_key(self, key: Any) -> bool:
        if not self._offered:
            return False
        if key in (qt.Qt.Key_Return, qt.Qt.Key_Enter, qt.Qt.Key_Tab):
            self.accept()
        elif key == qt.Qt.Key_Escape:
            self.hide()
        elif key in (qt.Qt.Key_Down, qt.Qt.Key_Up):
            step = 1 if key == qt.Qt.Key_Down else -1
            self.list.setCurrentRow((self.list.currentRow + step) % len(self._offered))
        else:
            return False
        return True


class KeyFilter(qt.QObject):
    """Gives the keys pressed in a widget to a function first.

    Args:
        on_key: gets the key of a press without Ctrl; True keeps it from the widget.
        on_leave: called when the widget loses the keyboard.
    """

    def __init__(self, on_key: Callable[[Any], bool], on_leave: Callable[[], None]) -> None:
        qt.QObject.__init__(self)
        self._on_key = on_key
        self._on_leave = on_leave

    def eventFilter(self, _watched: Any, event: Any) -> bool:
        """Qt calls this before the widget sees the event."""
        if event.type() == qt.QEvent.FocusOut:
            self._on_leave()
        elif event.type() == qt.QEvent.KeyPress and not bool(event.modifiers() & qt.Qt.ControlModifier):
            return self._on_key(event.key())
        return False
