"""Where the patient's left begins: a channel of the voxel embedding that is geometry, not learned.

A frozen text encoder puts "left kidney" and "right kidney" almost on the same spot, and a convolution sees a patch, not
the patient: left a matter of training alone, sides are the first thing to be confused.  The orientation of the scan is
known, so the distance from the patient's middle is simply given to the head, which a sided prompt adds or subtracts.
"""

from __future__ import annotations

import torch
from torch import Tensor

# The channel runs from 1 (left) to -1 (right) within this distance on either side of the middle.
RAMP_MM = 30.0
_TISSUE_HU = -300.0
_WIDE_VOXELS = 20


def midline(hu: Tensor) -> float:
    """Index along R of the patient's middle: median over rows of the middle between the outermost tissue.

    Args:
        hu: (S, A, R) of the whole scan on the working grid.

    A scan of one limb or of half a body has its own middle; sides within it are then those of the scan.
    """
    tissue = hu > _TISSUE_HU
    index = torch.arange(hu.shape[2])
    first = torch.where(tissue, index, hu.shape[2]).amin(2)
    last = torch.where(tissue, index, -1).amax(2)
    wide = last - first >= _WIDE_VOXELS
    if not wide.any():
        return (hu.shape[2] - 1) / 2.0
    return float(((first + last)[wide].double() / 2.0).median())


def leftness(position: Tensor, middle: float, spacing_mm: float) -> Tensor:
    """1 on the patient's left, -1 on the right, linear in between.

    Args:
        position: indices along R, any shape.
        middle: index of the patient's middle, see ``midline``.
        spacing_mm: working spacing along R.
    """
    return ((middle - position) * (spacing_mm / RAMP_MM)).clamp(-1.0, 1.0)
