from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import slicer
from hypothesis import given, settings
from hypothesis import strategies as st
from vtk.util.numpy_support import vtk_to_numpy

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.worker.steps import run
from OpenVocabCTSlicer.combine import combine
from OpenVocabCTSlicer.segments import SegmentWriter
from Testing.openvocabct_lib.output.output_cases import rotation
from Testing.slicer.scenes import (
    SHAPE,
    add_volume,
    box_mask,
    ct_node,
    grid,
    mask_of,
    new_scene,
    put_under,
    segmentation,
    segmentation_node,
    vtk_matrix,
)

GRID = grid(shape=SHAPE)
SELECTED = box_mask(SHAPE, (0, 0, 0), (4, 4, 4))
ANSWER = box_mask(SHAPE, (2, 2, 2), (6, 7, 8))
EXPECTED = {
    "set": ANSWER,
    "add": SELECTED | ANSWER,
    "subtract": SELECTED & ~ANSWER,
    "intersect": SELECTED & ANSWER,
}


@dataclass(frozen=True)
class Target:
    segmentation: Any
    volume: Any
    roi: Any = None
    mode: str = "set"
    segment_id: str = "liver"


def target_in(scene: Any, mode: str = "set", geometry: Any = GRID) -> Target:
    volume, node = ct_node(scene, geometry), segmentation_node(scene)
    run(SegmentWriter().write(node, volume, segmentation({"liver": SELECTED}, geometry)))
    return Target(node, volume, None, mode)


def apply(target: Target, modifier: Any) -> np.ndarray:
    """What an editor without masks makes of a modifier."""
    ones = voxels(modifier.labelmap).astype(bool)
    selected = mask_of(target.segmentation, target.segment_id)
    return {"set": ones, "add": selected | ones, "remove": selected & ~ones}[modifier.operation]


def voxels(image: Any) -> np.ndarray:
    i0, i1, j0, j1, k0, k1 = image.GetExtent()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(k1 - k0 + 1, j1 - j0 + 1, i1 - i0 + 1)


def add_roi(scene: Any, centre: np.ndarray, size: tuple[float, float, float], turn: float = 0.0) -> Any:
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(turn)
    matrix[:3, 3] = centre
    roi.SetSize(*size)
    roi.SetAndObserveObjectToNodeMatrix(vtk_matrix(matrix))
    return roi


@pytest.mark.parametrize("mode", EXPECTED)
def test_every_mode(mode: str) -> None:
    target = target_in(new_scene(), mode)
    modifier = combine(target, segmentation({"liver": ANSWER}, GRID))
    assert modifier.labelmap.GetExtent() == (0, SHAPE[2] - 1, 0, SHAPE[1] - 1, 0, SHAPE[0] - 1)
    assert set(np.unique(voxels(modifier.labelmap))) <= {0, 1}
    np.testing.assert_array_equal(apply(target, modifier), EXPECTED[mode])
    assert not modifier.cut


def test_several_answers_are_one() -> None:
    target = target_in(new_scene())
    other = box_mask(SHAPE, (0, 5, 5), (2, 7, 7))
    modifier = combine(target, segmentation({"liver": ANSWER, "spleen": other, "gallbladder": None}, GRID))
    np.testing.assert_array_equal(voxels(modifier.labelmap).astype(bool), ANSWER | other)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("mode", EXPECTED)
def test_slicers_own_editor_changes_what_it_should_and_only_where_it_may(mode: str, masked: bool) -> None:
    scene = new_scene()
    target = target_in(scene, mode)
    editor = slicer.vtkMRMLSegmentEditorNode()
    scene.AddNode(editor)
    logic = slicer.vtkSlicerSegmentEditorLogic()
    logic.SetMRMLScene(scene)
    logic.SetSegmentEditorNode(editor)
    editor.SetAndObserveSegmentationNode(target.segmentation)
    editor.SetAndObserveSourceVolumeNode(target.volume)
    editor.SetSelectedSegmentID("liver")
    values = vtk_to_numpy(target.volume.GetImageData().GetPointData().GetScalars()).reshape(SHAPE)
    editable = np.ones(SHAPE, dtype=bool)
    if masked:
        editor.SetSourceVolumeIntensityMask(True)
        editor.SetSourceVolumeIntensityMaskRange(0, 150)
        editable = (values >= 0) & (values <= 150)
    modifier = combine(target, segmentation({"liver": ANSWER}, GRID))
    operation = {"set": "Set", "add": "Add", "remove": "Remove"}[modifier.operation]
    logic.ModifySegmentByLabelmap(
        target.segmentation, "liver", modifier.labelmap, getattr(logic, f"ModificationMode{operation}"), False, False
    )
    expected = np.where(editable, EXPECTED[mode], SELECTED)
    np.testing.assert_array_equal(mask_of(target.segmentation, "liver"), expected)


