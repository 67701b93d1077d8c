"""The fast part, once per prompt: query, threshold, presence, native grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from OpenVocabCTLib.inference import native_masks
from OpenVocabCTLib.inference.embedding import VoxelEmbedding
from OpenVocabCTLib.inference.grid import Region, native_box, whole
from OpenVocabCTLib.inference.pieces import without_islands
from OpenVocabCTLib.inference.threads import in_threads
from OpenVocabCTLib.models.heads import Queries, presence_logits
from OpenVocabCTLib.output.masks import CroppedMask, RunMask
from OpenVocabCTLib.output.runs import Index3, Runs

# Islands smaller than this fraction of the largest piece are dropped.
_ISLAND_FRACTION = 0.1
_FAR_BELOW = -20.0
_MARGIN = 2
_MEAN_PARTS = 4  # that threads share
# In float32 some two megabytes of the embedding: they stay in the processor's cache until they are used.
_CHUNK_VOXELS = 1 << 14


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
        logits: (s, a, r) float32 around the positive voxels, rival side and islands already taken out.
        start: index in the embedding's region of ``logits[0, 0, 0]``.
        box: bounding box of the positive voxels in the embedding's region; empty slices when there are none.
        presence: presence probability.
        voxels: number of positive voxels.
    """

    logits: Tensor
    box: Region
    presence: float
    start: Index3 = (0, 0, 0)
    voxels: int = 0

    @property
    def positive(self) -> bool:
        """Is there any voxel above the threshold."""
        return self.box[0].stop > self.box[0].start

    @classmethod
    def absent(cls, presence: float) -> Answer:
        """What is not in the scan needs no logits."""
        nowhere = slice(0, 0)
        return cls(torch.empty(0, 0, 0), (nowhere, nowhere, nowhere), presence)


def settle(
    logits: Tensor, rival: Tensor | None, threshold_logit: float, presence: float, everywhere: bool = False
) -> Answer:
    """Decide the positive voxels of one part on the working grid.

    Args:
        logits: (s, a, r) on the CPU.
        rival: logits of the same structure on the other side; a voxel counts only where they are lower.
        threshold_logit: logit above which a voxel is positive.
        presence: passed on.
        everywhere: whether the answer's logits are those of the whole region, not only around what is positive.
    """
    own, other = logits.numpy(), None if rival is None else rival.numpy()
    inside = own > threshold_logit
    if other is not None:
        inside &= own > other
    runs = Runs.from_mask(inside)
    kept = without_islands(runs, _ISLAND_FRACTION)
    positive = runs.chosen(kept)
    box = positive.box()
    around = whole(own.shape) if everywhere else _grown(box, own.shape)
    part = own[around]
    part = part.copy() if other is None else np.minimum(part, part - other[around] + np.float32(threshold_logit))
    if not kept.all():
        _put_out(part, around, runs.chosen(~kept))
    start = (around[0].start, around[1].start, around[2].start)
    return Answer(torch.from_numpy(part), box, presence, start, positive.count)


def _grown(box: Region, shape: Sequence[int]) -> Region:
    """The box with the neighbours that linear interpolation looks at; empty if it is."""
    if box[0].stop == box[0].start:
        return box
    s, a, r = (
        slice(max(0, part.start - _MARGIN), min(side, part.stop + _MARGIN))
        for part, side in zip(box, shape, strict=True)
    )
    return s, a, r


def _put_out(logits: np.ndarray, around: Region, islands: Runs) -> None:
    """Make the voxels of islands negative.

    Args:
        logits: of a part of the embedding's region.
        around: that part.
        islands: on the grid of the embedding's region.
    """
    places = np.unravel_index(islands.indices(), islands.shape)
    there = np.ones(len(places[0]), bool)
    for place, part in zip(places, around, strict=True):
        there &= (place >= part.start) & (place < part.stop)
    s, a, r = (place[there] - part.start for place, part in zip(places, around, strict=True))
    logits[s, a, r] = _FAR_BELOW


def native_mask(answer: Answer, embedding: VoxelEmbedding, threshold_logit: float) -> CroppedMask:
    """Mask on the native grid: logits are interpolated in the box of what is positive, then thresholded."""
    s, a, r = (slice(first + p.start, first + p.stop) for first, p in zip(embedding.offset, answer.box, strict=True))
    x, y, z = (first + start for first, start in zip(embedding.offset, answer.start, strict=True))
    box = native_box(embedding.grid, (s, a, r))
    return native_masks.native_mask(answer.logits, (x, y, z), embedding.grid, box, threshold_logit)


def mean_inside(values: np.ndarray, mask: CroppedMask) -> float:
    """Mean of the values inside a mask that is not empty.

    Args:
        values: (K, J, I) on the mask's grid.
        mask: where.
    """
    runs, box = RunMask.of(mask).runs, values[mask.box]
    step = max(1, math.ceil(box.shape[0] / _MEAN_PARTS))

    def total(first: int) -> float:
        last = min(first + step, box.shape[0])
        return runs.slices(first, last).total(box[first:last])

    return sum(in_threads(total, range(0, box.shape[0], step))) / mask.count


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
