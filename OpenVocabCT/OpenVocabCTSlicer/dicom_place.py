"""Whether a CT and its segmentation are where the CT's DICOM images are: an export would else mark another place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.geometry import LPS_TO_RAS
from OpenVocabCTSlicer.belonging import grid_of
from OpenVocabCTSlicer.label_images import extent_on, label_image, matrix_of, voxels_of
from OpenVocabCTSlicer.segment_tags import SegmentTags
from OpenVocabCTSlicer.volumes import Node, ijk_to_parent_of, ijk_to_ras

_POSITION = "0020,0032"  # Image Position (Patient)
_SAME_MM = 1e-3
_SAME_VOXEL = 0.05


def check_place(volume: Node, segmentation: Node, database: Any, instances: Sequence[str]) -> None:
    """Check that neither the CT nor the segmentation was moved against the DICOM images.

    Args:
        volume: the CT; a parent transform that it shares with the segmentation does not matter.
        segmentation: vtkMRMLSegmentationNode.
        database: ``slicer.dicomDatabase``.
        instances: SOP Instance UIDs of the CT's images, at least one.

    Raises:
        InputError: it was.
    """
    own = ijk_to_ras(volume)
    if not np.allclose(ijk_to_parent_of(volume, segmentation), own, rtol=0.0, atol=_SAME_MM):
        raise InputError(
            "the segmentation and the CT are under different transforms",
            "take both out of their transforms, and run again where they do not fit then",
        )
    for name in _elsewhere(segmentation, own):
        raise InputError(
            f"{name!r} does not lie on the voxels of the CT (found in another volume, or under another transform)",
            "run it again on this CT",
        )
    # The first image holds the first voxel; the other end, should they be listed in another order.
    positions = [_position(database, uid) for uid in (instances[0], instances[-1])]
    known = [position for position in positions if position is not None]
    if known and not any(_is_voxel(position, own) for position in known):
        raise InputError(
            "the CT is no longer where its DICOM images are (a hardened transform, or resampling)",
            "load its series again and run on that",
        )


def _elsewhere(segmentation: Node, own: np.ndarray) -> Iterator[str]:
    """Yield the names of our segments on voxels that are neither the CT's nor those of the reference geometry."""
    content, grid = segmentation.GetSegmentation(), grid_of(segmentation)
    lattices = [own] if grid is None else [own, matrix_of(grid)]
    for segment_id in content.GetSegmentIDs():
        segment, layer = content.GetSegment(segment_id), label_image(segmentation, segment_id)
        if layer is None or SegmentTags(segment).prompt_key is None or voxels_of(layer).size == 0:
            continue
        if all(extent_on(layer, lattice) is None for lattice in lattices):
            yield segment.GetName()


def _position(database: Any, uid: str) -> np.ndarray | None:
    """Return the centre of an image's first voxel in LPS mm; None where it is not said once for the whole image."""
    text = str(database.fileValue(database.fileForInstance(uid), _POSITION) or "")
    try:
        numbers = [float(part) for part in text.split("\\")]
    except ValueError:
        return None
    return np.array([*numbers, 1.0]) if len(numbers) == 3 else None


def _is_voxel(position_lps: np.ndarray, ijk_to_own: np.ndarray) -> bool:
    # Of the whole lattice: a CT that was cropped is where it was.
    ijk = np.linalg.inv(ijk_to_own) @ LPS_TO_RAS @ position_lps
    return bool(np.all(np.abs(ijk - np.round(ijk)) < _SAME_VOXEL))
