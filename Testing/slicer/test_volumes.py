from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import slicer
import vtk
from hypothesis import given, settings
from hypothesis import strategies as st

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.geometry import LPS_TO_RAS
from OpenVocabCTSlicer.volumes import scan_of
from Testing.openvocabct_lib.output.output_cases import ORIENTATIONS, rotation
from Testing.slicer.scenes import SHAPE, add_volume, ct_node, grid, new_scene, put_under, vtk_matrix


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_every_orientation_keeps_its_sides(codes: str) -> None:
    geometry = grid(codes, SHAPE)
    scan = scan_of(ct_node(new_scene(), geometry))
    assert scan.header.geometry.axis_codes() == codes
    np.testing.assert_allclose(scan.header.geometry.affine_lps(), geometry.affine_lps(), atol=1e-9)


@given(
    codes=st.sampled_from(ORIENTATIONS),
    turn=st.floats(-3, 3),
    spacing=st.tuples(*[st.floats(0.2, 8.0)] * 3),
    parents=st.lists(st.tuples(st.floats(-3, 3), *[st.floats(-300, 300)] * 3, st.booleans()), max_size=3),
)
@settings(max_examples=60, deadline=None)
def test_grid_is_where_slicer_shows_the_volume(
    codes: str, turn: float, spacing: tuple[float, ...], parents: list[tuple[float, float, float, float, bool]]
) -> None:
    scene = new_scene()
    volume = ct_node(scene, grid(codes, SHAPE, turn, spacing=spacing))
    node = volume
    for angle, x, y, z, mirrored in parents:
        matrix = np.eye(4)
        matrix[:3, :3] = rotation(angle) @ np.diag([-1 if mirrored else 1, 1, 1])
        matrix[:3, 3] = x, y, z
        node = put_under(scene, node, matrix)
    geometry = scan_of(volume).header.geometry
    for ijk in ((0, 0, 0), (7, 0, 0), (0, 6, 0), (0, 0, 5), (3, 2, 1)):
        # Slicer's own way from a voxel to the world.
        ijk_to_ras = vtk.vtkMatrix4x4()
        volume.GetIJKToRASMatrix(ijk_to_ras)
        world = [0.0, 0.0, 0.0]
        volume.TransformPointToWorld(ijk_to_ras.MultiplyPoint((*ijk, 1.0))[:3], world)
        ours = (geometry.affine_ras() @ np.array([*ijk, 1.0]))[:3]
        np.testing.assert_allclose(ours, world, atol=1e-6)


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64"]
)
def test_voxels_are_those_of_the_node_without_a_copy(dtype: str) -> None:
    array = np.arange(np.prod(SHAPE), dtype=np.int64).reshape(SHAPE).astype(dtype)
    volume = add_volume(new_scene(), array, np.eye(4))
    scan = scan_of(volume)
    np.testing.assert_array_equal(scan.array, array)
    assert scan.header.dtype == scan.array.dtype.name
    assert scan.array.dtype == np.dtype(dtype) or scan.array.dtype.itemsize == np.dtype(dtype).itemsize
    assert not scan.array.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        scan.array[0, 0, 0] = 1


def test_the_voxels_outlive_their_node() -> None:
    scene = new_scene()
    volume = ct_node(scene)
    scan = scan_of(volume)
    expected = scan.array.copy()
    scene.RemoveNode(volume)
    del volume
    scene.Clear(True)
    np.testing.assert_array_equal(scan.array, expected)


