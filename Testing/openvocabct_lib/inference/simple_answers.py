"""How answers are made in the simplest way: every voxel in floating point. What is quicker must agree with it."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from OpenVocabCTLib.inference.embedding import VoxelEmbedding
from OpenVocabCTLib.inference.grid import Region, WorkingGrid, native_box, to_native
from OpenVocabCTLib.output.masks import bounding_box

ISLAND_FRACTION = 0.1


def settled(logits: torch.Tensor, rival: torch.Tensor | None, threshold: float) -> torch.Tensor:
    """(s, a, r) logits without the rival's voxels and without islands."""
    if rival is not None:
        logits = torch.minimum(logits, logits - rival + threshold)
    pieces, number = ndimage.label((logits > threshold).numpy())
    if number < 2:
        return logits
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    islands = (sizes < ISLAND_FRACTION * sizes.max())[pieces] & (pieces > 0)
    return torch.where(torch.from_numpy(islands), torch.tensor(-20.0), logits)


def native_values(values: torch.Tensor, offset: tuple[int, int, int], grid: WorkingGrid, box: Region) -> np.ndarray:
    """Interpolated values at every native voxel of a box."""
    return to_native(values, offset, grid, box).numpy()


def native_mask(logits: torch.Tensor, embedding: VoxelEmbedding, threshold: float) -> np.ndarray:
    """Bool (K, J, I) mask on the whole native grid from settled logits of the embedding's region."""
    mask = np.zeros(embedding.grid.native.shape, bool)
    found = bounding_box((logits > threshold).numpy())
    if found[0].stop == 0:
        return mask
    s, a, r = (slice(first + one.start, first + one.stop) for first, one in zip(embedding.offset, found, strict=True))
    box = native_box(embedding.grid, (s, a, r))
    grown = tuple(
        slice(max(0, one.start - 2), min(side, one.stop + 2)) for one, side in zip(found, logits.shape, strict=True)
    )
    x, y, z = (first + one.start for first, one in zip(embedding.offset, grown, strict=True))
    mask[box] = native_values(logits[grown], (x, y, z), embedding.grid, box) > threshold
    return mask
