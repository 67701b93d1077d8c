"""Reading a volume node: its voxels as they are in memory, and where they lie in the patient."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.geometry import LPS_TO_RAS, Geometry
from OpenVocabCTLib.worker.protocol import VolumeHeader

Node = Any  # MRML nodes come without type information.

_CHOOSE_CT = "choose a CT volume"


@dataclass(frozen=True, eq=False)
class Scan:
    """A volume node's content, ready to be sent.

    Attributes:
        header: voxel type and grid; the grid is where the user sees the volume, its linear parent transform applied.
        array: voxels (K, J, I) as stored, C order; a view of the node's memory, not to be written to.
        revision: differs when voxels or grid differ, so that it can stand for the content.
    """

    header: VolumeHeader
    array: np.ndarray
    revision: Hashable


def scan_of(volume_node: Node) -> Scan:
    """Read a scalar volume node without copying its voxels.

    Args:
        volume_node: vtkMRMLScalarVolumeNode with an image, under any parent transform that keeps its axes orthogonal.

    Raises:
        InputError: no image, not one 3D scalar image, a label map, or a transform that is not linear or shears it.
    """
    image = _image_of(volume_node)
    geometry = _geometry_of(volume_node, image)
    array = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(geometry.shape)
    array.flags.writeable = False
    return Scan(VolumeHeader(array.dtype.name, geometry), array, (image.GetMTime(), geometry))


def ijk_to_parent_of(volume_node: Node, other: Node) -> np.ndarray:
    """Return the (4, 4) matrix from the volume's (i, j, k, 1) to the RAS mm in which another node's data are stored.

    With the same parent transform that is the volume's own IJK to RAS matrix, to the last bit.

    Raises:
        InputError: a transform between the two is not linear.
    """
    own, parent = volume_node.GetParentTransformNode(), other.GetParentTransformNode()
    matrix = ijk_to_ras(volume_node)
    if own is parent:
        return matrix
    # One linear transform node may sit between two others that are not, so the whole way counts.
    way = vtk.vtkGeneralTransform()
    transforms = own if own is not None else parent
    transforms.GetTransformBetweenNodes(own, parent, way)
    if not transforms.IsGeneralTransformLinear(way):
        raise InputError(
            "the transform between the volume and the segmentation is not linear",
            "choose a new segmentation, or harden the transforms",
        )
    between = vtk.vtkMatrix4x4()
    transforms.GetMatrixTransformBetweenNodes(own, parent, between)
    return to_array(between) @ matrix


def ijk_to_ras(volume_node: Node) -> np.ndarray:
    """Return the (4, 4) matrix from (i, j, k, 1) to RAS mm without the parent transform."""
    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    return to_array(matrix)


def to_array(matrix: vtk.vtkMatrix4x4) -> np.ndarray:
    """Return a vtk matrix as (4, 4) float64."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def to_vtk(matrix: np.ndarray) -> vtk.vtkMatrix4x4:
    """Return a (4, 4) array as a vtk matrix."""
    result = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            result.SetElement(row, column, float(matrix[row, column]))
    return result


def _image_of(volume_node: Node) -> vtk.vtkImageData:
    if volume_node is None:
        raise InputError("no volume is chosen", _CHOOSE_CT)
    if not volume_node.IsA("vtkMRMLScalarVolumeNode"):
        raise InputError("what is chosen is no scalar volume", _CHOOSE_CT)
    if volume_node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise InputError("the volume is a label map and no CT", _CHOOSE_CT)
    image = volume_node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None or image.GetNumberOfPoints() == 0:
        raise InputError("the volume has no image data", "load the CT again")
    if image.GetNumberOfScalarComponents() != 1:
        raise InputError(
            f"the volume has {image.GetNumberOfScalarComponents()} numbers per voxel (colour or a time series)",
            "choose one CT in Hounsfield units",
        )
    if image.GetScalarType() == vtk.VTK_BIT:
        raise InputError("the volume holds bits and no Hounsfield units", _CHOOSE_CT)
    if min(image.GetDimensions()) < 2:
        size = " x ".join(str(n) for n in image.GetDimensions())
        raise InputError(f"the volume is one slice ({size} voxels)", "choose a CT with at least 2 slices")
    return image


def _geometry_of(volume_node: Node, image: vtk.vtkImageData) -> Geometry:
    i, j, k = image.GetDimensions()
    ras = ijk_to_ras(volume_node)
    transform = volume_node.GetParentTransformNode()
    if transform is None:
        return Geometry.from_affine_lps(LPS_TO_RAS @ ras, (k, j, i))
    if not transform.IsTransformToWorldLinear():
        raise InputError(
            "the volume is under a transform that is not linear", "harden the transform, or move the volume out of it"
        )
    to_world = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToWorld(to_world)
    try:
        return Geometry.from_affine_lps(LPS_TO_RAS @ to_array(to_world) @ ras, (k, j, i))
    except InputError as error:
        # Without the transform the volume may be fine, and then another advice helps.
        Geometry.from_affine_lps(LPS_TO_RAS @ ras, (k, j, i))
        raise InputError(
            f"under its transform {error.what}",
            "harden the transform and resample the volume, or move it out of the transform",
        ) from error