def test_the_revision_follows_voxels_and_place() -> None:
    scene = new_scene()
    volume = ct_node(scene)
    first = scan_of(volume).revision
    assert scan_of(volume).revision == first
    volume.SetName("renamed")
    assert scan_of(volume).revision == first
    slicer.util.arrayFromVolume(volume)[0, 0, 0] = 77
    slicer.util.arrayFromVolumeModified(volume)
    painted = scan_of(volume).revision
    assert painted != first
    transform = put_under(scene, volume, np.diag([1.0, 1, 1, 1]))
    assert scan_of(volume).revision == painted
    transform.SetMatrixTransformToParent(vtk_matrix(np.diag([2.0, 2, 2, 1])))
    moved = scan_of(volume).revision
    assert moved != painted
    volume.SetSpacing(1, 1, 1)
    assert scan_of(volume).revision not in (first, painted, moved)
    hash(moved)


def test_another_volume_with_the_same_id_in_a_new_scene_has_another_revision() -> None:
    first, second = ct_node(new_scene()), ct_node(new_scene())
    assert first.GetID() == second.GetID()
    assert scan_of(first).revision != scan_of(second).revision


def test_a_transform_that_shears_is_refused_and_says_what_to_do() -> None:
    scene = new_scene()
    volume = ct_node(scene)
    shear = np.eye(4)
    shear[0, 1] = 0.3
    put_under(scene, volume, shear)
    with pytest.raises(InputError, match=r"under its transform .* sheared .* harden"):
        scan_of(volume)


def test_a_scaling_transform_scales_the_voxels() -> None:
    scene = new_scene()
    volume = ct_node(scene, grid("LPS", SHAPE, spacing=(1, 1, 2)))
    put_under(scene, volume, np.diag([2.0, 2.0, 2.0, 1.0]))
    np.testing.assert_allclose(scan_of(volume).header.geometry.spacing, (2, 2, 4))


def test_a_transform_that_is_not_linear_is_refused() -> None:
    scene = new_scene()
    volume = ct_node(scene)
    warp = scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode")
    volume.SetAndObserveTransformNodeID(warp.GetID())
    spline = vtk.vtkThinPlateSplineTransform()
    points = vtk.vtkPoints()
    for corner in ((0, 0, 0), (9, 0, 0), (0, 9, 0), (0, 0, 9), (9, 9, 9)):
        points.InsertNextPoint(corner)
    moved = vtk.vtkPoints()
    moved.DeepCopy(points)
    moved.SetPoint(4, 3, 9, 9)
    spline.SetSourceLandmarks(points)
    spline.SetTargetLandmarks(moved)
    warp.SetAndObserveTransformToParent(spline)
    assert not warp.IsTransformToWorldLinear()
    with pytest.raises(InputError, match="not linear"):
        scan_of(volume)


def no_image(scene: Any) -> Any:
    return scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")


def empty_image(scene: Any) -> Any:
    node = no_image(scene)
    node.SetAndObserveImageData(vtk.vtkImageData())
    return node


def label_map(scene: Any) -> Any:
    return scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")


def colour(scene: Any) -> Any:
    node = ct_node(scene)
    image = vtk.vtkImageData()
    image.SetDimensions(4, 4, 4)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    node.SetAndObserveImageData(image)
    return node


def one_slice(scene: Any) -> Any:
    return add_volume(scene, np.zeros((1, 5, 5), np.int16), np.eye(4))


def sheared(scene: Any) -> Any:
    affine = np.eye(4)
    affine[0, 1] = 0.5
    return add_volume(scene, np.zeros(SHAPE, np.int16), affine)


def segmentation(scene: Any) -> Any:
    return scene.AddNewNodeByClass("vtkMRMLSegmentationNode")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda _scene: None, "no volume is chosen"),
        (no_image, "no image data"),
        (empty_image, "no image data"),
        (label_map, "label map"),
        (colour, "3 numbers per voxel"),
        (one_slice, "one slice"),
        (sheared, "sheared"),
        (segmentation, "no scalar volume"),
    ],
)
def test_what_is_no_ct_volume_is_refused(make: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        scan_of(make(new_scene()))


def test_lps_to_ras_is_its_own_inverse() -> None:
    np.testing.assert_array_equal(LPS_TO_RAS @ LPS_TO_RAS, np.eye(4))
