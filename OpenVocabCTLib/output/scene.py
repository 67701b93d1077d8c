"""What the pictures of a preview show: which segments, which slices, how much of the patient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from OpenVocabCTLib.output.masks import Box, CroppedMask, bounding_box
from OpenVocabCTLib.output.planes import AnatomicalView, largest_slice

if TYPE_CHECKING:
    from OpenVocabCTLib.output.segmentation import Segment, Segmentation

MAX_ROWS = 12

_FIELD_MIN_MM = 240.0  # wide enough to see on which side of the spine a small structure lies
_FIELD_MAX_MM = 520.0
_FIELD_PER_SIZE = 6.0
_FIELD_MARGIN_MM = 12.0
_BODY_HU = -300


@dataclass(frozen=True)
class Drawn:
    """A found segment with its mask in view order."""

    segment: Segment
    mask: CroppedMask


@dataclass(frozen=True)
class Scene:
    """What the pictures are taken of, in view order (superior, posterior, left).

    Attributes:
        view: how the grid is looked at.
        ct: HU, None when only masks are known.
        drawn: every found segment.
        body: the box that holds the patient.
    """

    view: AnatomicalView
    ct: np.ndarray | None
    drawn: tuple[Drawn, ...]
    body: Box

    @classmethod
    def of(cls, segmentation: Segmentation) -> Scene:
        """Look at a segmentation in anatomical order."""
        view = AnatomicalView.of(segmentation.geometry)
        ct = None if segmentation.ct is None else view.array(segmentation.ct.array)
        drawn = tuple(Drawn(s, view.mask(s.cropped)) for s in segmentation.segments if s.cropped is not None)
        return cls(view, ct, drawn, body_box(ct, view.shape))


@dataclass(frozen=True)
class Row:
    """Three slices, through one segment, or through the middle of the scan when nothing was found."""

    drawn: Drawn | None
    slices: tuple[int, int, int]
    field: Box


def body_box(ct: np.ndarray | None, shape: tuple[int, int, int]) -> Box:
    """Return the box of a CT that holds the patient (and the table), or the whole grid."""
    whole = (slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2]))
    if ct is None:
        return whole
    # A coarse look is enough to leave the air around the patient out.
    step = [max(1, n // 128) for n in shape]
    box = bounding_box(ct[:: step[0], :: step[1], :: step[2]] > _BODY_HU)
    if any(part.stop == part.start for part in box):
        return whole
    s, p, left = (
        slice(part.start * n, min(part.stop * n, size)) for part, n, size in zip(box, step, shape, strict=True)
    )
    return s, p, left


def scene_rows(scene: Scene) -> list[Row]:
    """Return the rows of the picture: one for each of the first found segments, or one through the middle."""
    if not scene.drawn:
        middle = tuple((part.start + part.stop) // 2 for part in scene.body)
        return [Row(None, (middle[0], middle[1], middle[2]), field_of_view(scene, scene.body))]
    return [
        Row(
            drawn,
            (largest_slice(drawn.mask, 0), largest_slice(drawn.mask, 1), largest_slice(drawn.mask, 2)),
            field_of_view(scene, drawn.mask.box),
        )
        for drawn in scene.drawn[:MAX_ROWS]
    ]


def field_of_view(scene: Scene, focus: Box) -> Box:
    """Return the box to show: the patient with a margin, or around a small focus or in a long scan only a part."""
    sizes_mm = [(part.stop - part.start) * mm for part, mm in zip(focus, scene.view.spacing, strict=True)]
    field_mm = min(max(_FIELD_PER_SIZE * max(sizes_mm), _FIELD_MIN_MM), _FIELD_MAX_MM)
    parts = []
    for body, target, size, spacing in zip(scene.body, focus, scene.view.shape, scene.view.spacing, strict=True):
        margin = math.ceil(_FIELD_MARGIN_MM / spacing)
        low = max(min(body.start, target.start) - margin, 0)
        high = min(max(body.stop, target.stop) + margin, size)
        longest = max(round(field_mm / spacing), target.stop - target.start + 2 * margin)
        if high - low > longest:
            low = min(max(low, (target.start + target.stop - longest) // 2), high - longest)
            high = low + longest
        parts.append(slice(low, high))
    return parts[0], parts[1], parts[2]
