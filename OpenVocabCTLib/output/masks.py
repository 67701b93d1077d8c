"""Masks kept as their bounding box, because most structures fill little of a scan."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

Index3 = tuple[int, int, int]
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
    def box(self) -> Box:
        """Slices of the bounding box on the whole grid."""
        k, j, i = (slice(a, a + n) for a, n in zip(self.start, self.array.shape, strict=True))
        return k, j, i

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
            mask.array[tuple(slice(a - s, b - s) for a, b, s in zip(low, high, mask.start, strict=True))]
            for mask in (self, other)
        )
        return bool(np.any(mine & theirs))


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
