"""The "From report..." button: ask for a report, have it read, put its prompts into the box."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from OpenVocabCTLib.worker.steps import Steps
from OpenVocabCTSlicer.panel_view import PanelView
from OpenVocabCTSlicer.prompt_box import PromptBox
from OpenVocabCTSlicer.radiology_report import Reading, read_report
from OpenVocabCTSlicer.strings import _
from OpenVocabCTSlicer.tools import Tools


class ReportFlow:
    """Fills the prompt box from a report; the user checks the prompts before they run.

    Args:
        tools: has the dialogs and the session.
        view: keeps the sentences with the prompts.
        prompts: the prompt box.
        start: starts work that the panel shows; gets what is said meanwhile, what makes the steps, and who gets
            the result.
        on_done: gets one or two sentences on what was read.
    """

    def __init__(
        self,
        tools: Tools,
        view: PanelView,
        prompts: PromptBox,
        start: Callable[[str, Callable[[], Steps[Any]], Callable[[Any], None]], None],
        on_done: Callable[[str], None],
    ) -> None:
        self._tools, self._view, self._prompts = tools, view, prompts
        self._start, self._on_done = start, on_done

    def ask(self) -> str:
        """Let the user paste a report; "" when there is none."""
        hint = _("Paste the report. What it finds becomes prompts, what it denies does not.")
        text: str = self._tools.dialogs.report(_("From report"), hint)
        return text.strip()

    def read(self, text: str) -> None:
        """Have the engine read a report."""
        self._start(_("Reading the report"), lambda: read_report(self._tools.session(), text), self._show)

    def _show(self, reading: Reading) -> None:
        self._prompts.text = reading.text
        self._view.link(reading.sentences)
        self._on_done(reading.summary)
