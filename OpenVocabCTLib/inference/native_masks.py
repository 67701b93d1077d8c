"""Masks on the native grid from logits on the working grid, without interpolating every voxel.

Linear interpolation along a native row gives a polyline with its corners at the working voxels.  Where the line crosses
the threshold is known from the corners on both sides; everything between two crossings is inside, or outside.  So the
logits are interpolated to native slices and rows, but not along them, and what a structure costs depends on its
surface. The result is that of trilinear interpolation at every native voxel, up to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from OpenVocabCTLib.inference.grid import Region, WorkingGrid, native_blocks
from OpenVocabCTLib.inference.threads import in_threads
from OpenVocabCTLib.output.masks import CroppedMask, RunMask
from OpenVocabCTLib.output.runs import Index3, Runs

_BLOCK_CORNERS = 1 << 17  # at a time, so that they stay in the processor's cache


@dataclass(frozen=True)
class _Line:
    """The native voxels along one axis, as places between working voxels.

    Attributes:
        working_axis: the working axis that runs along it.
        first: working index, with its fraction, of the first native voxel.
        step: working voxels from one native voxel to the next, above 0.
        count: native voxels.
        mirrored: whether working values have to be turned round for that.
        size: working voxels; beyond the border its value continues.
    """

    working_axis: int
    first: float
    step: float
    count: int
    mirrored: bool
    size: int

    def neighbours(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(count,) working index below and above each native voxel, and float32 weight of the one above."""
        position = np.clip(self.first + self.step * np.arange(self.count), 0, self.size - 1)
        low = np.minimum(position.astype(np.int64), max(self.size - 2, 0))
        return low, np.minimum(low + 1, self.size - 1), (position - low).astype(np.float32)

    def before(self, crossing: np.ndarray, rising: np.ndarray) -> np.ndarray:
        """Number of native voxels before each place where the values cross the threshold.

        Args:
            crossing: working index, with its fraction, where the values equal the threshold.
            rising: whether they are higher behind it; a voxel just there is outside.
        """
        place = (crossing - self.first) / self.step
        return np.clip(np.where(rising, np.floor(place) + 1, np.ceil(place)), 0, self.count).astype(np.int64)


def native_mask(values: Tensor, offset: Index3, grid: WorkingGrid, box: Region, threshold: float) -> CroppedMask:
    """Find the native voxels whose interpolated value is above a threshold.

    Args:
        values: (s, a, r) float32, part of a working array; beyond its border the border's value continues.
        offset: index of ``values[0, 0, 0]`` in the working grid.
        grid: the working grid.
        box: native (K, J, I) index box that is looked at.
        threshold: a voxel is inside where its value is higher.
    """
    start = (box[0].start, box[1].start, box[2].start)
    if grid.separable and grid.stepped_axis is None:
        return RunMask.cropped_to(_separable(values.numpy(), offset, grid, box, threshold), start, grid.native.shape)
    mask = np.empty([side.stop - side.start for side in box], bool)
    for slices, block in native_blocks(values, offset, grid, box):
        mask[slices] = (block > threshold).numpy()
    return RunMask.cropped_to(Runs.from_mask(mask), start, grid.native.shape)


def _separable(values: np.ndarray, offset: Index3, grid: WorkingGrid, box: Region, threshold: float) -> Runs:
    slices, rows, columns = lines = _lines(values.shape, offset, grid, box)
    turned = tuple(slice(None, None, -1 if line.mirrored else None) for line in lines)
    corners = np.ascontiguousarray(values.transpose([line.working_axis for line in lines])[turned], np.float32)
    below, above, weight = slices.neighbours()
    low, high, share = rows.neighbours()
    step = max(1, _BLOCK_CORNERS // max(1, rows.count * columns.size))

    def block(start: int) -> tuple[np.ndarray, np.ndarray]:
        part = slice(start, start + step)
        planes = _between(corners[below[part]], corners[above[part]], weight[part, None, None])
        polylines = _between(planes[:, low], planes[:, high], share[:, None])
        row, place = _crossings(polylines.reshape(-1, columns.size), columns, threshold)
        return row + start * rows.count, place

    blocks = in_threads(block, range(0, slices.count, step))
    row, place = (np.concatenate(parts).astype(np.int32) for parts in zip(*blocks, strict=True))
    row, place = row[::2], place.reshape(-1, 2)
    some = place[:, 0] < place[:, 1]
    return _joined(Runs(row[some], place[some, 0], place[some, 1], (slices.count, rows.count, columns.count)))


def _lines(shape: tuple[int, ...], offset: Index3, grid: WorkingGrid, box: Region) -> tuple[_Line, _Line, _Line]:
    """The native axes K, J, I."""
    lines: dict[int, _Line] = {}
    for axis in range(3):
        native = int(np.argmax(np.abs(grid.native_to_working[axis, :3])))
        step = float(grid.native_to_working[axis, native])
        first = box[native].start * step + float(grid.native_to_working[axis, 3]) - offset[axis]
        mirrored = step < 0
        if mirrored:
            first, step = shape[axis] - 1 - first, -step
        lines[native] = _Line(axis, first, step, box[native].stop - box[native].start, mirrored, shape[axis])
    return lines[0], lines[1], lines[2]


def _between(low: np.ndarray, high: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Linear interpolation; ``high`` is used for it."""
    high -= low
    high *= weight
    high += low
    return high


def _crossings(polylines: np.ndarray, line: _Line, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Where rows of a mask begin and end by turns.

    Args:
        polylines: (n, m) values at the m working voxels of a line.
        line: the native voxels along it.
        threshold: a voxel is inside where its value is higher.

    Returns:
        Row of each crossing, ascending, and number of native voxels before it.
    """
    number, corners = polylines.shape
    inside = polylines > threshold
    changes = np.empty((number, corners + 1), bool)
    changes[:, 0], changes[:, -1] = inside[:, 0], inside[:, -1]
    np.not_equal(inside[:, 1:], inside[:, :-1], out=changes[:, 1:-1])
    row, corner = np.divmod(np.flatnonzero(changes), corners + 1)
    behind = np.minimum(corner, corners - 1)
    ahead = np.maximum(corner - 1, 0)
    values = polylines.ravel()
    first, second = values[row * corners + ahead].astype(float), values[row * corners + behind].astype(float)
    at_border = (corner == 0) | (corner == corners)
    rise = np.where(at_border, 1.0, second - first)
    crossing = ahead + (threshold - first) / rise
    place = line.before(crossing, rise > 0)
    place[corner == 0], place[corner == corners] = 0, line.count
    return row, place


def _joined(runs: Runs) -> Runs:
    """Join runs of a row that touch: a dip between two native voxels is not seen."""
    begins = np.ones(len(runs), bool)
    begins[1:] = (runs.rows[1:] != runs.rows[:-1]) | (runs.starts[1:] > runs.stops[:-1])
    ends = np.ones(len(runs), bool)
    ends[:-1] = begins[1:]
    return Runs(runs.rows[begins], runs.starts[begins], runs.stops[ends], runs.shape)
