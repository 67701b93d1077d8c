"""Small segmentations in every orientation, and independent readers of what was written."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.output import CroppedMask, Segmentation, unanswered
from OpenVocabCTLib.output.statistics import intensity_statistics, volume_ml
from OpenVocabCTLib.prompts.parsing import PromptSet
from OpenVocabCTLib.volume import CTVolume

SHAPE = (8, 10, 12)
SPACING = (0.7123456789012345, 1.1, 2.5)
ORIGIN = (-123.45678901234567, 17.3, -340.24999999999994)
LETTERS = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}
ORIENTATIONS = tuple(
    "".join(letters[sign] for letters, sign in zip(order, signs, strict=True))
    for order in itertools.permutations(("LR", "PA", "SI"))
    for signs in itertools.product((0, 1), repeat=3)
)


def grid(codes: str = "LPS", shape: tuple[int, int, int] = SHAPE, turn: float = 0.0, **fields: Any) -> Geometry:
    """A grid whose I, J, K point to `codes`, turned by some radians about an axis that is none of them."""
    direction = np.zeros((3, 3))
    for axis, letter in enumerate(codes):
        row, sign = LETTERS[letter]
        direction[row, axis] = sign
    direction = rotation(turn) @ direction
    values = {"spacing": SPACING, "origin": ORIGIN} | fields
    return Geometry(shape, values["spacing"], values["origin"], tuple(direction.ravel()))


def rotation(angle: float) -> np.ndarray:
    """Rotation matrix about (1, 2, 3)."""
    x, y, z = np.array([1.0, 2.0, 3.0]) / np.sqrt(14)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def box_mask(shape: tuple[int, int, int], start: Sequence[int], stop: Sequence[int]) -> np.ndarray:
    """A bool (K, J, I) mask of a box."""
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = True
    return mask


def ramp_ct(geometry: Geometry) -> CTVolume:
    """Values that name their voxel; no CT, so the reader's checks are left out."""
    array = np.arange(np.prod(geometry.shape), dtype=np.int16).reshape(geometry.shape) - 500
    return CTVolume(array, geometry)


def segmentation(
    masks: Mapping[str, np.ndarray | None],
    geometry: Geometry,
    ct: CTVolume | None = None,
    reason: str = "not in this scan",
) -> Segmentation:
    """A segmentation as the Segmenter makes it: one segment per prompt, None or an empty mask where not found."""
    segments = []
    for segment, mask in zip(unanswered(PromptSet.parse(list(masks))), masks.values(), strict=True):
        if mask is None or not mask.any():
            segments.append(replace(segment, reason=reason, presence=0.02))
            continue
        cropped = CroppedMask.from_full(mask)
        mean = None if ct is None else intensity_statistics(cropped, ct).mean
        segments.append(
            replace(
                segment,
                found=True,
                reason="",
                presence=0.97,
                cropped=cropped,
                volume_ml=volume_ml(cropped, geometry),
                mean_hu=mean,
            )
        )
    return Segmentation(geometry, tuple(segments), ct)


def overlapping(geometry: Geometry, ct: CTVolume | None = None) -> Segmentation:
    """Known and free prompts, two that overlap, one not found, a repeated one."""
    shape = geometry.shape
    return segmentation(
        {
            "left kidney": box_mask(shape, (1, 1, 1), (4, 5, 6)),
            "spinal cord": box_mask(shape, (5, 5, 5), (8, 10, 12)),
            "gallbladder": None,
            "a strange shadow": box_mask(shape, (2, 3, 4), (7, 7, 9)),
        },
        geometry,
        ct,
    )


@dataclass(frozen=True)
class ReadSegment:
    """One segment as a reader understood it; the mask is on the whole grid."""

    id: str
    name: str
    colour: tuple[float, ...]
    terminology: str
    layer: int
    mask: np.ndarray
    affine_ras: np.ndarray


def read_with_slicer(path: Path, shape: tuple[int, int, int]) -> list[ReadSegment]:
    """Read with 3D Slicer's own library."""
    import slicer

    scene = slicer.vtkMRMLScene()
    node, storage = slicer.vtkMRMLSegmentationNode(), slicer.vtkMRMLSegmentationStorageNode()
    scene.AddNode(node)
    scene.AddNode(storage)
    storage.SetFileName(str(path))
    assert storage.ReadData(node), "Slicer cannot read the file"
    content = node.GetSegmentation()
    ids = [content.GetNthSegmentID(n) for n in range(content.GetNumberOfSegments())]
    return [_slicer_segment(content, segment_id, shape) for segment_id in ids]


def _slicer_segment(content: Any, segment_id: str, shape: tuple[int, int, int]) -> ReadSegment:
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    segment = content.GetSegment(segment_id)
    image = segment.GetRepresentation("Binary labelmap")
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    i0, i1, j0, j1, k0, k1 = image.GetExtent()
    voxels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(k1 - k0 + 1, j1 - j0 + 1, i1 - i0 + 1)
    mask = np.zeros(shape, dtype=bool)
    mask[k0 : k1 + 1, j0 : j1 + 1, i0 : i1 + 1] = voxels == segment.GetLabelValue()
    tag = vtk.reference("")
    segment.GetTag("TerminologyEntry", tag)
    affine = np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
    colour = tuple(segment.GetColor())
    layer = content.GetLayerIndex(segment_id)
    return ReadSegment(segment_id, segment.GetName(), colour, str(tag), layer, mask, affine)


def read_with_slicerio(path: Path) -> tuple[dict[str, np.ndarray], Any]:
    """Return masks (K, J, I) by segment id, and slicerio's whole answer."""
    import slicerio.segmentation

    content = slicerio.segmentation.read_segmentation(str(path))
    voxels = content["voxels"]
    layers = voxels[None] if voxels.ndim == 3 else voxels
    masks = {s["id"]: (layers[s["layer"]] == s["labelValue"]).T for s in content["segments"]}
    return masks, content


def read_with_sitk(path: Path) -> tuple[dict[str, np.ndarray], Any]:
    """Return masks (K, J, I) by segment id from the metadata that ITK sees, and the image."""
    import SimpleITK as sitk

    image = sitk.ReadImage(str(path))
    voxels = sitk.GetArrayFromImage(image)
    layers = voxels[..., None] if voxels.ndim == 3 else voxels
    masks = {}
    for number in itertools.count():
        if not image.HasMetaDataKey(f"Segment{number}_ID"):
            break
        read = {key: image.GetMetaData(f"Segment{number}_{key}") for key in ("ID", "Layer", "LabelValue")}
        masks[read["ID"]] = layers[..., int(read["Layer"])] == int(read["LabelValue"])
    return masks, image


def affine_of(image: Any) -> np.ndarray:
    """Return the (i, j, k, 1) to LPS matrix of a SimpleITK image."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return affine