@given(
    centre=st.tuples(st.floats(-1, 6), st.floats(-1, 7), st.floats(-1, 8)),
    size=st.tuples(*[st.floats(1.0, 20.0)] * 3),
    turn=st.floats(-1.5, 1.5),
    under=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_an_roi_crops_the_answer(
    centre: tuple[float, ...], size: tuple[float, float, float], turn: float, under: bool
) -> None:
    scene = new_scene()
    target = target_in(scene)
    to_world = np.eye(4)
    if under:
        to_world[:3, :3] = rotation(0.5)
        to_world[:3, 3] = (3, 4, 5)
        transform = put_under(scene, target.volume, to_world)
        target.segmentation.SetAndObserveTransformNodeID(transform.GetID())
    k, j, i = centre
    world = to_world @ GRID.affine_ras() @ np.array([i, j, k, 1.0])
    roi = add_roi(scene, world[:3], size, turn)
    expected = np.zeros(SHAPE, dtype=bool)
    for index in np.argwhere(ANSWER):
        point = to_world @ GRID.affine_ras() @ np.array([*index[::-1], 1.0])
        expected[tuple(index)] = roi.IsPointInROIWorld(point[:3].tolist())
    answer = segmentation({"liver": ANSWER}, GRID)
    if not expected.any():
        with pytest.raises(InputError, match="ROI"):
            combine(replace(target, roi=roi), answer)
        return
    modifier = combine(replace(target, roi=roi), answer)
    np.testing.assert_array_equal(voxels(modifier.labelmap).astype(bool), expected)


def test_another_reference_geometry_gets_the_nearest_voxels() -> None:
    scene = new_scene()
    target = target_in(scene)
    # Twice as fine along I, and cut off at half of K.
    fine = grid(shape=(3, 7, 16), spacing=(GRID.spacing[0] / 2, *GRID.spacing[1:]))
    reference = add_volume(scene, np.zeros(fine.shape, np.int16), fine.affine_ras())
    target.segmentation.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    modifier = combine(target, segmentation({"liver": ANSWER}, GRID))
    assert modifier.labelmap.GetExtent() == (0, 15, 0, 6, 0, 2)
    got = voxels(modifier.labelmap).astype(bool)
    np.testing.assert_array_equal(got[:, :, ::2], ANSWER[:3])
    assert modifier.cut


def test_a_cut_reference_on_the_same_voxels_cuts_the_answer() -> None:
    scene = new_scene()
    target = target_in(scene)
    short = grid(shape=(3, 7, 8))
    reference = add_volume(scene, np.zeros(short.shape, np.int16), short.affine_ras())
    target.segmentation.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    modifier = combine(target, segmentation({"liver": ANSWER}, GRID))
    np.testing.assert_array_equal(voxels(modifier.labelmap).astype(bool), ANSWER[:3])
    assert modifier.cut
    inside = ANSWER & (np.arange(SHAPE[0]) < 3)[:, None, None]
    assert not combine(target, segmentation({"liver": inside}, GRID)).cut


@pytest.mark.parametrize(("origin", "expected"), [((0.3, -0.3, 0.8), False), ((0.0, 0.0, -1.6), True)])
def test_an_answer_between_the_voxels_of_the_reference_is_cut_where_it_reaches_out(
    origin: tuple[float, float, float], expected: bool
) -> None:
    scene = new_scene()
    target = target_in(scene)
    shifted = grid(shape=SHAPE, origin=tuple(a + b for a, b in zip(GRID.origin, origin, strict=True)))
    reference = add_volume(scene, np.zeros(SHAPE, np.int16), shifted.affine_ras())
    target.segmentation.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    assert combine(target, segmentation({"liver": ANSWER}, GRID)).cut is expected


@pytest.mark.parametrize("spacing", [GRID.spacing, (GRID.spacing[0] / 2, *GRID.spacing[1:])])
def test_intersecting_leaves_nothing_of_a_segment_that_reaches_out_of_the_reference(
    spacing: tuple[float, float, float],
) -> None:
    scene = new_scene()
    target = target_in(scene, "intersect")
    short = grid(shape=(3, 7, 8), spacing=spacing)
    reference = add_volume(scene, np.zeros(short.shape, np.int16), short.affine_ras())
    target.segmentation.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    editor = scene.AddNode(slicer.vtkMRMLSegmentEditorNode())
    editor.SetAndObserveSegmentationNode(target.segmentation)
    editor.SetAndObserveSourceVolumeNode(target.volume)
    editor.SetSelectedSegmentID("liver")
    logic = slicer.vtkSlicerSegmentEditorLogic()
    logic.SetMRMLScene(scene)
    logic.SetSegmentEditorNode(editor)
    answer = box_mask(SHAPE, (0, 0, 0), (2, 2, 2))
    modifier = combine(target, segmentation({"liver": answer}, GRID))
    logic.ModifySegmentByLabelmap(
        target.segmentation, "liver", modifier.labelmap, logic.ModificationModeRemove, False, False
    )
    image = slicer.vtkOrientedImageData()
    assert target.segmentation.GetBinaryLabelmapRepresentation("liver", image)
    left = int(voxels(image).astype(bool).sum())
    assert left == answer.sum() * round(GRID.spacing[0] / spacing[0])


def test_a_new_segment_is_set_in_one_step() -> None:
    scene = new_scene()
    volume, node = ct_node(scene, GRID), segmentation_node(scene)
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.GetSegmentation().AddEmptySegment("liver", "liver")
    modifier = combine(Target(node, volume), segmentation({"liver": ANSWER}, GRID))
    assert (modifier.operation, modifier.cleared) == ("set", None)


def test_what_cannot_be_combined_is_refused() -> None:
    scene = new_scene()
    target = target_in(scene)
    with pytest.raises(InputError, match="nothing was found"):
        combine(target, segmentation({"liver": None}, GRID))
    with pytest.raises(InputError, match="no mode"):
        combine(replace(target, mode="paint"), segmentation({"liver": ANSWER}, GRID))
    other = add_volume(scene, np.zeros((4, 4, 4), np.int16), np.eye(4))
    with pytest.raises(InputError, match="not the one"):
        combine(replace(target, volume=other), segmentation({"liver": ANSWER}, GRID))
    far = grid(shape=SHAPE, origin=(900.0, 0.0, 0.0))
    target.segmentation.SetReferenceImageGeometryParameterFromVolumeNode(ct_node(scene, far))
    with pytest.raises(InputError, match="outside"):
        combine(target, segmentation({"liver": ANSWER}, GRID))
