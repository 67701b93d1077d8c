"""Segment structures in CT from text prompts: the module, as Slicer finds it."""

from __future__ import annotations

import os
import sys
import unittest
from pathlib import Path
from typing import Any

import slicer
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

_FOLDER = Path(__file__).resolve().parent
# In a checkout the library lies beside this folder; an installed extension has it where Slicer looks already.
for _folder in (_FOLDER, _FOLDER.parent):
    if str(_folder) not in sys.path and ((_folder / "OpenVocabCTLib").is_dir() or _folder == _FOLDER):
        sys.path.append(str(_folder))

from OpenVocabCTSlicer.strings import _, translate  # noqa: E402

EFFECT = _FOLDER / "SegmentEditorOpenVocabCTLib" / "SegmentEditorEffect.py"


class OpenVocabCT(ScriptedLoadableModule):
    """What Slicer shows about the module, and the registration of the Segment Editor effect."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "OpenVocabCT"
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Segmentations", "Terminologies"]
        parent.contributors = ["OpenVocabCT developers"]
        parent.helpText = _("Type what to segment in a CT, as left kidney or spleen, and press Apply.")
        parent.acknowledgementText = _("See the README for the model's training data and its limits.")
        slicer.app.connect("startupCompleted()", register_effect)
        slicer.app.connect("startupCompleted()", offer_sample)


def register_effect() -> None:
    """Add "Text prompt" to the Segment Editor."""
    import qSlicerSegmentationsEditorEffectsPythonQt as effects

    effect = effects.qSlicerSegmentEditorScriptedEffect(None)
    # Slicer wants forward slashes, also on Windows.
    effect.setPythonSource(os.fspath(EFFECT).replace("\\", "/"))
    effect.self().register()


def offer_sample() -> None:
    """List the CT of the tutorial among Slicer's sample data."""
    import SampleData

    from OpenVocabCTSlicer.sample_data import register_sample_data

    register_sample_data(SampleData.SampleDataLogic)


class OpenVocabCTWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Loads the panel and tells it what happens to the scene."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: OpenVocabCTLogic | None = None
        self.panel: Any = None

    def setup(self) -> None:
        """Build the panel."""
        ScriptedLoadableModuleWidget.setup(self)
        from OpenVocabCTSlicer.tools import default_tools
        from OpenVocabCTSlicer.widget import Panel

        widget = slicer.util.loadUI(self.resourcePath("UI/OpenVocabCT.ui"))
        self.layout.addWidget(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.logic = OpenVocabCTLogic()
        self.panel = Panel(slicer.util.childWidgetVariables(widget), default_tools(), self.logic.getParameterNode)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.on_scene_closes)
        self.addObserver(scene, scene.EndCloseEvent, self.on_scene_changed)
        self.addObserver(scene, scene.StartImportEvent, self.on_scene_loads)
        self.addObserver(scene, scene.EndImportEvent, self.on_scene_changed)

    def enter(self) -> None:
        """The user opens the module."""
        if self.panel is not None:
            self.panel.enter()

    def cleanup(self) -> None:
        """The module goes away: leave no observer, no connection and no process behind."""
        from OpenVocabCTSlicer.tools import forget_tools

        self.removeObservers()
        if self.panel is not None:
            self.panel.dispose()
            self.panel = None
        forget_tools()

    def on_scene_closes(self, _caller: Any, _event: str) -> None:
        """Stop before the nodes go."""
        if self.panel is not None:
            self.panel.scene_closes()

    def on_scene_loads(self, _caller: Any, _event: str) -> None:
        """Do not write into what is being loaded."""
        if self.panel is not None:
            self.panel.scene_loads()

    def on_scene_changed(self, _caller: Any, _event: str) -> None:
        """Show the parameters of the new or emptied scene."""
        if self.panel is not None:
            self.panel.load_parameters()


class OpenVocabCTLogic(ScriptedLoadableModuleLogic):
    """Keeps the parameter node; the work is in OpenVocabCTSlicer.logic."""


class OpenVocabCTTest(ScriptedLoadableModuleTest):
    """The self test, with the embedded weights and a small volume, without network."""

    def setUp(self) -> None:
        """Start from an empty scene."""
        slicer.mrmlScene.Clear(0)

    def runTest(self) -> None:
        """Run every check, as "Reload and Test" does."""
        for check in (self.test_parameters, self.test_engine):
            self.setUp()
            check()

    def test_parameters(self) -> None:
        """What is chosen is kept in the scene."""
        from OpenVocabCTSlicer.parameters import Parameters
        from OpenVocabCTSlicer.self_test import add_chest

        node = OpenVocabCTLogic().getParameterNode()
        chosen = Parameters("lungs", add_chest(slicer.mrmlScene))
        chosen.write(node)
        if Parameters.read(node) != chosen:
            raise AssertionError("the parameters do not come back from the scene")

    def test_engine(self) -> None:
        """The engine answers; skipped, and said so, where its packages are not installed."""
        from OpenVocabCTLib.worker.session import Session
        from OpenVocabCTSlicer.self_test import check_engine
        from OpenVocabCTSlicer.sessions import start_worker
        from OpenVocabCTSlicer.tools import default_tools

        if not default_tools().installer.check().ready:
            raise unittest.SkipTest("the engine's Python packages are not installed: press Apply in the module once")
        self.delayDisplay(check_engine(slicer.mrmlScene, Session(start_worker)))
