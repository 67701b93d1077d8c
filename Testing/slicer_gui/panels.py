"""The real panel from the real .ui file, on fakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer

from Testing.slicer_gui.fakes import FakeLogic, tools
from Testing.slicer_gui.gui import events, show

UI = Path(__file__).resolve().parents[2] / "OpenVocabCT" / "Resources" / "UI"


class Bench:
    """A shown panel with everything a test looks at."""

    def __init__(self, environment: Any, logic: FakeLogic | None = None, volume: bool = True, **changes: Any) -> None:
        from OpenVocabCTSlicer.parameters import parameter_node
        from OpenVocabCTSlicer.widget import Panel

        self.scene, self.app = environment.scene, environment.app
        self.logic = logic or FakeLogic()
        self.tools = tools(self.scene, self.app, self.logic, **changes)
        self.volume = self.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT 1") if volume else None
        if self.logic.segmentation is None:
            self.logic.segmentation = self.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "CT 1 segmentation")
        self.widget = slicer.util.loadUI(str(UI / "OpenVocabCT.ui"))
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.panel = Panel(self.ui, self.tools, lambda: parameter_node(self.scene))
        show(self.widget)
        self.panel.enter()
        events()

    @property
    def message(self) -> str:
        return self.ui.messageLabel.text if self.ui.messagePanel.visible else ""
