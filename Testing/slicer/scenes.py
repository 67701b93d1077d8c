"""Scenes with small volumes on Slicer's own MRML library, and independent readers of what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from OpenVocabCTLib.geometry import Geometry
from Testing.openvocabct_lib.output.output_cases import box_mask, grid, segmentation

SHAPE = (6, 7, 8)

__all__ = ["SHAPE", "box_mask", "grid", "segmentation"]


def new_scene() -> Any:
    return slicer.vtkMRMLScene()


def add_volume(scene: Any, array: np.ndarray, affine_ras: np.ndarray, name: str = "ct") -> Any:
    """A scalar volume node that owns a copy of the array (K, J, I)."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    image = vtk.vtkImageData()
    image.SetDimensions(*array.shape[::-1])
    image.AllocateScalars(vtk.util.numpy_support.get_vtk_array_type(array.dtype), 1)
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = array.ravel()
    node.SetAndObserveImageData(image)
    node.SetIJKToRASMatrix(vtk_matrix(affine_ras))
    return node


def ct_node(scene: Any, geometry: Geometry | None = None) -> Any:
    """A volume whose values name their voxels."""
    geometry = geometry or grid(shape=SHAPE)
    array = np.arange(np.prod(geometry.shape), dtype=np.int16).reshape(geometry.shape) - 100
    return add_volume(scene, array, geometry.affine_ras())


def segmentation_node(scene: Any) -> Any:
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "segmentation")
    node.CreateDefaultDisplayNodes()
    return node


def put_under(scene: Any, node: Any, matrix: np.ndarray) -> Any:
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(vtk_matrix(matrix))
    node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def vtk_matrix(matrix: np.ndarray) -> Any:
    result = vtk.vtkMatrix4x4()
    result.DeepCopy(np.asarray(matrix, dtype=float).ravel().tolist())
    return result


def ids(node: Any) -> list[str]:
    content = node.GetSegmentation()
    return [content.GetNthSegmentID(n) for n in range(content.GetNumberOfSegments())]


def tag(node: Any, segment_id: str, name: str) -> str | None:
    value = vtk.reference("")
    return str(value) if node.GetSegmentation().GetSegment(segment_id).GetTag(name, value) else None


def names(node: Any) -> dict[str, str]:
    return {i: node.GetSegmentation().GetSegment(i).GetName() for i in ids(node)}


def mask_of(node: Any, segment_id: str, shape: Sequence[int] = SHAPE) -> np.ndarray:
    """A segment's voxels on the whole grid, as Slicer's own converter gives them out of its layer."""
    image = slicer.vtkOrientedImageData()
    assert node.GetBinaryLabelmapRepresentation(segment_id, image), segment_id
    full = np.zeros(shape, dtype=bool)
    i0, i1, j0, j1, k0, k1 = image.GetExtent()
    if i1 >= i0 and j1 >= j0 and k1 >= k0:
        voxels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(k1 - k0 + 1, j1 - j0 + 1, i1 - i0 + 1)
        full[k0 : k1 + 1, j0 : j1 + 1, i0 : i1 + 1] = voxels != 0
    return full


def masks(node: Any, shape: Sequence[int] = SHAPE) -> dict[str, np.ndarray]:
    return {i: mask_of(node, i, shape) for i in ids(node)}


def image_affine(node: Any, segment_id: str) -> np.ndarray:
    """(i, j, k, 1) to the RAS mm of the segmentation node, without its parent transform."""
    matrix = vtk.vtkMatrix4x4()
    node.GetSegmentation().GetSegment(segment_id).GetRepresentation("Binary labelmap").GetImageToWorldMatrix(matrix)
    return np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])


def edit(node: Any, segment_id: str, mask: np.ndarray) -> None:
    """Paint as the user does in the Segment Editor."""
    affine = image_affine(node, segment_id)
    image = slicer.vtkOrientedImageData()
    image.SetExtent(0, mask.shape[2] - 1, 0, mask.shape[1] - 1, 0, mask.shape[0] - 1)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = mask.ravel()
    image.SetGeometryFromImageToWorldMatrix(vtk_matrix(affine))
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    assert logic.SetBinaryLabelmapToSegment(image, node, segment_id, logic.MODE_REPLACE)
