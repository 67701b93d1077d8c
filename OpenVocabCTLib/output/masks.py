"""Masks kept as their bounding box, or as runs in it, because most structures fill little of a scan."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from OpenVocabCTLib.output.runs import Index3, Runs

__all__ = ["Box", "CroppedMask", "Index3", "RunMask", "bounding_box"]

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class CroppedMask:
    """A binary mask on a (K, J, I) grid of which only the bounding box is stored.

    Attributes:
        start: (k, j, i) of the box's first voxel.
        array: bool, the voxels of the box; read-only.
        shape: (K, J, I) of the whole grid.

    Raises:
        ValueError: when the array is not boolean or the box leaves the grid.
    """

    start: Index3
    array: np.ndarray
    shape: Index3

    def __post_init__(self) -> None:
        if self.array.dtype != np.bool_ or self.array.ndim != len(self.shape):
            raise ValueError(f"a mask is a 3D bool array, not {self.array.ndim}D {self.array.dtype}")
        if any(a < 0 or a + n > full for a, n, full in zip(self.start, self.array.shape, self.shape, strict=True)):
            raise ValueError(f"box at {self.start} of {self.array.shape} voxels leaves the grid of {self.shape}")
        view = self.array.view()
        view.flags.writeable = False
        object.__setattr__(self, "array", view)

    @classmethod
    def from_full(cls, mask: np.ndarray) -> CroppedMask:
        """Crop a whole-grid mask, (K, J, I) of any dtype (nonzero is inside), to its bounding box."""
        return cls.from_box(mask, (0, 0, 0), _as_index(mask.shape))

    @classmethod
    def from_box(cls, mask: np.ndarray, start: Index3, shape: Index3) -> CroppedMask:
        """Crop further a mask that is known only inside a box.

        Args:
            mask: (k, j, i) voxels of the box, any dtype (nonzero is inside).
            start: (k, j, i) of the box's first voxel on the grid.
            shape: (K, J, I) of the whole grid.
        """
        mask = mask.astype(bool, copy=False)
        box = bounding_box(mask)
        tight = _as_index(tuple(a + part.start for a, part in zip(start, box, strict=True)))
        # A copy, so that a small structure does not keep the whole grid in memory.
        return cls(tight, mask[box].copy(), shape)

    @cached_property
    def count(self) -> int:
        """Number of voxels inside."""
        return int(np.count_nonzero(self.array))

    @property
    def size(self) -> Index3:
        """(k, j, i) voxels of the bounding box."""
        return _as_index(self.array.shape)

    @property
    def box(self) -> Box:
        """Slices of the bounding box on the whole grid."""
        k, j, i = (slice(a, a + n) for a, n in zip(self.start, self.size, strict=True))
        return k, j, i

    def planes(self, first: int, last: int) -> np.ndarray:
        """Slices ``first`` to ``last`` - 1 of the bounding box, bool."""
        return self.array[first:last]

    def full(self) -> np.ndarray:
        """Return the whole-grid mask, bool (K, J, I)."""
        mask = np.zeros(self.shape, dtype=bool)
        mask[self.box] = self.array
        return mask

    def overlaps(self, other: CroppedMask) -> bool:
        """Say whether the two masks, on the same grid, share a voxel."""
        low = np.maximum(self.start, other.start)
        high = np.minimum([part.stop for part in self.box], [part.stop for part in other.box])
        if np.any(low >= high):
            return False
        mine, theirs = (
            mask.planes(low[0] - mask.start[0], high[0] - mask.start[0])[
                :, *(slice(a - s, b - s) for a, b, s in zip(low[1:], high[1:], mask.start[1:], strict=True))
            ]
            for mask in (self, other)
        )
        return bool(np.any(mine & theirs))


class RunMask(CroppedMask):
    """A cropped mask that is kept as runs: a body takes megabytes rather than a hundred of them.

    ``array`` is made anew for everyone who asks; who needs it more than once keeps it.

    Args:
        start: (k, j, i) of the box's first voxel on the whole grid.
        runs: on the grid of the box, which is as small as can be.
        shape: (K, J, I) of the whole grid.

    Raises:
        ValueError: when the box leaves the grid.
    """

    def __init__(self, start: Index3, runs: Runs, shape: Index3) -> None:
        if any(a < 0 or a + n > full for a, n, full in zip(start, runs.shape, shape, strict=True)):
            raise ValueError(f"box at {start} of {runs.shape} voxels leaves the grid of {shape}")
        for name, value in (("start", start), ("runs", runs), ("shape", shape)):
            object.__setattr__(self, name, value)

    runs: Runs

    @classmethod
    def cropped_to(cls, runs: Runs, start: Index3, shape: Index3) -> RunMask:
        """Crop runs that are known inside a box.

        Args:
            runs: on the grid of the box.
            start: (k, j, i) of the box's first voxel on the whole grid.
            shape: (K, J, I) of the whole grid.
        """
        box = runs.box()
        tight = _as_index(tuple(a + part.start for a, part in zip(start, box, strict=True)))
        return cls(tight, runs.within(box), shape)

    @classmethod
    def of(cls, mask: CroppedMask) -> RunMask:
        """The same mask as runs."""
        return mask if isinstance(mask, cls) else cls(mask.start, Runs.from_mask(mask.array), mask.shape)

    @property
    def array(self) -> np.ndarray:
        """Bool, the voxels of the box; read-only."""
        return self.planes(0, self.runs.shape[0])

    @property
    def size(self) -> Index3:
        """(k, j, i) voxels of the bounding box."""
        return self.runs.shape

    @cached_property
    def count(self) -> int:
        """Number of voxels inside."""
        return self.runs.count

    def planes(self, first: int, last: int) -> np.ndarray:
        """Slices ``first`` to ``last`` - 1 of the bounding box, bool, read-only."""
        depth = self.runs.shape[0]
        inside = self.runs.slices(min(first, depth), min(last, depth)).filled()
        inside.flags.writeable = False
        return inside

    def overlaps(self, other: CroppedMask) -> bool:
        """Say whether the two masks, on the same grid, share a voxel."""
        if not isinstance(other, RunMask):
            return super().overlaps(other)
        first, last = max(self.start[0], other.start[0]), min(self.box[0].stop, other.box[0].stop)
        return first < last and self._on_grid(first, last).overlaps(other._on_grid(first, last))

    def _on_grid(self, first: int, last: int) -> Runs:
        """Runs of slices of the whole grid, on the grid of these slices."""
        here = self.runs.slices(first - self.start[0], last - self.start[0])
        slices, lines = np.divmod(here.rows, self.size[1])
        rows = slices * self.shape[1] + lines + self.start[1]
        shape = (last - first, self.shape[1], self.shape[2])
        return Runs(rows, here.starts + self.start[2], here.stops + self.start[2], shape)


def bounding_box(mask: np.ndarray) -> Box:
    """Return the smallest box that holds the nonzero voxels of a (K, J, I) mask, empty if there are none."""
    parts: list[slice] = []
    for axis in range(3):
        # What the axes before this one left out need not be looked at again.
        inside = mask[tuple(parts)]
        hit = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        parts.append(slice(int(hit[0]), int(hit[-1]) + 1) if hit.size else slice(0, 0))
    k, j, i = parts
    return k, j, i


def _as_index(values: tuple[int, ...]) -> Index3:
    k, j, i = (int(v) for v in values)
    return k, j, i
