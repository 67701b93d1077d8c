"""Driving widgets as a user does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtTest, QtWidgets

from Testing.pythonqt.proxies import unwrap


def events() -> None:
    """Let Qt do what is due."""
    QtWidgets.QApplication.processEvents()


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Let events happen until something is true; fails when it does not become true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        QtWidgets.QApplication.processEvents(QtCore.QEventLoop.ProcessEventsFlag.AllEvents, 5)
        time.sleep(0.001)


def click(widget: Any) -> None:
    QtTest.QTest.mouseClick(unwrap(widget), QtCore.Qt.MouseButton.LeftButton)


def type_text(widget: Any, text: str) -> None:
    unwrap(widget).setFocus()
    for number, line in enumerate(text.split("\n")):
        if number:  # keyClicks knows no line breaks
            press(widget, "Return")
        QtTest.QTest.keyClicks(unwrap(widget), line)


def press(widget: Any, key: str) -> None:
    """Press a key, as "Return" or "Ctrl+Return"."""
    modifier = QtCore.Qt.KeyboardModifier.NoModifier
    if key.startswith("Ctrl+"):
        modifier, key = QtCore.Qt.KeyboardModifier.ControlModifier, key.removeprefix("Ctrl+")
    QtTest.QTest.keyClick(unwrap(widget), getattr(QtCore.Qt.Key, f"Key_{key}"), modifier)


def show(widget: Any) -> Any:
    """Show a widget, so that it gets the keyboard."""
    real = unwrap(widget)
    real.show()
    real.activateWindow()
    QtTest.QTest.qWaitForWindowActive(real, 1000)
    return widget
