"""The Segment Editor effect, loaded as Slicer loads it, on Slicer's real editing logic."""

# ruff: noqa: N802 -- Slicer's names
from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from vtk.util.numpy_support import vtk_to_numpy

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.worker.steps import run
from Testing.openvocabct_lib.output.output_cases import box_mask, grid, segmentation
from Testing.pythonqt.modules import application
from Testing.pythonqt.proxies import unwrap
from Testing.slicer.scenes import SHAPE, ct_node, mask_of, segmentation_node, tag
from Testing.slicer_gui.fakes import FakeInstaller, FakeLogic, tools
from Testing.slicer_gui.gui import click, press, show, type_text, wait_until

EFFECT = Path(__file__).resolve().parents[2] / "OpenVocabCT" / "SegmentEditorOpenVocabCTLib" / "SegmentEditorEffect.py"
GRID = grid(shape=SHAPE)
SELECTED = box_mask(SHAPE, (0, 0, 0), (4, 4, 4))
OTHER = box_mask(SHAPE, (4, 4, 4), (6, 6, 6))
ANSWER = box_mask(SHAPE, (2, 2, 2), (6, 7, 8))


class Host:
    """qSlicerSegmentEditorScriptedEffect: parameters in the editor's node, editing by Slicer's logic."""

    def __init__(self, scene: Any, node: Any, volume: Any) -> None:
        self.editor = scene.AddNode(slicer.vtkMRMLSegmentEditorNode())
        self.editor.SetAndObserveSegmentationNode(node)
        self.editor.SetAndObserveSourceVolumeNode(volume)
        self.editor.SetSelectedSegmentID("liver")
        # Overlap is allowed by this choice; the default of the editor is to overwrite.
        self.editor.SetOverwriteMode(self.editor.OverwriteNone)
        self.logic = slicer.vtkSlicerSegmentEditorLogic()
        self.logic.SetMRMLScene(scene)
        self.logic.SetSegmentEditorNode(self.editor)
        self.history = slicer.vtkSegmentationHistory()
        self.history.SetSegmentation(node.GetSegmentation())
        self.confirmed = True
        self.widget: Any = None
        self.undo_states = 0
        # The editor calls updateGUIFromMRML of its effects, at once, for every parameter that changes.
        self.updateGUIFromMRML: Any = lambda: None

    def addOptionsWidget(self, widget: Any) -> None:
        self.widget = show(widget)

    def parameterSetNode(self) -> Any:
        return self.editor

    def parameter(self, name: str) -> str:
        return self.editor.GetAttribute(f"Text prompt.{name}") or ""

    def setParameter(self, name: str, value: str) -> None:
        if (self.editor.GetAttribute(f"Text prompt.{name}") or "") != value:
            self.editor.SetAttribute(f"Text prompt.{name}", value)
            self.updateGUIFromMRML()

    def setParameterDefault(self, name: str, value: str) -> None:
        if self.editor.GetAttribute(f"Text prompt.{name}") is None:
            self.setParameter(name, value)

    def nodeReference(self, name: str) -> Any:
        return self.editor.GetNodeReference(f"Text prompt.{name}")

    def setNodeReference(self, name: str, node: Any) -> None:
        if self.nodeReference(name) is not node:
            self.editor.SetNodeReferenceID(f"Text prompt.{name}", None if node is None else node.GetID())
            self.updateGUIFromMRML()

    def confirmCurrentSegmentVisible(self) -> bool:
        return self.confirmed

    def saveStateForUndo(self) -> None:
        self.undo_states += 1
        self.history.SaveState()

    def modifySegmentByLabelmap(self, node: Any, segment_id: str, labelmap: Any, mode: int, bypass: bool) -> None:
        assert bypass is False, "masking must be honoured"
        self.logic.ModifySegmentByLabelmap(node, segment_id, labelmap, mode, self.perSegment, bypass)


class Bench:
    def __init__(self, scene: Any, app: Any) -> None:
        self.scene = scene
        self.volume, self.node = ct_node(scene, GRID), segmentation_node(scene)
        from OpenVocabCTSlicer.segments import SegmentWriter
        from OpenVocabCTSlicer.tools import _shared

        masks = segmentation({"liver": SELECTED, "spleen": OTHER}, GRID)
        run(SegmentWriter().write(self.node, self.volume, masks))
        self.logic = FakeLogic(answer_with=segmentation({"stomach": ANSWER}, GRID))
        self.tools = _shared["tools"] = tools(scene, app, self.logic)
        self.host = Host(scene, self.node, self.volume)
        self.effect = _load().SegmentEditorEffect(self.host)
        self.effect.setupOptionsFrame()
        self.effect.setMRMLDefaults()
        self.host.updateGUIFromMRML = self.effect.updateGUIFromMRML
        self.effect.updateGUIFromMRML()
        self.ui = slicer.util.childWidgetVariables(self.host.widget)

    def apply(self, mode: str = "set", text: str = "stomach") -> None:
        self.ui.modeSelector.setCurrentIndex(("set", "add", "subtract", "intersect").index(mode))
        self.ui.promptEdit.text = text
        click(self.ui.applyButton)
        wait_until(lambda: not self.effect.textPrompt.runner.running)

    def mask(self, segment_id: str = "liver") -> np.ndarray:
        return mask_of(self.node, segment_id)


