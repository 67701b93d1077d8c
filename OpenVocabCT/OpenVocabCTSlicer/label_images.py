"""Masks as vtk images and back. An image's extent says where on the volume's grid its box lies."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from OpenVocabCTLib.output.masks import Box, CroppedMask, bounding_box
from OpenVocabCTLib.worker.steps import Steps
from OpenVocabCTSlicer.volumes import Node, to_array, to_vtk

Image = Any  # vtkOrientedImageData, known to Slicer's libraries only

# Voxels looked at between two yields: a few milliseconds.
_PIECE = 1 << 22
_LARGEST_BYTE = 255
_SAME_LATTICE_MM = 1e-4
_SAME_AXIS, _SAME_VOXEL = 1e-4, 0.05


def new_image(box: Box, matrix: np.ndarray, largest_value: int = 1) -> tuple[Image, np.ndarray]:
    """Make an image of zeros.

    Args:
        box: slices (k, j, i) of the whole grid, not empty.
        matrix: (4, 4) from (i, j, k, 1) of the whole grid to RAS mm; its axes are orthogonal.
        largest_value: what the voxel type must hold.

    Returns:
        The image and its voxels (k, j, i), a view to write to.
    """
    import slicer

    image = slicer.vtkOrientedImageData()
    k, j, i = box
    image.SetExtent(i.start, i.stop - 1, j.start, j.stop - 1, k.start, k.stop - 1)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR if largest_value <= _LARGEST_BYTE else vtk.VTK_UNSIGNED_SHORT, 1)
    image.SetGeometryFromImageToWorldMatrix(to_vtk(matrix))
    voxels = voxels_of(image)
    voxels[:] = 0
    return image, voxels


def image_of(mask: CroppedMask, matrix: np.ndarray) -> Image:
    """Return a mask that is not empty as an image of zeros and ones that covers its box."""
    image, voxels = new_image(mask.box, matrix)
    voxels[mask.array] = 1
    image.Modified()
    return image


def joined_box(masks: Sequence[CroppedMask]) -> Box:
    """Return the smallest box that holds all masks, of which there is at least one."""
    k, j, i = (
        slice(min(mask.box[axis].start for mask in masks), max(mask.box[axis].stop for mask in masks))
        for axis in range(3)
    )
    return k, j, i


def paint(voxels: np.ndarray, box: Box, mask: CroppedMask, value: int) -> Steps[None]:
    """Write a value where a mask is, leaving every other voxel as it is.

    Args:
        voxels: (k, j, i) of the image that covers `box`.
        box: what it covers; the mask lies within.
        mask: where to write.
        value: what to write.
    """
    k, j, i = (slice(a.start - b.start, a.stop - b.start) for a, b in zip(mask.box, box, strict=True))
    target = voxels[k, j, i]
    for planes in _pieces(target.shape):
        target[planes][mask.array[planes]] = value
        yield None


def overlap(first: CroppedMask, second: CroppedMask) -> Steps[bool]:
    """Say whether two masks on the same grid share a voxel."""
    low = [max(a.start, b.start) for a, b in zip(first.box, second.box, strict=True)]
    high = [min(a.stop, b.stop) for a, b in zip(first.box, second.box, strict=True)]
    if any(a >= b for a, b in zip(low, high, strict=True)):
        return False
    one, other = (
        mask.array[tuple(slice(a - s, b - s) for a, b, s in zip(low, high, mask.start, strict=True))]
        for mask in (first, second)
    )
    for planes in _pieces(one.shape):
        if np.any(one[planes] & other[planes]):
            return True
        yield None
    return False


def voxels_of(image: Image) -> np.ndarray:
    """Return the voxels (k, j, i) of an image's extent as a view; of no voxel where the extent is empty."""
    i0, i1, j0, j1, k0, k1 = image.GetExtent()
    scalars = image.GetPointData().GetScalars()
    if scalars is None or i1 < i0 or j1 < j0 or k1 < k0:
        return np.zeros((0, 0, 0), dtype=np.uint8)
    return vtk_to_numpy(scalars).reshape(k1 - k0 + 1, j1 - j0 + 1, i1 - i0 + 1)


