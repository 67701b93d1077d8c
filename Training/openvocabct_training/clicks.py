"""Where a person would click."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from OpenVocabCTLib.output.masks import Index3, bounding_box


def centre_most_voxel(mask: np.ndarray, spacing: tuple[float, float, float]) -> Index3:
    """The voxel of a structure that is farthest from everything else, where a person would click: the documented click.

    Distances are Euclidean, in mm; beyond the array there is nothing of the structure.  The first one in the array's
    order where several are equally far.

    Args:
        mask: (D, H, W) bool with at least one voxel.
        spacing: mm along its axes.
    """
    box = bounding_box(mask)
    padded = np.pad(mask[box], 1)
    farthest = np.unravel_index(int(ndimage.distance_transform_edt(padded, sampling=spacing).argmax()), padded.shape)
    first, second, third = (int(index) - 1 + part.start for index, part in zip(farthest, box, strict=True))
    return first, second, third
