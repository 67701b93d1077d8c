"""Axial, coronal and sagittal slices as a radiologist looks at them, whatever the orientation of the grid.

Every array is looked at as if its axes ran to superior, posterior and left ("SPL"): a view, nothing is copied or
resampled; an oblique grid is shown along its own axes, named after the nearest anatomical direction. Then
- an axial slice has anterior up and the patient's right on the viewer's left,
- a coronal slice, turned upside down, has superior up and the patient's right on the viewer's left,
- a sagittal slice, turned upside down, has superior up and anterior on the viewer's left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from OpenVocabCTLib.output.masks import CroppedMask

if TYPE_CHECKING:
    from OpenVocabCTLib.geometry import Geometry

_TOWARDS = "SPL"
_OPPOSITE = {"S": "I", "I": "S", "P": "A", "A": "P", "L": "R", "R": "L"}
# Axis of RAS coordinates along each of the view's axes, and the letters of its positive and negative half.
_RAS_AXIS = {0: (2, "S", "I"), 1: (1, "A", "P"), 2: (0, "R", "L")}


@dataclass(frozen=True)
class Plane:
    """A kind of slice.

    Attributes:
        name: "axial", "coronal" or "sagittal".
        normal: axis of the view that is perpendicular to it; the two others are its rows and its columns.
        flipped: True where the rows run upwards, so that the picture starts with the last.
        letters: what is at the left, right, top and bottom of the picture.
    """

    name: str
    normal: int
    flipped: bool
    letters: tuple[str, str, str, str]

    @property
    def row_axis(self) -> int:
        """Axis of the view that runs along the picture's height."""
        return 1 if self.normal == 0 else 0

    @property
    def column_axis(self) -> int:
        """Axis of the view that runs along the picture's width."""
        return 1 if self.normal == 2 else 2

    def take(self, array: np.ndarray, index: int) -> np.ndarray:
        """Return the picture, (height, width), of slice `index` of an array in view order."""
        picture = np.take(array, index, axis=self.normal)
        return picture[::-1] if self.flipped else picture


AXIAL = Plane("axial", 0, False, ("R", "L", "A", "P"))
CORONAL = Plane("coronal", 1, True, ("R", "L", "S", "I"))
SAGITTAL = Plane("sagittal", 2, True, ("A", "P", "S", "I"))
PLANES = (AXIAL, CORONAL, SAGITTAL)


@dataclass(frozen=True)
class AnatomicalView:
    """How to look at (K, J, I) arrays of a grid along superior, posterior and left.

    Attributes:
        geometry: the grid.
        axes: the array axis (0 K, 1 J, 2 I) that runs nearest to superior-inferior, anterior-posterior, right-left.
        reversed: whether that axis runs the other way (to inferior, to anterior, to right).
    """

    geometry: Geometry
    axes: tuple[int, int, int]
    reversed: tuple[bool, bool, bool]

    @classmethod
    def of(cls, geometry: Geometry) -> AnatomicalView:
        """Find the view of a grid."""
        # axis_codes() names I, J, K in this order; array axes are K, J, I.
        codes = geometry.axis_codes()[::-1]
        axes, flips = [], []
        for letter in _TOWARDS:
            axis = next(a for a, code in enumerate(codes) if code in (letter, _OPPOSITE[letter]))
            axes.append(axis)
            flips.append(codes[axis] != letter)
        return cls(geometry, (axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2]))

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Spacing in mm along the view's axes."""
        s, p, left = (self.geometry.spacing[2 - axis] for axis in self.axes)
        return s, p, left

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along the view's axes."""
        s, p, left = (self.geometry.shape[axis] for axis in self.axes)
        return s, p, left

    def array(self, array: np.ndarray) -> np.ndarray:
        """Return a (K, J, I) array in view order, without a copy."""
        steps = tuple(slice(None, None, -1 if flip else None) for flip in self.reversed)
        return array.transpose(self.axes)[steps]

    def mask(self, mask: CroppedMask) -> CroppedMask:
        """Return a mask in view order, without a copy."""
        start = [
            mask.shape[axis] - mask.box[axis].stop if flip else mask.box[axis].start
            for axis, flip in zip(self.axes, self.reversed, strict=True)
        ]
        return CroppedMask((start[0], start[1], start[2]), self.array(mask.array), self.shape)

    def position(self, plane: Plane, index: int) -> str:
        """Return where a slice lies, as 3D Slicer shows it: the RAS coordinate of its centre, for example "R 12 mm"."""
        centre = [(n - 1) / 2 for n in self.shape]
        centre[plane.normal] = index
        voxel = [0.0, 0.0, 0.0]
        for value, axis, flip, size in zip(centre, self.axes, self.reversed, self.shape, strict=True):
            voxel[2 - axis] = size - 1 - value if flip else value
        axis, positive, negative = _RAS_AXIS[plane.normal]
        coordinate = float((self.geometry.affine_ras() @ np.array([*voxel, 1.0]))[axis])
        return f"{positive if coordinate >= 0 else negative} {abs(coordinate):.0f} mm"


def largest_slice(mask: CroppedMask, axis: int) -> int:
    """Return the index of the slice, along an axis, with most voxels of a mask; of several, the middle one."""
    areas = mask.array.sum(axis=tuple(a for a in range(3) if a != axis), dtype=np.int64)
    best = np.flatnonzero(areas == areas.max())
    return mask.start[axis] + int(best[len(best) // 2])


def display_window(mean_hu: float | None) -> tuple[str, float, float]:
    """Return the name, width and level (HU) of the CT window that suits a structure."""
    if mean_hu is not None and mean_hu < -400:
        return "lung", 1500.0, -600.0
    if mean_hu is not None and mean_hu > 250:
        return "bone", 1800.0, 400.0
    return "soft tissue", 400.0, 40.0


def to_grey(hu: np.ndarray, width: float, level: float) -> np.ndarray:
    """Map HU to 0..255, uint8, through a CT window."""
    low = level - width / 2
    return (np.clip((hu.astype(np.float32) - low) / width, 0.0, 1.0) * 255).round().astype(np.uint8)


def scale_bar(width_mm: float, lengths: Sequence[float] = (50.0, 20.0, 10.0, 5.0, 2.0, 1.0)) -> float:
    """Return the longest bar, in mm, that fits well in a picture of this width."""
    return next((length for length in lengths if length <= 0.6 * width_mm), lengths[-1])
