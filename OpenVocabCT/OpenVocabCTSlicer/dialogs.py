"""Questions to the user; tests pass an object with the same methods."""

from __future__ import annotations

from typing import Any

import qt

from OpenVocabCTSlicer.strings import _


class Dialogs:
    """Asks with Qt dialogs.

    Args:
        parent: the widget they belong to.
    """

    def __init__(self, parent: Any = None) -> None:
        self._parent = parent

    def consent(self, title: str, text: str, accept: str = "") -> bool:
        """Ask once; True for yes.

        Args:
            title: the question.
            text: what a yes leads to.
            accept: the button that says yes, "Install" where none is given.
        """
        box = qt.QMessageBox(self._parent)
        box.setIcon(qt.QMessageBox.Question)
        box.windowTitle = title
        box.text = title
        box.informativeText = text
        yes = box.addButton(accept or _("Install"), qt.QMessageBox.AcceptRole)
        box.addButton(qt.QMessageBox.Cancel)
        box.exec_()
        return box.clickedButton() == yes

    def report(self, title: str, hint: str) -> str:
        """Let the user paste a report; "" when they did not."""
        box = qt.QDialog(self._parent)
        box.windowTitle = title
        box.setMinimumSize(520, 360)
        layout = qt.QVBoxLayout(box)
        label = qt.QLabel(hint)
        label.wordWrap = True
        text = qt.QPlainTextEdit()
        text.objectName = "reportEdit"
        text.tabChangesFocus = True
        buttons = qt.QDialogButtonBox()
        buttons.setStandardButtons(qt.QDialogButtonBox.Ok | qt.QDialogButtonBox.Cancel)
        for widget in (label, text, buttons):
            layout.addWidget(widget)
        buttons.connect("accepted()", box.accept)
        buttons.connect("rejected()", box.reject)
        pasted: str = text.toPlainText() if box.exec_() else ""
        # The report must not stay in memory as long as the main window does.
        box.deleteLater()
        return pasted

    def folder(self, title: str) -> str:
        """Let the user choose a folder; "" when they did not."""
        return qt.QFileDialog.getExistingDirectory(self._parent, title) or ""
