from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from hypothesis import given, settings
from hypothesis import strategies as st

from OpenVocabCTLib.worker.steps import run
from OpenVocabCTSlicer.parameters import Parameters, parameter_node
from OpenVocabCTSlicer.rows import ResultRow, rows_from_text, rows_to_text
from OpenVocabCTSlicer.segments import SegmentWriter
from Testing.slicer.scenes import (
    SHAPE,
    box_mask,
    ct_node,
    grid,
    mask_of,
    new_scene,
    segmentation,
    segmentation_node,
    tag,
)

ROW = ResultRow('Leber < "links" & Ä', "Liver", True, "", 1412.5, 61.25, 0.98, 0.45, "liver", doubt="1 ml is little")
MISSING = ResultRow("gallbladder", "Gallbladder", False, "not in this scan", 0.0, None, 0.02, 0.5, None)
TEXT = 'left kidney\n"a, b" | c; d\n\ttabs, Ünïcode %20 <&>\x0b\x01\n'


def test_what_is_written_is_read() -> None:
    scene = new_scene()
    wanted = Parameters(TEXT, ct_node(scene), segmentation_node(scene), (ROW, MISSING))
    wanted.write(parameter_node(scene))
    assert Parameters.read(parameter_node(scene)) == wanted
    Parameters().write(parameter_node(scene))
    assert Parameters.read(parameter_node(scene)) == Parameters()


def test_a_new_scene_has_no_parameters() -> None:
    assert Parameters.read(parameter_node(new_scene())) == Parameters()


def test_there_is_one_node() -> None:
    scene = new_scene()
    assert parameter_node(scene) is parameter_node(scene)
    assert scene.GetNumberOfNodesByClass("vtkMRMLScriptedModuleNode") == 1
    assert parameter_node(scene).GetModuleName() == "OpenVocabCT"


def test_the_same_again_is_no_change() -> None:
    scene = new_scene()
    node = parameter_node(scene)
    parameters = Parameters(TEXT, ct_node(scene), None, (ROW,))
    parameters.write(node)
    events: list[object] = []
    node.AddObserver("ModifiedEvent", lambda *_: events.append(1))
    parameters.write(node)
    assert not events
    Parameters("other", None, None, ()).write(node)
    assert len(events) == 1


def save_and_load(scene: Any, folder: Path) -> Any:
    """Through files, as the application does it."""
    for node_class, storage_class, suffix in (
        ("vtkMRMLScalarVolumeNode", "vtkMRMLVolumeArchetypeStorageNode", ".nrrd"),
        ("vtkMRMLSegmentationNode", "vtkMRMLSegmentationStorageNode", ".seg.nrrd"),
    ):
        for number in range(scene.GetNumberOfNodesByClass(node_class)):
            node = scene.GetNthNodeByClass(number, node_class)
            storage = scene.AddNewNodeByClass(storage_class)
            storage.SetFileName(str(folder / f"{node_class}{number}{suffix}"))
            node.SetAndObserveStorageNodeID(storage.GetID())
            assert storage.WriteData(node)
    scene.SetRootDirectory(str(folder))
    scene.SetURL(str(folder / "scene.mrml"))
    assert scene.Commit()
    loaded = slicer.vtkMRMLScene()
    app = slicer.vtkSlicerApplicationLogic()
    app.SetMRMLScene(loaded)
    loaded.SetURL(str(folder / "scene.mrml"))
    assert loaded.Connect()
    return loaded


def test_a_saved_scene_brings_everything_back(tmp_path: Path) -> None:
    scene = new_scene()
    volume, node = ct_node(scene), segmentation_node(scene)
    liver, cord = box_mask(SHAPE, (0, 0, 0), (4, 4, 4)), box_mask(SHAPE, (2, 2, 2), (6, 7, 8))
    answers = segmentation({"liver": liver, "spinal cord": cord}, grid(shape=SHAPE))
    run(SegmentWriter().write(node, volume, answers))
    node.GetSegmentation().GetSegment("liver").SetName("Hepar")
    Parameters(TEXT, volume, node, (ROW, MISSING)).write(parameter_node(scene))
    code = tag(node, "liver", "TerminologyEntry")

    loaded = save_and_load(scene, tmp_path)
    parameters = Parameters.read(parameter_node(loaded))
    assert loaded.GetNumberOfNodesByClass("vtkMRMLScriptedModuleNode") == 1
    assert parameters.prompts == TEXT
    assert parameters.rows == (ROW, MISSING)
    assert parameters.volume is loaded.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    again = parameters.segmentation
    assert again is loaded.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    assert tag(again, "liver", "TerminologyEntry") == code
    np.testing.assert_array_equal(mask_of(again, "liver"), liver)
    np.testing.assert_array_equal(mask_of(again, "spinal_cord"), cord)

    # The next run in the loaded scene goes on where the last one was.
    swapped = segmentation({"spinal cord": liver, "liver": cord, "spleen": None}, grid(shape=SHAPE))
    written = run(SegmentWriter().write(again, parameters.volume, swapped))
    assert [(one.segment_id, one.change) for one in written] == [
        ("spinal_cord", "updated"),
        ("liver", "updated"),
        (None, "none"),
    ]
    assert again.GetSegmentation().GetSegment("liver").GetName() == "Hepar"
    np.testing.assert_array_equal(mask_of(again, "liver"), cord)
    np.testing.assert_array_equal(mask_of(again, "spinal_cord"), liver)


def test_a_reference_to_a_deleted_node_is_none() -> None:
    scene = new_scene()
    volume = ct_node(scene)
    Parameters("liver", volume).write(parameter_node(scene))
    scene.RemoveNode(volume)
    assert Parameters.read(parameter_node(scene)).volume is None


@pytest.mark.parametrize(
    "text",
    ["", "no json", "{}", "[1]", '[{"prompt": "x"}]', "null", "[" * 5000, rows_to_text([ROW]).replace("1412.5", '"x"')],
)
def test_rows_that_cannot_be_read_are_left_out(text: str) -> None:
    assert rows_from_text(text) == ()


@given(
    st.lists(
        st.builds(
            ResultRow,
            prompt=st.text(),
            name=st.text(),
            found=st.booleans(),
            reason=st.text(),
            volume_ml=st.floats(0, 1e5),
            mean_hu=st.none() | st.floats(-1024, 3000),
            presence=st.floats(0, 1),
            threshold=st.floats(0.01, 0.99),
            segment_id=st.none() | st.text(),
        ),
        max_size=4,
    )
)
@settings(deadline=None)
def test_any_rows_come_back(rows: list[ResultRow]) -> None:
    assert rows_from_text(rows_to_text(rows)) == tuple(rows)
