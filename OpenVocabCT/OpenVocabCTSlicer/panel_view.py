"""What the panel's own widgets show, and how it gets into the scene's parameter node and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from OpenVocabCTSlicer.belonging import belongs_to_another
from OpenVocabCTSlicer.parameters import Parameters
from OpenVocabCTSlicer.prompt_box import PromptBox
from OpenVocabCTSlicer.prompts_text import split_prompts
from OpenVocabCTSlicer.result_table import ResultTable
from OpenVocabCTSlicer.strings import _
from OpenVocabCTSlicer.tools import Tools


class PanelView:
    """Selectors, prompt box, table and the Apply button.

    Args:
        ui: the widgets of OpenVocabCT.ui by name.
        tools: has the undo, which says whether a run can be taken back.
        parameter_node: returns the node that keeps the parameters in the scene.
        table: the results.
        prompts: the prompt box.
    """

    def __init__(
        self, ui: Any, tools: Tools, parameter_node: Callable[[], Any], table: ResultTable, prompts: PromptBox
    ) -> None:
        self._ui = ui
        self._tools = tools
        self._parameter_node = parameter_node
        self._table = table
        self._prompts = prompts
        # What a report says of its prompts; they are kept with the text of the prompt box.
        self.sentences: Mapping[str, str] = {}
        self._reported: Any = None
        # Widgets that are being filled tell of changes as if the user had made them.
        self._filling = False

    @property
    def filling(self) -> bool:
        """Whether what changes now is changed by us and not by the user."""
        return self._filling

    @property
    def chosen(self) -> tuple[Any, Any]:
        """The CT and the segmentation, each None where none is chosen."""
        return self._ui.volumeSelector.currentNode(), self._ui.segmentationSelector.currentNode()

    def leave_other_ct(self) -> str:
        """Choose a new segmentation where the chosen one belongs to another CT; return what to say of it."""
        volume, segmentation = self.chosen
        if not belongs_to_another(segmentation, volume):
            return ""
        self._ui.segmentationSelector.setCurrentNode(None)
        said = _("{name} belongs to another CT: the next answer goes into a new segmentation")
        return said.format(name=segmentation.GetName())

    def hold(self) -> None:
        """Take no change for the user's until `load`: while a scene goes or comes the selectors lose their nodes."""
        self._filling = True

    def load(self) -> None:
        """Show what the parameter node says."""
        self._filling = True
        try:
            parameters = Parameters.read(self._parameter_node())
            self._prompts.text = parameters.prompts
            self.sentences, self._reported = parameters.sentences, parameters.volume
            self._ui.volumeSelector.setCurrentNode(parameters.volume)
            self._ui.segmentationSelector.setCurrentNode(parameters.segmentation)
            if parameters.rows != self._table.rows:
                self._table.show(parameters.rows)
        finally:
            self._filling = False

    def link(self, sentences: Mapping[str, str]) -> None:
        """Keep what a report says of its prompts, until another CT than the one it is about is chosen."""
        self.sentences, self._reported = sentences, self._ui.volumeSelector.currentNode()
        self.save()

    def save(self) -> None:
        """Put what is shown into the parameter node."""
        if self._filling:
            return
        volume = self._ui.volumeSelector.currentNode()
        if self._reported is not None and volume is not self._reported:
            self.sentences = {}
        if self.sentences:
            self._reported = volume
        Parameters(
            prompts=self._prompts.text,
            volume=volume,
            segmentation=self._ui.segmentationSelector.currentNode(),
            rows=self._table.rows,
            sentences=self.sentences,
        ).write(self._parameter_node())

    def set_scene(self, scene: Any) -> None:
        """Offer the nodes of a scene; None lets go of it."""
        self._filling = True
        try:
            self._ui.volumeSelector.setMRMLScene(scene)
            self._ui.segmentationSelector.setMRMLScene(scene)
        finally:
            self._filling = False

    def show_busy(self) -> None:
        """A run goes on: Apply becomes Cancel."""
        self._ui.applyButton.text = _("Cancel")
        self._ui.applyButton.enabled = True
        self._set_enabled(False)

    def show_stopping(self) -> None:
        """Cancel was pressed."""
        self._ui.applyButton.text = _("Stopping...")
        self._ui.applyButton.enabled = False

    def show_idle(self) -> None:
        """Nothing goes on."""
        self._ui.applyButton.text = _("Apply")
        self._set_enabled(True)
        ready = self._ui.volumeSelector.currentNode() is not None and bool(split_prompts(self._prompts.text))
        self._ui.applyButton.enabled = ready
        self._ui.applyButton.toolTip = _("Segment (Ctrl+Enter)") if ready else _("Choose a CT and type what to segment")
        node = self._ui.segmentationSelector.currentNode()
        self._ui.undoButton.enabled = self._tools.undo.can_restore(node)
        self._ui.show3DButton.setSegmentationNode(node)

    def _set_enabled(self, enabled: bool) -> None:
        ui = self._ui
        for widget in (
            ui.volumeSelector,
            ui.segmentationSelector,
            ui.undoButton,
            ui.exportDicomButton,
            ui.fromReportButton,
        ):
            widget.enabled = enabled
        self._table.set_sliders_enabled(enabled)
