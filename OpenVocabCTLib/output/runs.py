"""Masks as runs of voxels along their last axis.

A structure has far fewer runs than voxels: what works on runs costs what its surface costs, not its volume.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Index3 = tuple[int, int, int]
_SUMMED_VOXELS = 1 << 18  # at a time, so that they stay in the processor's cache
_SPARSE = 8  # where fewer than an eighth of the voxels are inside, picking them is quicker than adding up all


@dataclass(frozen=True, eq=False)
class Runs:
    """A binary mask on a (K, J, I) box.

    Attributes:
        rows: (n,) int32, row k * J + j of each run, ascending.
        starts: (n,) int32, first voxel along I, ascending within a row; runs of a row do not touch.
        stops: (n,) int32, voxel after the last one.
        shape: (K, J, I).
    """

    rows: np.ndarray
    starts: np.ndarray
    stops: np.ndarray
    shape: Index3

    @classmethod
    def from_mask(cls, mask: np.ndarray) -> Runs:
        """Find the runs of a bool (K, J, I) array."""
        depth, height, width = mask.shape
        if not mask.size:
            nothing = np.zeros(0, np.int32)
            return cls(nothing, nothing, nothing, (depth, height, width))
        flat = mask.reshape(depth * height, width)
        changes = np.empty((depth * height, width + 1), bool)
        changes[:, :1], changes[:, -1:] = flat[:, :1], flat[:, -1:]
        np.not_equal(flat[:, 1:], flat[:, :-1], out=changes[:, 1:-1])
        # Every row begins and ends outside, so its changes come in pairs.
        row, place = (part.astype(np.int32) for part in np.divmod(np.flatnonzero(changes), width + 1))
        return cls(row[::2].copy(), place[::2].copy(), place[1::2].copy(), (depth, height, width))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> np.ndarray:
        """(n,) voxels of each run."""
        return self.stops - self.starts

    @property
    def count(self) -> int:
        """Number of voxels inside."""
        return int(self.lengths.sum())

    def chosen(self, keep: np.ndarray) -> Runs:
        """Some of the runs.

        Args:
            keep: (n,) bool.
        """
        return Runs(self.rows[keep], self.starts[keep], self.stops[keep], self.shape)

    def box(self) -> tuple[slice, slice, slice]:
        """Bounding box, empty slices where there is no run."""
        if not len(self):
            return slice(0, 0), slice(0, 0), slice(0, 0)
        lines = self.rows % self.shape[1]
        return (
            slice(int(self.rows[0]) // self.shape[1], int(self.rows[-1]) // self.shape[1] + 1),
            slice(int(lines.min()), int(lines.max()) + 1),
            slice(int(self.starts.min()), int(self.stops.max())),
        )

    def within(self, box: tuple[slice, slice, slice]) -> Runs:
        """The runs on the grid of a box that holds all of them."""
        k, j, i = box
        shape = (k.stop - k.start, j.stop - j.start, i.stop - i.start)
        slices, lines = np.divmod(self.rows, self.shape[1])
        rows = (slices - k.start) * shape[1] + (lines - j.start)
        return Runs(rows, self.starts - i.start, self.stops - i.start, shape)

    def slices(self, first: int, last: int) -> Runs:
        """The runs of slices ``first`` to ``last`` - 1, on the grid of these slices."""
        height = self.shape[1]
        # Of one type: the rows would be copied to another one at every call.
        low, high = np.searchsorted(self.rows, np.array((first * height, last * height), self.rows.dtype))
        part = slice(int(low), int(high))
        shape = (last - first, height, self.shape[2])
        return Runs(self.rows[part] - first * height, self.starts[part], self.stops[part], shape)

    def positions(self) -> tuple[np.ndarray, np.ndarray]:
        """(n,) first and (n,) one-past-last index of each run in the flattened box, int64, ascending."""
        first = self.rows.astype(np.int64) * self.shape[2]
        return first + self.starts, first + self.stops

    def filled(self) -> np.ndarray:
        """Return the mask, bool (K, J, I)."""
        size = self.shape[0] * self.shape[1] * self.shape[2]
        return _between(np.stack(self.positions(), axis=1).ravel(), size).reshape(self.shape)

    def indices(self) -> np.ndarray:
        """Index of every voxel inside in the flattened box, int64, ascending."""
        first, lengths = self.positions()[0], self.lengths
        before = np.cumsum(lengths) - lengths
        return np.repeat(first - before, lengths) + np.arange(self.count)

    def total(self, values: np.ndarray) -> float:
        """Sum of the values inside; exact for integers.

        Args:
            values: (K, J, I), the box's voxels.
        """
        step = max(1, _SUMMED_VOXELS // max(1, self.shape[1] * self.shape[2]))
        total = 0.0
        for start in range(0, self.shape[0], step):
            stop = min(start + step, self.shape[0])
            here = self.slices(start, stop)
            if len(here):
                total += here._total(np.ascontiguousarray(values[start:stop]).reshape(-1))
        return total

    def _total(self, values: np.ndarray) -> float:
        exact, of_a_row = _sum_types(values.dtype)
        if self.count * _SPARSE < values.size:
            return float(values[self.indices()].sum(dtype=exact))
        bounds = np.stack(self.positions(), axis=1).ravel()
        # The sums of the runs and of the gaps between them, by turns; the last run may go to the end.
        sums = np.add.reduceat(values, bounds[:-1] if bounds[-1] == values.size else bounds, dtype=of_a_row)
        return float(sums[::2].sum(dtype=exact))

    def overlaps(self, other: Runs) -> bool:
        """Say whether two masks on one grid share a voxel."""
        first, last = self.positions()
        others_first, others_last = other.positions()
        from_run = np.searchsorted(others_last, first, side="right")
        to_run = np.searchsorted(others_first, last, side="left")
        return bool(np.any(to_run > from_run))


def _sum_types(values: np.dtype) -> tuple[type[np.generic], type[np.generic]]:
    """Types in which sums of a volume, and of a row of it, are exact for integers."""
    if not np.issubdtype(values, np.integer):
        return np.float64, np.float64
    return np.int64, np.int32 if values.itemsize == 1 or values == np.int16 else np.int64


def _between(changes: np.ndarray, size: int) -> np.ndarray:
    """Fill between the changes by pairs.

    Args:
        changes: (2 n,) ascending indices at which the mask begins, ends, begins, ...; where it ends and begins again,
            it goes on.
        size: of the result.

    Returns:
        (size,) bool.  Made 64 voxels at a time: writing voxel by voxel takes several times as long.
    """
    words = np.zeros(size // 64 + 1, "<u8")
    word, bit = changes >> 6, (changes & 63).astype(np.uint64)
    if len(changes):
        flips = np.left_shift(np.uint64(0xFFFFFFFFFFFFFFFF), bit)
        first = np.flatnonzero(np.concatenate(([True], word[1:] != word[:-1])))
        words[word[first]] = np.bitwise_xor.reduceat(flips, first)
        # The last bit of a word says whether the mask goes on in the next one.
        going_on = np.bitwise_xor.accumulate(words >> np.uint64(63))
        words[1:] ^= np.uint64(0) - going_on[:-1]
    return np.unpackbits(words.view(np.uint8), count=size, bitorder="little").view(bool)