def _load() -> Any:
    """As qSlicerScriptedUtils does: under the folder's name, from the file."""
    spec = importlib.util.spec_from_file_location(EFFECT.parent.name, EFFECT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[EFFECT.parent.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def bench(slicer_gui: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    application()

    class AbstractScriptedSegmentEditorEffect:
        def __init__(self, scriptedEffect: Any) -> None:
            self.scriptedEffect = scriptedEffect

    base = types.SimpleNamespace(AbstractScriptedSegmentEditorEffect=AbstractScriptedSegmentEditorEffect)
    monkeypatch.setitem(sys.modules, "SegmentEditorEffects", base)
    kinds = slicer.vtkSlicerSegmentEditorLogic
    modes = types.SimpleNamespace(
        ModificationModeSet=kinds.ModificationModeSet,
        ModificationModeAdd=kinds.ModificationModeAdd,
        ModificationModeRemove=kinds.ModificationModeRemove,
    )
    monkeypatch.setattr(slicer, "qSlicerSegmentEditorAbstractEffect", modes, raising=False)
    made = Bench(slicer_gui.scene, slicer_gui.app)
    yield made
    made.effect.cleanup()
    unwrap(made.host.widget).deleteLater()


in_every_mode = pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("set", ANSWER),
        ("add", SELECTED | ANSWER),
        ("subtract", SELECTED & ~ANSWER),
        ("intersect", SELECTED & ANSWER),
    ],
)


@in_every_mode
def test_modes(bench: Bench, mode: str, expected: np.ndarray) -> None:
    bench.apply(mode)
    assert np.array_equal(bench.mask(), expected)
    assert np.array_equal(bench.mask("spleen"), OTHER), "overlap is allowed here: the neighbour keeps every voxel"
    assert bench.logic.requests[0].prompts == ("stomach",)
    assert bench.ui.messageLabel.text == ""
    assert tag(bench.node, "liver", "DICOM.SegmentAlgorithmType") == "SEMIAUTOMATIC"


def set_geometry(bench: Bench, change: Any) -> None:
    """Change the segmentation's geometry as "Specify geometry" does, or before the module writes another segment."""
    content = bench.node.GetSegmentation()
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    image = slicer.vtkOrientedImageData()
    slicer.vtkSegmentationConverter.DeserializeImageGeometry(content.GetConversionParameter(name), image, False)
    change(image)
    content.SetConversionParameter(name, slicer.vtkSegmentationConverter.SerializeImageGeometry(image))


@in_every_mode
def test_modes_on_a_segment_of_coarser_voxels_than_the_geometry(bench: Bench, mode: str, expected: np.ndarray) -> None:
    def finer(image: Any) -> None:
        i, j, k = image.GetSpacing()
        image.SetSpacing(i / 2, j, k)
        image.SetExtent(0, 2 * SHAPE[2] - 1, 0, SHAPE[1] - 1, 0, SHAPE[0] - 1)

    set_geometry(bench, finer)
    bench.apply(mode)
    image = slicer.vtkOrientedImageData()
    assert bench.node.GetBinaryLabelmapRepresentation("liver", image)
    voxels = vtk_to_numpy(image.GetPointData().GetScalars())
    assert np.count_nonzero(voxels) == 2 * expected.sum()
    assert bench.host.undo_states == 1
    assert bench.host.history.RestorePreviousState()
    assert np.array_equal(bench.mask(), SELECTED)


def test_undo_is_one_step(bench: Bench) -> None:
    bench.apply("set")
    assert bench.host.undo_states == 1
    assert bench.host.history.RestorePreviousState()
    assert np.array_equal(bench.mask(), SELECTED)


def test_editable_area_is_honoured(bench: Bench) -> None:
    bench.host.editor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    bench.host.editor.SetMaskSegmentID("spleen")
    bench.apply("add")
    assert np.array_equal(bench.mask(), SELECTED | (ANSWER & OTHER))


def test_intensity_range_is_honoured(bench: Bench) -> None:
    voxels = np.arange(np.prod(SHAPE)).reshape(SHAPE) - 100
    bench.host.editor.SetSourceVolumeIntensityMask(True)
    bench.host.editor.SetSourceVolumeIntensityMaskRange(100, 200)
    bench.apply("add")
    assert np.array_equal(bench.mask(), SELECTED | (ANSWER & (voxels >= 100) & (voxels <= 200)))


def test_overwrite_mode_is_honoured(bench: Bench) -> None:
    bench.host.editor.SetOverwriteMode(bench.host.editor.OverwriteAllSegments)
    bench.apply("set")
    assert np.array_equal(bench.mask(), ANSWER)
    assert np.array_equal(bench.mask("spleen"), OTHER & ~ANSWER)


def test_not_found_changes_nothing(bench: Bench) -> None:
    bench.logic.answer_with = segmentation({"uterus": None}, GRID)
    bench.apply("intersect", "uterus")
    assert np.array_equal(bench.mask(), SELECTED)
    assert bench.host.undo_states == 0
    assert "not in this scan" in bench.ui.messageLabel.text


def test_what_is_missing_among_several_is_said(bench: Bench) -> None:
    bench.logic.answer_with = segmentation({"stomach": ANSWER, "uterus": None}, GRID)
    bench.apply("set", "stomach, uterus")
    assert np.array_equal(bench.mask(), ANSWER)
    assert bench.ui.messageLabel.text == "Not found, and so ignored: uterus: not in this scan"


def test_what_the_engine_notes_is_said(bench: Bench) -> None:
    note = "ribs: only left rib 1, which the model was trained on"
    bench.logic.answer_with = replace(segmentation({"ribs": ANSWER}, GRID), notes=(note,))
    bench.apply("set", "ribs")
    assert bench.ui.messageLabel.text == note


def test_enter_runs_and_apply_cancels(bench: Bench) -> None:
    bench.logic.endless = True
    type_text(bench.ui.promptEdit, "stomach")
    press(bench.ui.promptEdit, "Return")
    runner = bench.effect.textPrompt.runner
    assert runner.running
    assert bench.ui.applyButton.text == "Cancel"
    wait_until(lambda: "Reading" in bench.ui.progressLabel.text)
    click(bench.ui.applyButton)
    wait_until(lambda: not runner.running, seconds=2)
    assert bench.logic.told == ["worker"]
    assert np.array_equal(bench.mask(), SELECTED)
    assert bench.host.undo_states == 0
    assert bench.ui.applyButton.text == "Apply"


def test_the_result_goes_where_apply_was_pressed(bench: Bench) -> None:
    bench.ui.promptEdit.text = "stomach"
    click(bench.ui.applyButton)
    bench.host.editor.SetSelectedSegmentID("spleen")
    wait_until(lambda: not bench.effect.textPrompt.runner.running)
    assert np.array_equal(bench.mask(), ANSWER)
    assert np.array_equal(bench.mask("spleen"), OTHER)


@pytest.mark.parametrize("whose", ["nobody's", "the same patient's", "another patient's"])
def test_another_ct_is_said_and_another_patient_is_refused(bench: Bench, whose: str) -> None:
    other = ct_node(bench.scene, GRID)
    other.SetName("venous phase")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(bench.scene)
    if whose != "nobody's":
        patients = [hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), name) for name in ("A", "B")]
        for volume, patient in ((bench.volume, 0), (other, whose == "another patient's")):
            study = hierarchy.CreateStudyItem(patients[patient], "study")
            hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume) or hierarchy.CreateItem(study, volume), study)
    bench.host.editor.SetAndObserveSourceVolumeNode(other)
    bench.apply()
    if whose == "another patient's":
        assert bench.ui.messageLabel.text.startswith("the segmentation belongs to another patient: choose")
        assert not bench.logic.requests
        assert np.array_equal(bench.mask(), SELECTED)
    else:
        assert bench.ui.messageLabel.text == (
            "Found in venous phase, while the segmentation belongs to ct: check that they fit"
        )
        assert np.array_equal(bench.mask(), ANSWER)


