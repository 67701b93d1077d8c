"""What an answer does to the selected segment in the Segment Editor: a label map, and what to do with it.

Slicer's editor applies the label map itself, with its masks, its overwrite mode and its undo. That is why intersecting
is expressed as removing what is outside the answer: where editing is not allowed the segment then stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import vtk

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.output.masks import Box, CroppedMask
from OpenVocabCTLib.output.segmentation import Segmentation
from OpenVocabCTSlicer.belonging import grid_of
from OpenVocabCTSlicer.label_images import Image, joined_box, label_image, matrix_of, new_image, same_lattice, voxels_of
from OpenVocabCTSlicer.volumes import Node, ijk_to_parent_of, ijk_to_ras, to_array, to_vtk

Mode = Literal["set", "add", "subtract", "intersect"]
Operation = Literal["set", "add", "remove"]

# A little more than half, for what is rounded on the way there.
_HALF_VOXEL = 0.5 + 1e-3
_OPERATIONS: dict[str, Operation] = {"set": "set", "add": "add", "subtract": "remove", "intersect": "remove"}


class Target(Protocol):
    """What the answer is applied to."""

    @property
    def segmentation(self) -> Node:
        """The segmentation node."""

    @property
    def segment_id(self) -> str:
        """The selected segment."""

    @property
    def volume(self) -> Node:
        """The volume that was segmented."""

    @property
    def roi(self) -> Node | None:
        """The vtkMRMLMarkupsROINode outside of which the answer does not count, None for everywhere."""

    @property
    def mode(self) -> str:
        """One of `Mode`."""


@dataclass(frozen=True, eq=False)
class Modifier:
    """What the editor is to do.

    Attributes:
        labelmap: vtkOrientedImageData of zeros and ones over the whole reference geometry of the segmentation, and when
            intersecting over the selected segment too, of which nothing outside of the answer may stay.
        operation: whether the ones become the segment, are added to it, or are removed from it.
        cut: whether a part of the answer lies outside of that geometry, where no segment can have it.
        cleared: zeros and ones to be removed before, None for nothing. Slicer's own replacing expects a segment whose
            voxels are those of the reference geometry, and leaves a part of any other one.
    """

    labelmap: Image
    operation: Operation
    cut: bool = False
    cleared: Image | None = None


def combine(target: Target, answer: Segmentation) -> Modifier:
    """Express answers as a change of the selected segment.

    Args:
        target: segmentation, volume, ROI and mode.
        answer: the answers, on the volume's voxels; several count as one, all that any of them found.

    Raises:
        InputError: nothing was found, or not in the ROI or in the segmentation's geometry; the volume changed.
    """
    operation = _OPERATIONS.get(target.mode)
    if operation is None:
        raise InputError(f"there is no mode {target.mode!r}", f"choose one of {', '.join(_OPERATIONS)}")
    masks = [segment.cropped for segment in answer.found if segment.cropped is not None]
    if not masks:
        raise InputError("nothing was found", "ask for another structure")
    if target.volume.GetImageData() is None or target.volume.GetImageData().GetDimensions() != masks[0].shape[::-1]:
        raise InputError("the volume is not the one that was segmented", "run it again")
    reference, joined = _reference_geometry(target), _joined(target, masks)
    cut = _reaches_out(joined, reference)
    if target.mode == "intersect":
        return Modifier(_all_but(joined, reference, target), operation, cut)
    labelmap = _in_reference_geometry(reference, joined)
    if target.mode == "set" and _has_other_voxels(target, reference):
        return Modifier(labelmap, "add", cut, _all_but(joined, reference, target))
    return Modifier(labelmap, operation, cut)


def _has_other_voxels(target: Target, reference: Image) -> bool:
    layer = label_image(target.segmentation, target.segment_id)
    return layer is not None and voxels_of(layer).size > 0 and not same_lattice(layer, matrix_of(reference))


def _all_but(image: Image, reference: Image, target: Target) -> Image:
    """Return what is outside of an image, in the reference geometry and wherever else the selected segment is."""
    one = vtk.vtkStringArray()
    one.InsertNextValue(target.segment_id)
    wider = reference.NewInstance()
    wider.SetGeometryFromImageToWorldMatrix(to_vtk(matrix_of(reference)))
    extent, own = reference.GetExtent(), [0, -1, 0, -1, 0, -1]
    target.segmentation.GetSegmentation().DetermineCommonLabelmapExtent(own, reference, one)
    if all(first <= last for first, last in zip(own[::2], own[1::2], strict=True)):
        extent = tuple(which(a, b) for which, a, b in zip((min, max) * 3, extent, own, strict=True))
    wider.SetExtent(*extent)
    labelmap = _in_reference_geometry(wider, image)
    voxels = voxels_of(labelmap)
    np.subtract(1, voxels, out=voxels)
    labelmap.Modified()
    return labelmap


def _joined(target: Target, masks: list[CroppedMask]) -> Image:
    """Return all masks as one image of their joined box, cropped to the ROI."""
    box = joined_box(masks)
    image, voxels = new_image(box, ijk_to_parent_of(target.volume, target.segmentation))
    for mask in masks:
        part = voxels[tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(mask.box, box, strict=True))]
        part[mask.array] = 1
    if target.roi is not None:
        _crop(voxels, box, _ijk_to_roi(target.volume, target.roi), np.array(target.roi.GetSize()) / 2)
        if not voxels.any():
            raise InputError("nothing was found inside the ROI", "move the ROI, or choose none")
    image.Modified()
    return image


def _ijk_to_roi(volume_node: Node, roi: Node) -> np.ndarray:
    to_world = vtk.vtkMatrix4x4()
    transform = volume_node.GetParentTransformNode()
    if transform is not None:
        transform.GetMatrixTransformToWorld(to_world)
    roi_to_world = to_array(roi.GetObjectToWorldMatrix())
    return np.linalg.inv(roi_to_world) @ to_array(to_world) @ ijk_to_ras(volume_node)


def _crop(voxels: np.ndarray, box: Box, to_roi: np.ndarray, half_size: np.ndarray) -> None:
    """Clear the voxels whose centre is outside a box around the ROI's origin; slice by slice, to need little memory."""
    _, rows, columns = box
    i, j = np.arange(columns.start, columns.stop), np.arange(rows.start, rows.stop)[:, None]
    for plane, k in zip(voxels, range(box[0].start, box[0].stop), strict=True):
        inside = np.ones(plane.shape, dtype=bool)
        for axis in range(3):
            a, b, c, d = to_roi[axis]
            inside &= np.abs(a * i + b * j + (c * k + d)) <= half_size[axis]
        plane[~inside] = 0


