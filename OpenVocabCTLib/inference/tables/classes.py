"""From a voxel embedding and a table to masks: every voxel goes to its best class.

Scores of all classes are never there for a whole volume.  On the working grid they are compared piece by piece; on the
native grid only within the box of what was asked for, and only with the classes that occur around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from OpenVocabCTLib.inference.embedding import VoxelEmbedding
from OpenVocabCTLib.inference.grid import Region, native_box, to_native, whole
from OpenVocabCTLib.inference.tables.preprocessing import NetworkGrid
from OpenVocabCTLib.models.class_table import ClassTable
from OpenVocabCTLib.output.masks import CroppedMask, bounding_box

_CHUNK_NUMBERS = 1 << 24  # scores at a time: 64 MB
_MARGIN = 2


@dataclass(frozen=True)
class Winners:
    """The best class of every voxel on the working grid.

    Attributes:
        labels: (D, H, W) index of the best class.
        boxes: bounding box of each class, None where it is nowhere the best.
        probability: softmax probability of each class where it is the best with the highest score, 0 where it never is.
    """

    labels: np.ndarray
    boxes: tuple[Region | None, ...]
    probability: tuple[float, ...]


def scores(values: Tensor, table: ClassTable) -> Tensor:
    """(E, N) embeddings -> (C, N) scores of all classes, float32."""
    return torch.addmm(table.biases[:, None], table.vectors, values.float())


def winners(embedding: VoxelEmbedding, table: ClassTable) -> Winners:
    """Compare the classes on the working grid."""
    flat = embedding.values.reshape(embedding.values.shape[0], -1)
    labels = np.empty(flat.shape[1], np.uint8 if len(table) <= 256 else np.uint16)
    best, place = torch.full((len(table),), -torch.inf), torch.zeros(len(table), dtype=torch.long)
    step = max(1, _CHUNK_NUMBERS // max(len(table), flat.shape[0]))
    for start in range(0, flat.shape[1], step):
        highest, index = scores(flat[:, start : start + step], table).max(0)
        labels[start : start + step] = index.numpy()
        here = torch.full_like(best, -torch.inf).scatter_reduce_(0, index, highest, "amax")
        peaks = torch.nonzero((highest == here[index]) & (here > best)[index]).flatten()
        place[index[peaks]] = start + peaks
        best = torch.maximum(best, here)
    # A softmax of all voxels would take longer than finding their best classes; one voxel of each class is enough.
    sure = scores(flat[:, place], table).softmax(0).diagonal() * (best > -torch.inf)
    volume = labels.reshape(embedding.values.shape[1:])
    # find_objects numbers from 1, and leaves the background out.
    boxes = ndimage.find_objects(volume.astype(np.int32, copy=False), max_label=max(1, len(table) - 1))
    return Winners(volume, (None, *boxes)[: len(table)], tuple(sure.tolist()))


@dataclass(frozen=True)
class Contest:
    """One query against others.

    Attributes:
        query: row of the query in ``table``.
        table: the query and everything that it is compared with.
        lead: by how much the query has to lead, in logits; None where it only has to be the best, which is what a
            softmax among the classes decides; a probability p wants a lead of logit(p) over all others together.
    """

    query: int
    table: ClassTable
    lead: float | None = None

    def margin(self, found: Tensor) -> Tensor:
        """(C, ...) scores -> (...) how far the query is ahead of what it has to be; above 0 it wins."""
        others = torch.cat((found[: self.query], found[self.query + 1 :]))
        if self.lead is None:
            return found[self.query] - others.amax(0)
        return found[self.query] - others.logsumexp(0) - self.lead


def working_margin(embedding: VoxelEmbedding, contest: Contest) -> Tensor:
    """(D, H, W) float32 margin of a query on the working grid."""
    flat = embedding.values.reshape(embedding.values.shape[0], -1)
    margin = torch.empty(flat.shape[1])
    step = max(1, _CHUNK_NUMBERS // max(len(contest.table), flat.shape[0]))
    for start in range(0, flat.shape[1], step):
        part = slice(start, start + step)
        margin[part] = contest.margin(scores(flat[:, part], contest.table))
    return margin.reshape(embedding.values.shape[1:])


def positive_box(margin: Tensor) -> Region | None:
    """Bounding box of what is above 0, None where nothing is."""
    box = bounding_box((margin > 0).numpy())
    return None if box[0].stop == box[0].start else box


def rivals(winners: Winners, box: Region, index: int) -> list[int]:
    """Classes that occur in and around a box, the asked one first; the background in any case."""
    here = winners.labels[_grown(box, winners.labels.shape)]
    return [index, *sorted({0, *np.unique(here).tolist()} - {index})]


def of_classes(table: ClassTable, rows: Sequence[int]) -> ClassTable:
    """Some rows of a table."""
    return ClassTable(table.vectors[list(rows)], table.biases[list(rows)])


def native_mask(embedding: VoxelEmbedding, contest: Contest, box: Region) -> CroppedMask:
    """Mask of a query on the native grid: scores are interpolated, then compared.

    Args:
        embedding: of the scan.
        contest: the query and its rivals.
        box: working box in which the query wins.
    """
    grid = embedding.grid
    native = _within(native_box(grid, box), grid)
    low, high = [part.start for part in native], [part.stop for part in native]
    inside = np.zeros([stop - start for start, stop in zip(low, high, strict=True)], bool)
    # Slices of about as many scores as one piece may have; a native slice costs as much as it has voxels.
    plane = max(1, inside.shape[1] * inside.shape[2] * len(contest.table))
    step = max(1, _CHUNK_NUMBERS // plane)
    for start in range(low[0], high[0], step):
        piece = (slice(start, min(start + step, high[0])), native[1], native[2])
        inside[piece[0].start - low[0] : piece[0].stop - low[0]] = (
            native_margin(embedding, contest, piece) > 0
        ).numpy()
    return CroppedMask.from_box(inside, (low[0], low[1], low[2]), grid.native.shape)


def native_margin(embedding: VoxelEmbedding, contest: Contest, piece: Region) -> Tensor:
    """(k, j, i) margin of a query in a native box."""
    grid = embedding.grid
    part = _seen_from(piece, grid)
    values = embedding.values[(slice(None), *part)]
    found = scores(values.reshape(values.shape[0], -1), contest.table).reshape(-1, *values.shape[1:])
    offset = [one.start for one in part]
    return contest.margin(torch.stack([to_native(score, offset, grid, piece) for score in found]))


def native_probability(embedding: VoxelEmbedding, contest: Contest) -> np.ndarray:
    """Softmax probability of a query on the native grid, float32 (K, J, I); 0 outside of what was seen."""
    grid = embedding.grid
    result = np.zeros(grid.native.shape, np.float32)
    even = Contest(contest.query, contest.table, 0.0)
    k, j, i = _within(whole(grid.native.shape), grid)
    step = max(1, _CHUNK_NUMBERS // max(1, (j.stop - j.start) * (i.stop - i.start) * len(contest.table)))
    for start in range(k.start, k.stop, step):
        piece = (slice(start, min(start + step, k.stop)), j, i)
        result[piece] = native_margin(embedding, even, piece).sigmoid().numpy()
    return result


def _within(box: Region, grid: object) -> Region:
    """What of a native box the grid covers."""
    if not isinstance(grid, NetworkGrid):
        return box
    k, j, i = (
        slice(max(a.start, b.start), max(a.start, b.start, min(a.stop, b.stop)))
        for a, b in zip(box, grid.covered, strict=True)
    )
    return k, j, i


def _seen_from(piece: Region, grid: object) -> Region:
    """Working box whose values are needed to interpolate in a native box."""
    if not isinstance(grid, NetworkGrid):
        raise TypeError("a grid of a network is needed")
    corners = np.array([(k, j, i, 1.0) for k in _ends(piece[0]) for j in _ends(piece[1]) for i in _ends(piece[2])])
    working = (corners @ grid.native_to_working.T)[:, :3]
    low, high = np.floor(working.min(0)).astype(int) - 1, np.ceil(working.max(0)).astype(int) + 2
    d, h, w = (
        slice(min(max(0, a), side - 1), max(min(side, b), min(max(0, a), side - 1) + 1))
        for a, b, side in zip(low.tolist(), high.tolist(), grid.shape, strict=True)
    )
    return d, h, w


def _ends(part: slice) -> tuple[int, int]:
    return part.start, part.stop - 1


def _grown(box: Region, shape: Sequence[int]) -> Region:
    d, h, w = (
        slice(max(0, part.start - _MARGIN), min(side, part.stop + _MARGIN))
        for part, side in zip(box, shape, strict=True)
    )
    return d, h, w
