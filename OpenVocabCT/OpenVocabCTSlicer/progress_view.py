"""The progress bar, and the line that reports what went wrong or what to know."""

from __future__ import annotations

from typing import Any

from OpenVocabCTLib.worker.steps import Progress
from OpenVocabCTSlicer.progress_text import RemainingTime, duration, percent, stage_text


class ProgressView:
    """Shows how far the work is.

    Args:
        panel: holds the bar and the label; hidden while nothing goes on.
        bar: QProgressBar.
        label: QLabel.
    """

    def __init__(self, panel: Any, bar: Any, label: Any) -> None:
        self._panel, self._bar, self._label = panel, bar, label
        self._remaining = RemainingTime()
        self.hide()

    def begin(self, text: str) -> None:
        """Show a bar without an end."""
        self._remaining = RemainingTime()
        self._set(None)
        self._label.text = text
        self._panel.setVisible(True)

    def show(self, progress: Progress) -> None:
        """Show stage, amount and the time that is left."""
        seconds = self._remaining.seconds(progress)
        self._set(percent(progress))
        self._label.text = stage_text(progress) + ("" if seconds is None else f", {duration(seconds)}")

    def hide(self) -> None:
        """Nothing goes on."""
        self._panel.setVisible(False)

    def _set(self, value: int | None) -> None:
        # 0..0 is Qt's moving bar.
        self._bar.maximum = 0 if value is None else 100
        self._bar.value = 0 if value is None else value


class MessageView:
    """Shows one sentence, with a button to copy a report when it is about an error.

    Args:
        panel: holds the label and the button; hidden while there is nothing to say.
        label: QLabel.
        button: "Copy report".
    """

    def __init__(self, panel: Any, label: Any, button: Any) -> None:
        self._panel, self._label, self._button = panel, label, button
        self.clear()

    @property
    def text(self) -> str:
        """What is shown."""
        return self._label.text

    def say(self, text: str) -> None:
        """Show a remark."""
        self._show(text, error=False)

    def complain(self, text: str) -> None:
        """Show an error."""
        self._show(text, error=True)

    def clear(self) -> None:
        """Nothing to say."""
        self._label.text = ""
        self._panel.setVisible(False)

    def _show(self, text: str, error: bool) -> None:
        self._label.text = text
        self._button.setVisible(error)
        # A bar at the side in red or blue tells the two apart on light and dark themes.
        colour = "#c62828" if error else "#1565c0"
        self._panel.styleSheet = f"QFrame#messagePanel {{ border: none; border-left: 4px solid {colour}; }}"
        self._panel.setVisible(bool(text))
