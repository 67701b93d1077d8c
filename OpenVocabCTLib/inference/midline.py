"""Where the patient's left begins: a channel of the voxel embedding that is geometry, not learned.

A frozen text encoder puts "left kidney" and "right kidney" almost on the same spot, and a convolution sees a patch, not
the patient: left a matter of training alone, sides are the first thing to be confused.  The orientation of the scan is
known, so the distance from the patient's middle is simply given to the head, which a sided prompt adds or subtracts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from OpenVocabCTLib.output.planes import AnatomicalView

if TYPE_CHECKING:
    from OpenVocabCTLib.volume import CTVolume

# The channel runs from 1 (left) to -1 (right) within this distance on either side of the middle.
RAMP_MM = 30.0
_TISSUE_HU = -300.0
_WIDE_VOXELS = 20
_LOOKED_AT_MM = 4.0
_NOISE_VOXELS = 10
# Whole scans (214 were tried) have less: at most 0.54, with arms and flanks outside of the field of view. Of 780 parts
# that were cut from 13 of them at random, all have more whose middle is off by more than 20 mm.
_CUT_SHARE = 0.65


def midline(hu: Tensor) -> float:
    """Index along R of the patient's middle: median over rows of the middle between the outermost tissue.

    Args:
        hu: (S, A, R) of the whole scan on the working grid.

    A scan of one limb has its own middle; sides within it are then those of the scan.  So has a scan of half a body,
    see ``cut_sides`` and ``inference.centring``.
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


def cut_sides(volume: CTVolume) -> tuple[str, ...]:
    """Sides, "right" and "left", on which the scan ends within the patient: its middle may not be the patient's.

    A side counts where the outermost sagittal plane with tissue, at the border or before what was masked, reaches over
    most of the depth, front to back, that the patient has in a slice. A flank or an arm does not begin that abruptly,
    nor where it sticks out of the field of view.
    """
    view = AnatomicalView.of(volume.geometry)
    slices, rows = (slice(None, None, max(1, round(_LOOKED_AT_MM / mm))) for mm in view.spacing[:2])
    tissue = view.array(volume.array)[slices, rows] > _TISSUE_HU
    depth = _reach(np.asarray(tissue.any(2)))
    planes = np.flatnonzero(tissue.sum((0, 1)) >= _NOISE_VOXELS)
    if not len(planes):
        return ()
    shown = depth > 0
    share = {
        side: _reach(tissue[:, :, planes[end]])[shown] / depth[shown] for side, end in (("right", 0), ("left", -1))
    }
    return tuple(side for side, values in share.items() if values.mean() > _CUT_SHARE)


def _reach(tissue: np.ndarray) -> np.ndarray:
    """(slices,) rows from the first to the last with tissue, of (slices, rows) bool; 0 without any."""
    first, last = tissue.argmax(1), tissue.shape[1] - tissue[:, ::-1].argmax(1)
    return np.where(tissue.any(1), last - first, 0)