def test_another_ct_is_said_also_when_the_first_was_deleted(bench: Bench) -> None:
    bench.scene.RemoveNode(bench.volume)
    same, other = ct_node(bench.scene, GRID), ct_node(bench.scene, grid(shape=SHAPE, origin=(-120.0, 20.0, -340.0)))
    bench.host.editor.SetAndObserveSourceVolumeNode(other)
    bench.logic.answer_with = segmentation({"stomach": ANSWER}, grid(shape=SHAPE, origin=(-120.0, 20.0, -340.0)))
    bench.apply()
    assert "while the segmentation belongs to another CT" in bench.ui.messageLabel.text
    bench.host.editor.SetAndObserveSourceVolumeNode(same)
    bench.logic.answer_with = segmentation({"stomach": ANSWER}, GRID)
    bench.apply()
    assert bench.ui.messageLabel.text == ""


@pytest.mark.parametrize(("mode", "said"), [("set", True), ("add", True), ("subtract", False)])
def test_what_is_left_out_is_said(bench: Bench, mode: str, said: bool) -> None:
    set_geometry(bench, lambda image: image.SetExtent(0, SHAPE[2] - 1, 0, SHAPE[1] - 1, 0, 4))
    bench.apply(mode)
    assert ("left out" in bench.ui.messageLabel.text) is said
    assert not bench.mask()[5].any()


