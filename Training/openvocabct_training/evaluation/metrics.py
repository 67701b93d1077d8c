"""How well an answer agrees with a reference, on the native grid.

Surface distances come from MONAI. Its normalised surface Dice weighs every surface element with its area in mm^2
(Nikolov et al., arXiv:1809.04430, as in DeepMind's ``surface-distance``); its 95th percentile of the Hausdorff distance
weighs every border voxel alike. Both count the surface where a structure leaves the scan.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Literal, TypedDict

import numpy as np

from openvocabct_training.evaluation.extent import within_extent
from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.output.masks import CroppedMask

# "scored": both have voxels. "missed": only the reference has. "invented": only the answer has. "empty": neither has.
Outcome = Literal["scored", "missed", "invented", "empty"]


class Score(TypedDict):
    """One answer against one reference; what has no value is None and never 0 or 1.

    Attributes:
        outcome: which of the two are empty.
        dice: overlap, 0 where missed, None where the reference is empty.
        dice_in_extent: the same within the slices that the reference was drawn on, see `extent`.
        nsd: normalised surface Dice, 0 where missed, None where the reference is empty.
        hd95_mm: 95th percentile of the Hausdorff distance in mm, None unless both have voxels.
        reference_ml: volume of the reference.
        answer_ml: volume of the answer.
    """

    outcome: Outcome
    dice: float | None
    dice_in_extent: float | None
    nsd: float | None
    hd95_mm: float | None
    reference_ml: float
    answer_ml: float


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """2 |A and B| / (|A| + |B|) of two bool arrays of one shape; NaN when both are empty."""
    total = int(np.count_nonzero(first)) + int(np.count_nonzero(second))
    return 2.0 * int(np.count_nonzero(first & second)) / total if total else math.nan


def mask_dice(first: CroppedMask | None, second: CroppedMask | None) -> float:
    """`dice` of two masks on the same grid, None being empty."""
    total = _count(first) + _count(second)
    return 2.0 * shared_voxels(first, second) / total if total else math.nan


def shared_voxels(first: CroppedMask | None, second: CroppedMask | None) -> int:
    """Return how many voxels two masks on the same grid share, None being empty."""
    if first is None or second is None or not first.count or not second.count:
        return 0
    if first.shape != second.shape:
        raise ValueError(f"masks on grids of {first.shape} and {second.shape} voxels")
    return int(np.count_nonzero(np.logical_and(*_in_one_box(first, second))))


def score(reference: CroppedMask, answer: CroppedMask | None, geometry: Geometry, tolerance_mm: float) -> Score:
    """Compare an answer with its reference.

    Args:
        reference: what a reader drew.
        answer: what the system found, None for nothing.
        geometry: the grid of both.
        tolerance_mm: of the normalised surface Dice.
    """
    voxel = geometry.voxel_volume_ml
    outcome: Outcome
    overlap: float | None = None
    in_extent: float | None = None
    nsd: float | None = None
    distance: float | None = None
    if answer is not None and answer.count and reference.count:
        outcome = "scored"
        overlap = mask_dice(reference, answer)
        in_extent = mask_dice(reference, within_extent(answer, reference, geometry))
        # Axes are orthogonal, so that their spacing alone gives distances; arrays are (K, J, I), spacing is I, J, K.
        nsd, distance = surface_agreement(reference, answer, geometry.spacing[::-1], tolerance_mm)
    elif reference.count:
        outcome, overlap, in_extent, nsd = "missed", 0.0, 0.0, 0.0
    else:
        outcome = "invented" if _count(answer) else "empty"
    return Score(
        outcome=outcome,
        dice=overlap,
        dice_in_extent=in_extent,
        nsd=nsd,
        hd95_mm=distance,
        reference_ml=reference.count * voxel,
        answer_ml=_count(answer) * voxel,
    )


def surface_agreement(
    reference: CroppedMask, answer: CroppedMask, spacing: Sequence[float], tolerance_mm: float
) -> tuple[float, float]:
    """Return the normalised surface Dice and the 95th percentile of the Hausdorff distance in mm.

    Args:
        reference: not empty.
        answer: on the same grid, not empty.
        spacing: mm along K, J, I.
        tolerance_mm: distance up to which a surface element counts as right.
    """
    import torch
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance
    from monai.metrics.surface_dice import compute_surface_dice

    if reference.shape != answer.shape:
        raise ValueError(f"masks on grids of {reference.shape} and {answer.shape} voxels")
    # A voxel of background around them, so that a structure that touches the edge of the scan has a surface there too.
    pair = [torch.from_numpy(np.pad(mask, 1))[None, None].float() for mask in _in_one_box(reference, answer)]
    grid = [float(value) for value in spacing]
    with warnings.catch_warnings():
        # MONAI 1.5 and 1.6 use an argument of their own that they call deprecated.
        warnings.filterwarnings("ignore", message=".*always_return_as_numpy", category=FutureWarning)
        nsd = compute_surface_dice(
            pair[1], pair[0], [tolerance_mm], include_background=True, spacing=grid, use_subvoxels=True
        )
        distance = compute_hausdorff_distance(pair[1], pair[0], include_background=True, percentile=95, spacing=grid)
    return float(nsd), float(distance)


def _count(mask: CroppedMask | None) -> int:
    return 0 if mask is None else mask.count


def _in_one_box(first: CroppedMask, second: CroppedMask) -> tuple[np.ndarray, np.ndarray]:
    """Both masks cut to the box that holds them."""
    low = np.minimum(first.start, second.start)
    high = np.maximum([part.stop for part in first.box], [part.stop for part in second.box])
    arrays = []
    for mask in (first, second):
        array = np.zeros(tuple(high - low), bool)
        array[tuple(slice(part.start - a, part.stop - a) for part, a in zip(mask.box, low, strict=True))] = mask.array
        arrays.append(array)
    return arrays[0], arrays[1]
