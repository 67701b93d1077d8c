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

    def consent(self, title: str, text: str) -> bool:
        """Ask once whether to install what the text lists; True for yes."""
        box = qt.QMessageBox(self._parent)
        box.setIcon(qt.QMessageBox.Question)
        box.windowTitle = title
        box.text = title
        box.informativeText = text
        install = box.addButton(_("Install"), qt.QMessageBox.AcceptRole)
        box.addButton(qt.QMessageBox.Cancel)
        box.exec_()
        return box.clickedButton() == install

    def folder(self, title: str) -> str:
        """Let the user choose a folder; "" when they did not."""
        return qt.QFileDialog.getExistingDirectory(self._parent, title) or ""