def test_a_segment_deleted_meanwhile_is_said(bench: Bench) -> None:
    bench.ui.promptEdit.text = "stomach"
    click(bench.ui.applyButton)
    bench.node.GetSegmentation().RemoveSegment("liver")
    wait_until(lambda: not bench.effect.textPrompt.runner.running)
    assert "deleted meanwhile" in bench.ui.messageLabel.text
    assert bench.host.undo_states == 0


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda b: b.host.editor.SetSelectedSegmentID(""), "no segment is selected"),
        (lambda b: b.host.editor.SetAndObserveSourceVolumeNode(None), "no source volume"),
        (lambda b: setattr(b.tools, "installer", FakeInstaller(ready=False)), "packages are missing"),
        (lambda b: setattr(b.logic, "error", InputError("it is an MR", "choose a CT")), "it is an MR"),
    ],
)
def test_bad_input_is_said(bench: Bench, spoil: Any, message: str) -> None:
    spoil(bench)
    bench.apply()
    assert message in bench.ui.messageLabel.text
    assert bench.host.undo_states == 0
    assert np.array_equal(bench.mask(), SELECTED)


def test_a_hidden_segment_needs_confirmation(bench: Bench) -> None:
    bench.host.confirmed = False
    bench.apply()
    assert not bench.logic.requests


def test_parameters_are_kept(bench: Bench) -> None:
    bench.apply("subtract", "aorta")
    bench.ui.promptEdit.text = ""
    bench.effect.updateGUIFromMRML()
    assert bench.ui.promptEdit.text == "aorta"
    assert bench.ui.modeSelector.currentIndex == 2


@pytest.mark.parametrize("what", ["mode", "ROI"])
def test_a_choice_stays_while_the_prompt_is_being_typed(bench: Bench, what: str) -> None:
    # On a Mac, and by the mouse wheel, a box is changed without taking the keyboard from the prompt.
    roi = bench.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    roi.SetSize(1000.0, 1000.0, 1000.0)
    type_text(bench.ui.promptEdit, "stomach")
    if what == "mode":
        bench.ui.modeSelector.setCurrentIndex(2)
    else:
        bench.ui.roiSelector.setCurrentNode(roi)
    assert bench.ui.promptEdit.text == "stomach"
    assert bench.ui.modeSelector.currentIndex == (2 if what == "mode" else 0)
    assert bench.ui.roiSelector.currentNode() is (roi if what == "ROI" else None)
    click(bench.ui.applyButton)
    wait_until(lambda: not bench.effect.textPrompt.runner.running)
    assert np.array_equal(bench.mask(), SELECTED & ~ANSWER if what == "mode" else ANSWER)


def test_the_roi_stays_chosen_when_a_scene_is_added(bench: Bench) -> None:
    roi = bench.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    bench.ui.roiSelector.setCurrentNode(roi)
    other = slicer.vtkMRMLScene()
    other.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "another CT")
    other.SetSaveToXMLString(1)
    other.Commit()
    bench.scene.SetLoadFromXMLString(1)
    bench.scene.SetSceneXMLString(other.GetSceneXMLString())
    bench.scene.Import()
    assert bench.ui.roiSelector.currentNode() is roi
    assert bench.host.nodeReference("ROI") is roi
    bench.ui.roiSelector.setCurrentNode(None)
    assert bench.host.nodeReference("ROI") is None


def test_another_effect_stops_the_run(bench: Bench) -> None:
    bench.logic.endless = True
    bench.ui.promptEdit.text = "stomach"
    click(bench.ui.applyButton)
    wait_until(lambda: "Reading" in bench.ui.progressLabel.text)
    bench.effect.deactivate()
    wait_until(lambda: not bench.effect.textPrompt.runner.running, seconds=2)
    assert bench.logic.told == ["worker"]
    # Also when another module is opened: who comes back must not take the segment for the answer.
    bench.effect.updateGUIFromMRML()
    assert bench.ui.messageLabel.text == "stopped: nothing was changed"


def test_cleanup_leaves_nothing_behind(bench: Bench) -> None:
    bench.logic.endless = True
    bench.ui.promptEdit.text = "stomach"
    click(bench.ui.applyButton)
    bench.effect.cleanup()
    assert bench.effect.textPrompt is None
    left = {n: w.connection_count() for n, w in vars(bench.ui).items() if hasattr(w, "connection_count")}
    assert not any(left.values()), left
    for event in (bench.scene.StartCloseEvent, bench.scene.StartImportEvent, bench.scene.EndImportEvent):
        assert not bench.scene.HasObserver(event)
