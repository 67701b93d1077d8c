"""Which CT a segmentation belongs to: what is found in one patient must never go into the segments of another."""

from __future__ import annotations

from typing import Any

import numpy as np

from OpenVocabCTLib.errors import InputError
from OpenVocabCTSlicer.label_images import extent_on, label_image, voxels_of
from OpenVocabCTSlicer.volumes import Node, ijk_to_parent_of


def reference_of(segmentation_node: Node) -> Node | None:
    """Return the volume whose geometry a segmentation has, None where it is not known or was deleted."""
    return segmentation_node.GetNodeReference(segmentation_node.GetReferenceImageGeometryReferenceRole())


def belongs_to_another(segmentation_node: Node | None, volume_node: Node | None) -> bool:
    """Say whether a segmentation holds segments of another CT than this one.

    Where its CT is not known, as after it was deleted or when a file was loaded, its grid tells; where that is not
    known either, as when a label map was imported, the voxels of its segments do.
    """
    if segmentation_node is None or volume_node is None:
        return False
    if segmentation_node.GetSegmentation().GetNumberOfSegments() == 0:
        return False
    reference = reference_of(segmentation_node)
    if reference is not None:
        return reference is not volume_node
    image = volume_node.GetImageData()
    if image is None:
        return True
    try:
        matrix = ijk_to_parent_of(volume_node, segmentation_node)
    except InputError:  # the two are not in one space, which writing says better
        return False
    last = np.array(image.GetDimensions()) - 1
    grid = grid_of(segmentation_node)
    if grid is not None:
        ends = extent_on(grid, matrix)
        return ends is None or not np.array_equal(np.sort(ends, axis=0), [np.zeros(3), last])
    return not all(_lies_on(layer, matrix, last) for layer in _layers_of(segmentation_node))


def check_patient(segmentation_node: Node, volume_node: Node) -> None:
    """Check that DICOM does not call the patient of a segmentation's CT another one than that of a volume.

    Raises:
        InputError: it does.
    """
    reference = reference_of(segmentation_node)
    if reference is None or reference is volume_node:
        return
    patients = {patient for patient in (_patient_of(reference), _patient_of(volume_node)) if patient}
    if len(patients) > 1:
        raise InputError("the segmentation belongs to another patient", "choose a new one, or a CT of that patient")


def check_belonging(
    segmentation_node: Node, volume_node: Node, todo: str = "choose a new one, or the CT that it belongs to"
) -> None:
    """Check that a segmentation does not hold segments of another CT.

    Raises:
        InputError: it does; with what the user can do.
    """
    if belongs_to_another(segmentation_node, volume_node):
        raise InputError("the segmentation belongs to another CT", todo)


def _patient_of(volume_node: Node) -> int:
    """Return the subject hierarchy's item of a volume's patient, 0 where there is none."""
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(volume_node.GetScene())
    item = hierarchy.GetItemByDataNode(volume_node)
    level = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMLevelPatient()
    return int(hierarchy.GetItemAncestorAtLevel(item, level)) if item else 0


def grid_of(segmentation_node: Node) -> Any:
    """Return an image without voxels that has the segmentation's geometry, None where that is not known."""
    import slicer

    converter = slicer.vtkSegmentationConverter
    content = segmentation_node.GetSegmentation()
    text = content.GetConversionParameter(converter.GetReferenceImageGeometryParameterName())
    grid = slicer.vtkOrientedImageData()
    return grid if text and converter.DeserializeImageGeometry(text, grid, False) else None


def _layers_of(segmentation_node: Node) -> list[Any]:
    """Return the label maps that hold the segments, without empty ones; none where they are made of surfaces."""
    layers = (label_image(segmentation_node, one) for one in segmentation_node.GetSegmentation().GetSegmentIDs())
    return [layer for layer in layers if layer is not None and voxels_of(layer).size > 0]


def _lies_on(layer: Any, matrix: np.ndarray, last: np.ndarray) -> bool:
    """Say whether the voxels of a label map are voxels of a grid with this last (i, j, k)."""
    ends = extent_on(layer, matrix)
    return ends is not None and bool(np.all(ends >= 0) and np.all(ends <= last))
