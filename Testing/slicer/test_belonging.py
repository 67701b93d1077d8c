from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.worker.steps import run
from OpenVocabCTSlicer.belonging import belongs_to_another, reference_of
from OpenVocabCTSlicer.segments import SegmentWriter
from Testing.slicer.scenes import (
    SHAPE,
    box_mask,
    ct_node,
    grid,
    ids,
    mask_of,
    new_scene,
    put_under,
    segmentation,
    segmentation_node,
    vtk_matrix,
)

GRID = grid(shape=SHAPE)
# The same voxels, counted from the other end of I.
FLIPPED = Geometry.from_affine_lps(
    GRID.affine_lps() @ [[-1, 0, 0, SHAPE[2] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], SHAPE
)
LIVER = box_mask(SHAPE, (3, 3, 3), (6, 7, 8))
OTHER = box_mask(SHAPE, (0, 0, 0), (2, 2, 2))


class Desk:
    """The liver of one patient, and the CT of another."""

    def __init__(self) -> None:
        self.scene = new_scene()
        self.volume, self.other = ct_node(self.scene), ct_node(self.scene)
        self.node = segmentation_node(self.scene)
        self.write(self.volume, LIVER)

    def write(self, volume: Any, mask: np.ndarray) -> None:
        run(SegmentWriter().write(self.node, volume, segmentation({"liver": mask}, GRID)))


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_another_ct_on_the_same_grid(desk: Desk) -> None:
    assert belongs_to_another(desk.node, desk.other)
    assert not belongs_to_another(desk.node, desk.volume)
    with pytest.raises(InputError, match="belongs to another CT: choose a new one"):
        desk.write(desk.other, OTHER)
    assert ids(desk.node) == ["liver"]
    np.testing.assert_array_equal(mask_of(desk.node, "liver"), LIVER)


def test_an_empty_segmentation_belongs_to_nobody(desk: Desk) -> None:
    desk.node.GetSegmentation().RemoveAllSegments()
    assert not belongs_to_another(desk.node, desk.other)
    desk.write(desk.other, OTHER)
    assert reference_of(desk.node) is desk.other


def test_undo_brings_nothing_of_one_ct_back_into_a_segmentation_of_another(desk: Desk) -> None:
    writer = SegmentWriter()
    for mask in (OTHER, LIVER):
        run(writer.write(desk.node, desk.volume, segmentation({"liver": mask}, GRID)))
    desk.node.GetSegmentation().RemoveAllSegments()
    run(writer.write(desk.node, desk.other, segmentation({"liver": OTHER}, GRID)))
    assert writer.undo.restore(desk.node)
    assert ids(desk.node) == []
    assert not writer.undo.can_restore(desk.node)


def test_nothing_chosen(desk: Desk) -> None:
    assert not belongs_to_another(None, desk.volume)
    assert not belongs_to_another(desk.node, None)


@pytest.mark.parametrize(
    ("geometry", "expected"),
    [(GRID, False), (FLIPPED, False), (grid(shape=SHAPE, turn=0.2), True), (grid(shape=(6, 7, 9)), True)],
)
def test_after_the_ct_was_deleted_the_grid_tells(desk: Desk, geometry: Any, expected: bool) -> None:
    desk.scene.RemoveNode(desk.volume)
    assert belongs_to_another(desk.node, ct_node(desk.scene, geometry)) is expected


def test_a_volume_without_image_is_another(desk: Desk) -> None:
    desk.scene.RemoveNode(desk.volume)
    assert belongs_to_another(desk.node, desk.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode"))


def test_a_ct_that_was_moved_is_still_its_own(desk: Desk) -> None:
    put_under(desk.scene, desk.volume, np.diag([1.0, 1, 1, 1]))
    assert not belongs_to_another(desk.node, desk.volume)


def forget_geometry(desk: Desk) -> None:
    """As after a label map was imported: Slicer notes neither the volume nor a geometry then."""
    desk.scene.RemoveNode(desk.volume)
    desk.node.GetSegmentation().SetConversionParameter("Reference image geometry", "")


@pytest.mark.parametrize(
    ("geometry", "expected"),
    [
        (GRID, False),
        (grid(shape=(7, 8, 9)), False),
        (grid(shape=(5, 7, 8)), True),  # it ends where the liver does not
        (grid(shape=SHAPE, turn=0.2), True),
        (grid(shape=SHAPE, origin=tuple(np.add(GRID.origin, (0.0, 0.0, 1.0)))), True),
        (grid(shape=SHAPE, spacing=(0.7, 1.1, 2.5)), True),
    ],
)
def test_without_a_geometry_the_voxels_tell(desk: Desk, geometry: Any, expected: bool) -> None:
    forget_geometry(desk)
    volume = ct_node(desk.scene, geometry)
    assert belongs_to_another(desk.node, volume) is expected
    if expected:
        with pytest.raises(InputError, match="belongs to another CT"):
            run(SegmentWriter().write(desk.node, volume, segmentation({"liver": OTHER}, GRID)))
        np.testing.assert_array_equal(mask_of(desk.node, "liver"), LIVER)


@pytest.mark.parametrize("turned", [False, True])
def test_an_imported_label_map_belongs_to_the_ct_on_whose_voxels_it_lies(desk: Desk, turned: bool) -> None:
    array, affine = LIVER, GRID.affine_ras()
    if turned:  # as programs do that write along the patient's axes: I is flipped, J and K change places
        array = array[:, :, ::-1].transpose(1, 0, 2)
        affine[:3, 3] += affine[:3, 0] * (SHAPE[2] - 1)
        affine[:, :3] = np.stack([-affine[:, 0], affine[:, 2], affine[:, 1]], axis=1)
    labels = desk.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    image = vtk.vtkImageData()
    image.SetDimensions(*array.shape[::-1])
    image.AllocateScalars(vtk.VTK_SHORT, 1)
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = array.ravel()
    labels.SetAndObserveImageData(image)
    labels.SetIJKToRASMatrix(vtk_matrix(affine))
    node = segmentation_node(desk.scene)
    assert slicer.vtkSlicerSegmentationsModuleLogic.ImportLabelmapToSegmentationNode(labels, node)
    assert reference_of(node) is None
    assert not belongs_to_another(node, desk.volume)
    assert belongs_to_another(node, ct_node(desk.scene, grid(shape=SHAPE, turn=0.2)))


def test_segments_without_voxels_belong_to_nobody(desk: Desk) -> None:
    node = segmentation_node(desk.scene)
    node.GetSegmentation().AddEmptySegment("liver", "liver")
    assert not belongs_to_another(node, desk.volume)
