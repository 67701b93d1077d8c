"""The module's panel: what happens when the user types, runs, stops, moves a slider.

Qt only: the work is done by the logic and the worker, in Steps that a timer drives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from OpenVocabCTLib.errors import Cancelled, InputError, OpenVocabCTError
from OpenVocabCTLib.worker.steps import Steps
from OpenVocabCTSlicer.advanced import AdvancedSection
from OpenVocabCTSlicer.install_flow import InstallFlow
from OpenVocabCTSlicer.logic import Request, ResultRow
from OpenVocabCTSlicer.panel_view import PanelView
from OpenVocabCTSlicer.progress_view import MessageView, ProgressView
from OpenVocabCTSlicer.prompt_box import PromptBox
from OpenVocabCTSlicer.prompts_text import split_prompts
from OpenVocabCTSlicer.report_flow import ReportFlow
from OpenVocabCTSlicer.result_table import DOUBT_MARK, ResultTable
from OpenVocabCTSlicer.segments import edited_since
from OpenVocabCTSlicer.strings import _
from OpenVocabCTSlicer.task_runner import TaskRunner, sentence
from OpenVocabCTSlicer.threshold_queue import ThresholdQueue
from OpenVocabCTSlicer.tools import Tools


class Panel:
    """The panel.

    Args:
        ui: the widgets of OpenVocabCT.ui by name.
        tools: everything the panel works with.
        parameter_node: returns the node that keeps the parameters in the scene.
    """

    def __init__(self, ui: Any, tools: Tools, parameter_node: Callable[[], Any]) -> None:
        self._ui = ui
        self._tools = tools
        # What the rows of the table answer, to ask again when a slider moves; and what they belong to.
        self._request: Request | None = None
        self._chosen: tuple[Any, Any] = (None, None)
        self._error: Exception | None = None
        self.runner = TaskRunner(ui.applyButton)
        self.progress = ProgressView(ui.progressPanel, ui.progressBar, ui.progressLabel)
        self.thresholds = ThresholdQueue(
            ui.resultTable,
            tools.logic,
            self._on_new_answer,
            self._on_threshold_error,
            lambda: self._begin(_("Reading the CT again")),
            self.progress.show,
        )
        self.message = MessageView(ui.messagePanel, ui.messageLabel, ui.copyReportButton)
        self.table = ResultTable(ui.resultTable, self._on_threshold, self._on_row_selected)
        self.prompts = PromptBox(
            ui.promptEdit, ui.historyButton, ui.favouritesButton, tools.history, tools.favourites, self._on_shortcut
        )
        self.install = InstallFlow(tools.installer, tools.dialogs, self.runner, self.progress.show)
        self.advanced = AdvancedSection(
            ui,
            tools.settings,
            tools.session,
            tools.is_running,
            tools.dialogs,
            self._on_server_changed,
            self._on_install_from,
        )
        self.view = PanelView(ui, tools, parameter_node, self.table, self.prompts)
        self.view.set_scene(tools.scene)
        self.reports = ReportFlow(tools, self.view, self.prompts, self._start, self._on_report_read)
        self._connections = [
            (ui.applyButton, "clicked()", self.on_apply),
            (ui.fromReportButton, "clicked()", self._on_from_report),
            (ui.promptEdit, "textChanged()", self._on_edited),
            (ui.volumeSelector, "currentNodeChanged(vtkMRMLNode*)", self._on_node_changed),
            (ui.segmentationSelector, "currentNodeChanged(vtkMRMLNode*)", self._on_node_changed),
            (ui.copyReportButton, "clicked()", self._on_copy_report),
            (ui.copyTableButton, "clicked()", self._on_copy_table),
            (ui.undoButton, "clicked()", self._on_undo),
            (ui.exportDicomButton, "clicked()", self._on_export_dicom),
        ]
        for widget, signal, slot in self._connections:
            widget.connect(signal, slot)
        self.load_parameters()

    # What the module widget calls

    def enter(self) -> None:
        """The user opened the module: show the scene's parameters and fetch the phrases to offer."""
        self.load_parameters()
        if self._ui.volumeSelector.currentNode() is None:
            self._ui.volumeSelector.setCurrentNode(self._tools.default_volume())
        self.advanced.show_packages(self.install.summary())
        self.prompts.load_vocabulary(self._tools.vocabulary, self._tools.log)

    def scene_closes(self) -> None:
        """Stop at once: the nodes are about to go; `load_parameters` has to follow. Packages are installed on."""
        if not self.install.running:
            self.runner.close()
        self.thresholds.close()
        self._tools.undo.forget()
        self._request = None
        self.view.link({})
        self._show_idle()
        self.message.clear()
        self.view.hold()

    def scene_loads(self) -> None:
        """Keep the parameter node as the loaded scene has it; `load_parameters` has to follow."""
        self.view.hold()

    def load_parameters(self, *_observed: Any) -> None:
        """Show what the parameter node says."""
        rows = self.table.rows
        self.view.load()
        if self.view.chosen != self._chosen or self.table.rows != rows:
            # They are of another scene, or of another session.
            self._chosen = self.view.chosen
            self._drop_request()
        self._leave_other_ct()
        self._show_idle()

    def dispose(self) -> None:
        """Stop and disconnect everything."""
        for part in (self.runner, self.thresholds, self.prompts, self.table, self.advanced):
            part.dispose()
        for widget, signal, slot in self._connections:
            widget.disconnect(signal, slot)
        self._connections = []
        self.view.set_scene(None)

    # Running

    def on_apply(self) -> None:
        """Run, or stop what runs."""
        if self._busy:
            self.view.show_stopping()
            self.runner.cancel()
            self.thresholds.cancel()
            return
        self.message.clear()
        self._error = None
        try:
            request = self._read_request()
        except InputError as error:
            self._on_error(error)
            return
        self.prompts.completion.hide()
        self._stop_sliders()
        self._when_ready(lambda: self._run(request))

    def _when_ready(self, go_on: Callable[[], None]) -> None:
        """Go on when the engine's packages are there, or at once where the engine is elsewhere."""
        if self._tools.settings.remote:
            go_on()
        else:
            self._begin(_("Checking the packages"))
            self.install.ensure(go_on, self._on_error)
            self._show_idle()

    def _read_request(self) -> Request:
        volume = self._ui.volumeSelector.currentNode()
        if volume is None:
            raise InputError(_("no CT is chosen"), _("load a CT and choose it above"))
        prompts = split_prompts(self.prompts.text)
        if not prompts:
            raise InputError(_("there is no prompt"), _("type a structure, as left kidney"))
        settings = self._tools.settings
        return Request(
            volume,
            self._ui.segmentationSelector.currentNode(),
            prompts,
            model=settings.model,
            device=settings.device,
            sentences=self.view.sentences,
        )

    def _run(self, request: Request) -> None:
        self.prompts.remember()
        self._start(
            _("Starting"),
            lambda: self._tools.logic().segment(request),
            lambda results: self._on_results(request, results),
        )

    def _on_results(self, request: Request, results: Any) -> None:
        # A scene that was loaded meanwhile may have chosen another CT than these rows are about.
        self._ui.volumeSelector.setCurrentNode(request.volume)
        self._ui.segmentationSelector.setCurrentNode(results.segmentation)
        # Sliders answer for the segmentation that was written to, which may be new, and for this content of the CT.
        self._request = replace(request, segmentation=results.segmentation, revision=results.revision)
        self.table.show(results.rows)
        self._ui.resultsSection.collapsed = False
        self.view.save()
        self._show_idle()
        self.prompts.load_vocabulary(self._tools.vocabulary, self._tools.log)
        missing = sum(not row.found for row in results.rows)
        unusual = sum(bool(row.doubt) for row in results.rows)
        notes = list(results.notes)
        if results.edits_replaced:
            notes.append(_replaced(results.edits_replaced))
        if missing:
            notes.append(_("{missing} of {count} not found").format(missing=missing, count=len(results.rows)))
        if unusual:
            marked = _("{unusual} of {count} unusual, marked {mark}: point at the mark to see why")
            notes.append(marked.format(unusual=unusual, count=len(results.rows), mark=DOUBT_MARK))
        self.message.say("\n".join(notes))

    def _on_error(self, error: Exception) -> None:
        self._show_idle()
        if isinstance(error, Cancelled):
            self.message.say(sentence(error))
            return
        self._error = error
        self.message.complain(sentence(error))

    # Reports

    def _on_from_report(self) -> None:
        text = "" if self._busy else self.reports.ask()
        if text:
            self.message.clear()
            self._error = None
            self._when_ready(lambda: self.reports.read(text))

    def _on_report_read(self, summary: str) -> None:
        self._show_idle()
        self.message.say(summary)

    # Thresholds

    def _on_threshold(self, prompt: str, threshold: float) -> None:
        if self._request is None:
            self.table.settle_sliders()
            self.message.say(_("the CT was read in another session: press Apply, then move the slider"))
        elif not self.runner.running:
            self.thresholds.ask(self._request, prompt, threshold)

    def _on_new_answer(self, results: Any) -> None:
        self.table.update_row(results.rows[0])
        self.view.save()
        self._show_idle()
        if results.edits_replaced:
            self.message.say(_replaced(results.edits_replaced))

    def _on_threshold_error(self, error: Exception) -> None:
        self.table.settle_sliders()
        self._on_error(error)

    def _stop_sliders(self) -> None:
        """Drop answers under way: they would be written after what comes now."""
        self.thresholds.close()
        self.table.settle_sliders()

    def _drop_request(self) -> None:
        self._stop_sliders()
        self._request = None

    # Smaller things

    def _on_shortcut(self) -> None:
        if self._ui.applyButton.enabled and not self._busy:
            self.on_apply()

    def _on_edited(self) -> None:
        self.view.save()
        self._show_idle()

    def _on_node_changed(self, _node: Any) -> None:
        if self.view.filling:
            return
        self._leave_other_ct()
        if self.view.chosen != self._chosen:
            self._chosen = self.view.chosen
            self._clear_rows()
        self._ui.show3DButton.setSegmentationNode(self._ui.segmentationSelector.currentNode())
        self.view.save()
        self._show_idle()

    def _leave_other_ct(self) -> None:
        said = self.view.leave_other_ct()
        if said:
            self.message.say(said)

    def _clear_rows(self) -> None:
        """Show no results: those that were there belong to something else than what is chosen."""
        self._drop_request()
        self.table.show(())

    def _on_server_changed(self) -> None:
        # Another engine has not read the CT.
        self._drop_request()
        self._tools.server_changed()

    def _on_row_selected(self, row: ResultRow) -> None:
        if row.segment_id and self._request is not None:
            self._tools.show_segment(self._request.segmentation, row.segment_id)
        if row.sentence:
            self.message.say(_("Report: {sentence}").format(sentence=row.sentence))

    def _on_undo(self) -> None:
        if self._busy:
            return
        self._stop_sliders()
        _volume, node = self.view.chosen
        if self._may_undo(node) and self._tools.undo.restore(node):
            self._clear_rows()
            self.view.save()
            self.message.say(_("taken back: the segmentation is as it was before"))
        self._show_idle()

    def _may_undo(self, node: Any) -> bool:
        if not self._tools.undo.meets_other_work(node):
            return True
        text = _("The segmentation was also changed by hand. Undo takes these changes back too.")
        return bool(self._tools.dialogs.consent(_("Undo what was changed by hand?"), text, _("Undo")))

    def _on_export_dicom(self) -> None:
        folder = self._tools.dialogs.folder(_("Folder for the DICOM SEG file"))
        if not folder:
            return
        try:
            written = self._tools.dicom_export().export(*self.view.chosen, Path(folder))
        except OpenVocabCTError as error:
            self._on_error(error)
            return
        self.message.say(_("wrote {name}").format(name=", ".join(path.name for path in written)))

    def _on_copy_table(self) -> None:
        _volume, node = self.view.chosen
        if node is None or self._busy:
            self._tools.copy(self.table.text())
        else:
            self._start(_("Looking at the segments"), lambda: edited_since(node), self._copy_table)

    def _copy_table(self, edited: frozenset[str]) -> None:
        self._tools.copy(self.table.text(edited))
        self._show_idle()
        names = [row.name for row in self.table.rows if row.segment_id in edited]
        if names:
            said = _("edited by hand since, so that the copied numbers are of before: {names}")
            self.message.say(said.format(names=", ".join(names)))

    def _on_copy_report(self) -> None:
        self._tools.copy(self._tools.report(self._error, self.install.summary()))

    def _on_install_from(self, folder: str) -> None:
        if self._busy:
            return
        self._begin(_("Installing the packages"))
        self.install.ensure(self._on_installed, self._on_error, wheel_folder=Path(folder))
        self._show_idle()

    def _on_installed(self) -> None:
        self._show_idle()
        self.advanced.show_packages(self.install.summary())
        self.message.say(_("the packages are complete"))

    def _start(self, text: str, make: Callable[[], Steps[Any]], on_done: Callable[[Any], None]) -> None:
        self._begin(text)
        try:
            steps = make()
        except OpenVocabCTError as error:
            self._on_error(error)
            return
        self.runner.start(steps, on_done, self._on_error, self.progress.show)

    @property
    def _busy(self) -> bool:
        """Whether something goes on that Apply, which then is Cancel, stops."""
        return self.runner.running or self.thresholds.slow

    def _begin(self, text: str) -> None:
        self.progress.begin(text)
        self.view.show_busy()
        self.advanced.set_enabled(False)

    def _show_idle(self) -> None:
        """Show that nothing goes on, unless something does."""
        if self._busy:
            return
        self.progress.hide()
        self.view.show_idle()
        self.advanced.set_enabled(True)


def _replaced(names: Sequence[str]) -> str:
    said = _("edited by hand before, and replaced by this answer: {names}. Undo brings it back")
    return said.format(names=", ".join(names))