def _in_reference_geometry(reference: Image, image: Image) -> Image:
    """Return an image over the whole reference geometry; nearest voxels where that is not the volume's own."""
    import slicer

    extent = reference.GetExtent()
    if same_lattice(image, matrix_of(reference)):
        # Copying moves no voxel, while resampling may round one away.
        whole = _clipped(image, extent, matrix_of(reference))
    else:
        whole = slicer.vtkOrientedImageData()
        resample = slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage
        if not resample(image, reference, whole, False, False):
            raise InputError("the answer does not fit the segmentation's geometry", "choose another segmentation")
    if not voxels_of(whole).any():
        raise InputError("what was found is outside the segmentation's geometry", "choose the CT as source volume")
    return whole


def _reaches_out(image: Image, reference: Image) -> bool:
    """Say whether the centre of a voxel that is not 0 lies outside of the reference geometry."""
    to_reference = np.linalg.inv(matrix_of(reference)) @ matrix_of(image)
    extent = np.array(reference.GetExtent())

    def leaves(ijk: np.ndarray) -> bool:
        places = to_reference[:3, :3] @ ijk + to_reference[:3, 3:]
        low, high = extent[::2, None] - _HALF_VOXEL, extent[1::2, None] + _HALF_VOXEL
        return bool(np.any(places < low) or np.any(places > high))

    i0, i1, j0, j1, k0, k1 = image.GetExtent()
    corners = np.array([(i, j, k) for i in (i0, i1) for j in (j0, j1) for k in (k0, k1)]).T
    if not leaves(corners):
        return False  # as nearly always, and it spares seconds where the answer is large
    for k, plane in enumerate(voxels_of(image), start=k0):
        rows, columns = np.nonzero(plane)
        if leaves(np.stack([columns + i0, rows + j0, np.full(rows.shape, k)])):
            return True
    return False


def _clipped(image: Image, extent: tuple[int, ...], matrix: np.ndarray) -> Image:
    box = tuple(slice(extent[2 * axis], extent[2 * axis + 1] + 1) for axis in (2, 1, 0))
    whole, voxels = new_image((box[0], box[1], box[2]), matrix)
    own = image.GetExtent()
    low = [max(own[2 * axis], extent[2 * axis]) for axis in (2, 1, 0)]
    high = [min(own[2 * axis + 1], extent[2 * axis + 1]) + 1 for axis in (2, 1, 0)]
    if all(a < b for a, b in zip(low, high, strict=True)):
        into = tuple(slice(a - part.start, b - part.start) for a, b, part in zip(low, high, box, strict=True))
        out = tuple(
            slice(a - own[2 * axis], b - own[2 * axis]) for a, b, axis in zip(low, high, (2, 1, 0), strict=True)
        )
        voxels[into] = voxels_of(image)[out]
    whole.Modified()
    return whole


def _reference_geometry(target: Target) -> Image:
    """Return an image that has the segmentation's reference geometry, the volume's where it has none."""
    grid = grid_of(target.segmentation)
    if grid is not None:
        return grid
    i, j, k = target.volume.GetImageData().GetDimensions()
    return new_image((slice(0, k), slice(0, j), slice(0, i)), ijk_to_parent_of(target.volume, target.segmentation))[0]
