"""The fast part, once per prompt: query, threshold, presence, native grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from OpenVocabCTLib.inference.embedding import VoxelEmbedding
from OpenVocabCTLib.inference.grid import Region, native_blocks, native_box
from OpenVocabCTLib.models.heads import Queries, presence_logits
from OpenVocabCTLib.output.masks import CroppedMask, bounding_box

# Islands smaller than this fraction of the largest piece are dropped.
_ISLAND_FRACTION = 0.1
_FAR_BELOW = -20.0
_CHUNK_VOXELS = 1 << 19


def study_logits(embedding: VoxelEmbedding, queries: Queries) -> Tensor:
    """Logits of P queries, (P, s, a, r) float32, piece by piece: no float32 copy of the embedding is made."""
    values = embedding.values
    channels, shape = values.shape[0], values.shape[1:]
    flat = values.reshape(channels, -1)
    scaled = (queries.voxel / math.sqrt(channels)).float()
    bias = queries.voxel_bias.float()[:, None]
    logits = torch.empty(scaled.shape[0], flat.shape[1])
    for start in range(0, flat.shape[1], _CHUNK_VOXELS):
        part = slice(start, start + _CHUNK_VOXELS)
        torch.addmm(bias, scaled, flat[:, part].float(), out=logits[:, part])
    return logits.reshape(-1, *shape)


def study_presence(embedding: VoxelEmbedding, queries: Queries) -> Tensor:
    """(P,) logits that a structure is in the scan: the most convinced tile decides."""
    return presence_logits(embedding.presence_tokens, queries).amax(0)


@dataclass(frozen=True)
class Answer:
    """One part of a prompt.

    Attributes:
        logits: (s, a, r) float32 of the embedding's region, rival side and islands already taken out.
        box: bounding box of the positive voxels in ``logits``; empty slices when there are none.
        presence: presence probability.
    """

    logits: Tensor
    box: Region
    presence: float

    @property
    def positive(self) -> bool:
        """Is there any voxel above the threshold."""
        return self.box[0].stop > self.box[0].start

    @classmethod
    def absent(cls, presence: float) -> Answer:
        """What is not in the scan needs no logits."""
        nowhere = slice(0, 0)
        return cls(torch.empty(0, 0, 0), (nowhere, nowhere, nowhere), presence)


def settle(logits: Tensor, rival: Tensor | None, threshold_logit: float, presence: float) -> Answer:
    """Decide the positive voxels of one part on the working grid.

    Args:
        logits: (s, a, r).
        rival: logits of the same structure on the other side; a voxel counts only where they are lower.
        threshold_logit: logit above which a voxel is positive.
        presence: passed on.
    """
    if rival is not None:
        logits = torch.minimum(logits, logits - rival + threshold_logit)
    box = bounding_box((logits > threshold_logit).numpy())
    if box[0].stop == box[0].start:
        return Answer(logits, box, presence)
    region = logits[box]
    inside = (region > threshold_logit).numpy()
    pieces = _pieces(inside)
    if pieces.max() > 1:
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        dropped = (sizes < _ISLAND_FRACTION * sizes.max())[pieces] & inside
        logits = logits.clone()
        logits[box] = torch.where(torch.from_numpy(dropped), torch.tensor(_FAR_BELOW), region)
        box = bounding_box((logits > threshold_logit).numpy())
    return Answer(logits, box, presence)


def _pieces(inside: np.ndarray) -> np.ndarray:
    """Number the pieces of a bool (s, a, r) mask from 1 on; voxels that share a face belong together.

    By SimpleITK, because importing ``scipy.ndimage`` takes half a second, as long as several answers.
    """
    import SimpleITK as sitk

    return sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(inside.view(np.uint8))))


def native_mask(answer: Answer, embedding: VoxelEmbedding, threshold_logit: float) -> CroppedMask:
    """Mask on the native grid: logits are interpolated in the box of what is positive, then thresholded."""
    low = [max(0, part.start - 2) for part in answer.box]
    high = [min(side, part.stop + 2) for part, side in zip(answer.box, answer.logits.shape, strict=True)]
    part = answer.logits[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    offset = tuple(first + start for first, start in zip(embedding.offset, low, strict=True))
    s, a, r = (slice(start + p.start, start + p.stop) for start, p in zip(embedding.offset, answer.box, strict=True))
    box = native_box(embedding.grid, (s, a, r))
    mask = np.empty([side.stop - side.start for side in box], bool)
    for slices, values in native_blocks(part, offset, embedding.grid, box):
        mask[slices] = (values > threshold_logit).numpy()
    start = (box[0].start, box[1].start, box[2].start)
    return CroppedMask.from_box(mask, start, embedding.grid.native.shape)


def union(masks: Sequence[CroppedMask]) -> CroppedMask:
    """Voxels of any of the masks (all on the same grid, at least one)."""
    if len(masks) == 1:
        return masks[0]
    low = np.min([mask.start for mask in masks], axis=0)
    high = np.max([[part.stop for part in mask.box] for mask in masks], axis=0)
    joined = np.zeros(high - low, bool)
    for mask in masks:
        place = tuple(slice(part.start - a, part.stop - a) for part, a in zip(mask.box, low, strict=True))
        joined[place] |= mask.array
    return CroppedMask((int(low[0]), int(low[1]), int(low[2])), joined, masks[0].shape)
