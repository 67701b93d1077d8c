"""The Segment Editor effect "Text prompt": a structure in words changes the selected segment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.output.segmentation import Segmentation
from OpenVocabCTSlicer.belonging import belongs_to_another, check_patient, reference_of
from OpenVocabCTSlicer.combine import Modifier, combine
from OpenVocabCTSlicer.logic import Request
from OpenVocabCTSlicer.progress_view import ProgressView
from OpenVocabCTSlicer.prompts_text import split_prompts
from OpenVocabCTSlicer.segment_tags import SegmentTags
from OpenVocabCTSlicer.strings import _
from OpenVocabCTSlicer.task_runner import TaskRunner, sentence
from OpenVocabCTSlicer.tools import Tools

SET, ADD, SUBTRACT, INTERSECT = MODES = ("set", "add", "subtract", "intersect")
_ROI = "ROI"


@dataclass(frozen=True)
class _Target:
    """What Apply was pressed for; the user may select something else while it runs.

    Attributes:
        segmentation: vtkMRMLSegmentationNode.
        segment_id: the selected segment.
        volume: the source volume.
        roi: vtkMRMLMarkupsROINode or None.
        mode: one of `MODES`.
    """

    segmentation: Any
    segment_id: str
    volume: Any
    roi: Any
    mode: str

    def check(self) -> None:
        """Check that everything is still there.

        Raises:
            InputError: the segment, its segmentation, the CT or the ROI was deleted.
        """
        nodes = [self.segmentation, self.volume] + ([] if self.roi is None else [self.roi])
        if any(node.GetScene() is None for node in nodes) or (
            self.segmentation.GetSegmentation().GetSegment(self.segment_id) is None
        ):
            raise InputError(
                _("what the result belongs to was deleted meanwhile"), _("select a segment and press Apply")
            )


class TextPrompt:
    """The effect's options and what they do.

    Args:
        effect: the host, qSlicerSegmentEditorScriptedEffect.
        ui: the widgets of SegmentEditorOpenVocabCT.ui by name.
        tools: shared with the module's panel.
    """

    def __init__(self, effect: Any, ui: Any, tools: Tools) -> None:
        self._effect = effect
        self._ui = ui
        self._tools = tools
        self._target: _Target | None = None
        self.runner = TaskRunner(ui.applyButton)
        self._progress = ProgressView(ui.progressPanel, ui.progressBar, ui.progressLabel)
        names = {SET: _("Set"), ADD: _("Add to"), SUBTRACT: _("Subtract from"), INTERSECT: _("Intersect with")}
        for mode in MODES:
            ui.modeSelector.addItem(names[mode], mode)
        ui.roiSelector.setMRMLScene(tools.scene)
        self._connections = [
            (ui.applyButton, "clicked()", self.on_apply),
            (ui.promptEdit, "returnPressed()", self._on_return),
            (ui.promptEdit, "editingFinished()", self.store_parameters),
            (ui.modeSelector, "currentIndexChanged(int)", self.store_parameters),
            (ui.roiSelector, "currentNodeChanged(vtkMRMLNode*)", self.store_parameters),
        ]
        for widget, signal, slot in self._connections:
            widget.connect(signal, slot)
        # The selector of ROIs empties and fills again at the end of an import, which is no choice of the user's.
        self._importing = False
        scene = tools.scene
        self._observations = [
            # The application can close the scene without the editor noticing before the nodes are gone.
            scene.AddObserver(scene.StartCloseEvent, self._on_scene_closes),
            scene.AddObserver(scene.StartImportEvent, self._on_import_begins),
            scene.AddObserver(scene.EndImportEvent, self._on_import_ends),
        ]

    def on_apply(self) -> None:
        """Run, or stop what runs."""
        if self.runner.running:
            self._ui.applyButton.enabled = False
            self._ui.applyButton.text = _("Stopping...")
            self.runner.cancel()
            return
        self._ui.messageLabel.text = ""
        if not self._effect.confirmCurrentSegmentVisible():
            return
        self.store_parameters()
        try:
            self._target = self._read_target()
            steps = self._tools.logic().answer(self._request(self._target))
        except InputError as error:
            self._ui.messageLabel.text = sentence(error)
            return
        self._ui.applyButton.text = _("Cancel")
        self._progress.begin(_("Starting"))
        self.runner.start(steps, self._on_answer, self._on_error, self._progress.show)

    def stop(self) -> None:
        """Ask what runs to stop."""
        self.runner.cancel()

    def show_parameters(self) -> None:
        """Show what the parameter node says."""
        blocked = [(widget, widget.blockSignals(True)) for widget in self._inputs()]
        self._ui.promptEdit.text = self._effect.parameter("Prompt")
        mode = self._effect.parameter("Mode")
        self._ui.modeSelector.setCurrentIndex(MODES.index(mode) if mode in MODES else 0)
        self._ui.roiSelector.setCurrentNode(self._effect.nodeReference(_ROI))
        for widget, before in blocked:
            widget.blockSignals(before)

    def store_parameters(self) -> None:
        """Put what is shown into the parameter node."""
        if self._importing:
            return
        # All is read first: with each value that changes the editor calls `show_parameters`, which shows the others as
        # they were.
        prompt, roi = self._ui.promptEdit.text, self._ui.roiSelector.currentNode()
        mode = MODES[max(0, self._ui.modeSelector.currentIndex)]
        self._effect.setParameter("Prompt", prompt)
        self._effect.setParameter("Mode", mode)
        self._effect.setNodeReference(_ROI, roi)

    def dispose(self) -> None:
        """Stop; leave no timer, connection or observer behind."""
        self.runner.dispose()
        for widget, signal, slot in self._connections:
            widget.disconnect(signal, slot)
        self._connections = []
        for observation in self._observations:
            self._tools.scene.RemoveObserver(observation)
        self._ui.roiSelector.setMRMLScene(None)

    def _inputs(self) -> tuple[Any, ...]:
        return self._ui.promptEdit, self._ui.modeSelector, self._ui.roiSelector

    def _on_return(self) -> None:
        if not self.runner.running:
            self.on_apply()

    def _read_target(self) -> _Target:
        editor = self._effect.parameterSetNode()
        segmentation, segment_id = editor.GetSegmentationNode(), editor.GetSelectedSegmentID()
        volume = editor.GetSourceVolumeNode()
        if segmentation is None or not segment_id:
            raise InputError(_("no segment is selected"), _("add or select a segment above"))
        if volume is None:
            raise InputError(_("no source volume is chosen"), _("choose the CT above"))
        check_patient(segmentation, volume)
        mode = MODES[max(0, self._ui.modeSelector.currentIndex)]
        return _Target(segmentation, segment_id, volume, self._ui.roiSelector.currentNode(), mode)

    def _request(self, target: _Target) -> Request:
        prompts = split_prompts(self._ui.promptEdit.text)
        if not prompts:
            raise InputError(_("there is no prompt"), _("type a structure, as left kidney"))
        settings = self._tools.settings
        if not settings.remote and not self._tools.installer.check().ready:
            raise InputError(
                _("Python packages are missing"), _("press Apply in the module OpenVocabCT, it installs them")
            )
        return Request(target.volume, target.segmentation, prompts, model=settings.model, device=settings.device)

    def _on_answer(self, answer: Segmentation) -> None:
        target, self._target = self._target, None
        assert target is not None
        self._show_idle()
        if not answer.found:
            said = _("Not found, nothing was changed. {reasons}").format(reasons=_reasons(answer))
            self._ui.messageLabel.text = said
            return
        try:
            target.check()
            self._change(target, answer)
        except InputError as error:
            self._ui.messageLabel.text = sentence(error)

    def _change(self, target: _Target, answer: Segmentation) -> None:
        import slicer

        change = combine(target, answer)
        remarks = _remarks(target, answer, change)
        # Everything that can fail has been done: undo must never hold a state that nothing followed.
        self._effect.saveStateForUndo()
        kinds = slicer.qSlicerSegmentEditorAbstractEffect
        modes = {
            "set": kinds.ModificationModeSet,
            "add": kinds.ModificationModeAdd,
            "remove": kinds.ModificationModeRemove,
        }
        for labelmap, operation in ((change.cleared, "remove"), (change.labelmap, change.operation)):
            if labelmap is not None:
                self._effect.modifySegmentByLabelmap(
                    target.segmentation, target.segment_id, labelmap, modes[operation], False
                )
        SegmentTags(target.segmentation.GetSegmentation().GetSegment(target.segment_id)).tell_maker(with_help=True)
        self._ui.messageLabel.text = "\n".join(remarks)

    def _on_error(self, error: Exception) -> None:
        self._target = None
        self._show_idle()
        self._ui.messageLabel.text = sentence(error)

    def _show_idle(self) -> None:
        self._progress.hide()
        self._ui.applyButton.text = _("Apply")
        self._ui.applyButton.enabled = True

    def _on_import_begins(self, _caller: Any, _event: str) -> None:
        self._importing = True

    def _on_import_ends(self, _caller: Any, _event: str) -> None:
        self._importing = False
        self.show_parameters()

    def _on_scene_closes(self, _caller: Any, _event: str) -> None:
        self.runner.close()
        self._target = None
        self._show_idle()


def _remarks(target: _Target, answer: Segmentation, change: Modifier) -> list[str]:
    """Return what the user should know about a change, one sentence each."""
    remarks = list(answer.notes)
    missing = _reasons(answer)
    if missing:
        remarks.append(_("Not found, and so ignored: {reasons}").format(reasons=missing))
    if belongs_to_another(target.segmentation, target.volume):
        reference = reference_of(target.segmentation)
        name = _("another CT") if reference is None else reference.GetName()
        said = _("Found in {volume}, while the segmentation belongs to {reference}: check that they fit")
        remarks.append(said.format(volume=target.volume.GetName(), reference=name))
    if change.cut and target.mode in (SET, ADD):
        remarks.append(_("A part lies outside of the segmentation's geometry and was left out"))
    unusual = "; ".join(f"{segment.name}: {doubt}" for segment in answer for doubt in segment.doubts)
    if unusual:
        remarks.append(_("Unusual: {doubt}").format(doubt=unusual))
    return remarks


def _reasons(answer: Segmentation) -> str:
    return "; ".join(f"{segment.name}: {segment.reason}" for segment in answer if not segment.found)