def matrix_of(image: Image) -> np.ndarray:
    """Return the (4, 4) matrix from an image's (i, j, k, 1) to RAS mm."""
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return to_array(matrix)


def same_lattice(image: Image, matrix: np.ndarray) -> bool:
    """Say whether an image has the voxels of a grid: the same (i, j, k) is the same place."""
    return bool(np.allclose(matrix_of(image), matrix, rtol=0.0, atol=_SAME_LATTICE_MM))


def extent_on(image: Image, matrix: np.ndarray) -> np.ndarray | None:
    """Return where the first and the last voxel of an image lie on a grid, however the two count their voxels.

    Args:
        image: any extent.
        matrix: (4, 4) from the grid's (i, j, k, 1) to RAS mm.

    Returns:
        (2, 3) whole numbers (i, j, k), or None where the voxels of the image are none of the grid. Axes may be flipped
        and in another order, as in a file that some program has turned to the patient's axes.
    """
    to_grid = np.linalg.inv(matrix) @ matrix_of(image)
    axes = np.round(to_grid[:3, :3])
    if not np.allclose(to_grid[:3, :3], axes, rtol=0.0, atol=_SAME_AXIS) or np.any(axes @ axes.T != np.eye(3)):
        return None
    ends = np.array(image.GetExtent()).reshape(3, 2).T @ to_grid[:3, :3].T + to_grid[:3, 3]
    whole = np.round(ends)
    return whole.astype(int) if np.allclose(ends, whole, rtol=0.0, atol=_SAME_VOXEL) else None


class StoredMask:
    """The voxels of one segment as they are now.

    Attributes:
        start: (k, j, i) of the box's first voxel on the grid of the image; it may be negative.
        array: bool, the voxels of the box.
    """

    def __init__(self, start: tuple[int, ...], array: np.ndarray) -> None:
        self.start, self.array = start, array

    @classmethod
    def of(cls, segmentation_node: Node, segment_id: str) -> Steps[StoredMask]:
        """Read a segment's voxels out of its layer."""
        image = label_image(segmentation_node, segment_id)
        if image is None:
            return cls((0, 0, 0), np.zeros((0, 0, 0), dtype=bool))
        value = segmentation_node.GetSegmentation().GetSegment(segment_id).GetLabelValue()
        voxels = voxels_of(image)
        inside = np.empty(voxels.shape, dtype=bool)
        for planes in _pieces(voxels.shape):
            np.equal(voxels[planes], value, out=inside[planes])
            yield None
        box = bounding_box(inside)
        extent = image.GetExtent()
        start = tuple(first + part.start for first, part in zip(extent[4::-2], box, strict=True))
        return cls(start, inside[box])

    def equals(self, mask: CroppedMask) -> bool:
        """Say whether these are the voxels of a mask on the same grid."""
        return self.start == mask.start and np.array_equal(self.array, mask.array)

    def digest(self) -> Steps[str]:
        """Return a text that is the same for the same voxels."""
        digest = hashlib.blake2b(repr((self.start, self.array.shape)).encode(), digest_size=16)
        for planes in _pieces(self.array.shape):
            digest.update(np.packbits(self.array[planes]).data)
            yield None
        return digest.hexdigest()


def label_image(segmentation_node: Node, segment_id: str) -> Image | None:
    """Return the layer that holds a segment, None where it has no label map."""
    import slicer

    name = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
    return segmentation_node.GetSegmentation().GetSegment(segment_id).GetRepresentation(name)


def _pieces(shape: tuple[int, ...]) -> list[slice]:
    planes = max(1, _PIECE // max(1, shape[1] * shape[2]))
    return [slice(first, min(first + planes, shape[0])) for first in range(0, shape[0], planes)]
