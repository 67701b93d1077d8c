"""Where a voxel grid lies in the patient.

Coordinates are LPS millimetres (x to the patient's left, y to posterior, z to superior), as in DICOM and SimpleITK.
Arrays are (K, J, I) = (slice, row, column); spacing, direction columns and axis codes are in the order I, J, K.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from OpenVocabCTLib.errors import InputError

if TYPE_CHECKING:
    import SimpleITK as sitk

MINIMUM_SIZE = 2
SPACING_RANGE_MM = (0.01, 100.0)
OBLIQUE_RAD = 0.01
# Text headers round direction cosines to 4 digits or so; a real shear (a gantry tilt) is tens of times larger.
ORTHONORMAL_TOLERANCE = 1e-3
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Geometry:
    """A regular grid of voxels with orthogonal axes; it may be flipped, permuted, oblique or left-handed.

    Attributes:
        shape: number of voxels (K, J, I).
        spacing: distance between voxel centres in mm along I, J, K.
        origin: centre of voxel (0, 0, 0) in LPS mm.
        direction: nine numbers, row-major 3x3; its columns are the unit vectors of I, J, K in LPS.

    Raises:
        InputError: the grid is too small, not finite, without extent, singular or sheared.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        for field in ("spacing", "origin", "direction"):
            # Adding 0.0 turns -0.0 into 0.0, so that equal grids also have equal bytes (see CTVolume.content_hash).
            object.__setattr__(self, field, tuple(float(x) + 0.0 for x in getattr(self, field)))
        if (len(self.shape), len(self.spacing), len(self.origin), len(self.direction)) != (3, 3, 3, 9):
            raise ValueError("shape, spacing and origin have 3 numbers, direction has 9")
        self._check_extent()
        self._check_axes()

    @classmethod
    def from_affine_lps(cls, affine: NDArray[Any], shape: tuple[int, int, int]) -> Self:
        """Make the grid of an affine (4, 4) that maps (i, j, k, 1) to LPS mm; `shape` is (K, J, I).

        Raises:
            InputError: as for the class.
        """
        columns = np.asarray(affine, dtype=float)[:3, :3]
        spacing = np.linalg.norm(columns, axis=0)
        direction = np.divide(columns, spacing, out=np.zeros((3, 3)), where=spacing > 0)
        x, y, z = np.asarray(affine, dtype=float)[:3, 3]
        return cls(shape, (spacing[0], spacing[1], spacing[2]), (x, y, z), tuple(direction.ravel()))

    @classmethod
    def from_sitk(cls, image: sitk.Image) -> Self:
        """Take the grid of a 3D SimpleITK image.

        Raises:
            InputError: as for the class.
        """
        i, j, k = image.GetSize()
        return cls((k, j, i), image.GetSpacing(), image.GetOrigin(), image.GetDirection())

    def affine_lps(self) -> NDArray[np.float64]:
        """Return the (4, 4) matrix that maps (i, j, k, 1) to LPS mm."""
        affine = np.eye(4)
        affine[:3, :3] = self._direction_matrix * self.spacing
        affine[:3, 3] = self.origin
        return affine

    def affine_ras(self) -> NDArray[np.float64]:
        """Return the (4, 4) matrix that maps (i, j, k, 1) to RAS mm (NIfTI, Slicer)."""
        return LPS_TO_RAS @ self.affine_lps()

    def axis_codes(self) -> str:
        """Return the anatomical direction that each of I, J, K points to: "LPS" when the axes are those of LPS."""
        codes = ""
        for axis, row in enumerate(self._nearest_rows()):
            codes += "LPS"[row] if self._direction_matrix[row, axis] > 0 else "RAI"[row]
        return codes

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in ml."""
        return math.prod(self.spacing) / 1000

    @property
    def is_oblique(self) -> bool:
        """Whether any axis is more than 0.01 rad away from its anatomical axis."""
        cosines = [abs(self._direction_matrix[row, axis]) for axis, row in enumerate(self._nearest_rows())]
        return bool(min(cosines) < math.cos(OBLIQUE_RAD))

    @property
    def is_right_handed(self) -> bool:
        """Whether I, J, K form a right-handed system."""
        return bool(np.linalg.det(self._direction_matrix) > 0)

    @property
    def _direction_matrix(self) -> NDArray[np.float64]:
        return np.array(self.direction).reshape(3, 3)

    def _nearest_rows(self) -> tuple[int, ...]:
        """Return which of x, y, z is nearest to I, J, K; all three differ, also at 45 degrees."""
        cosines = np.abs(self._direction_matrix)
        return max(itertools.permutations(range(3)), key=lambda rows: float(cosines[rows, range(3)].sum()))

    def _check_extent(self) -> None:
        if min(self.shape) < MINIMUM_SIZE:
            size = " x ".join(str(n) for n in reversed(self.shape))
            raise InputError(f"the volume has only {size} voxels", "give a CT with at least 2 voxels along every axis")
        if not all(math.isfinite(x) for x in (*self.spacing, *self.origin, *self.direction)):
            raise InputError("the volume has a position that is not a number", "write its header again")
        if min(self.spacing) <= 0:
            raise InputError(
                f"the volume has a voxel size of {min(self.spacing):g} mm", "write it again with its true voxel size"
            )
        low, high = SPACING_RANGE_MM
        for spacing in self.spacing:
            if not low <= spacing <= high:
                raise InputError(
                    f"the volume has a voxel size of {spacing:g} mm, which no CT has",
                    "write it again with its voxel size in mm",
                )

    def _check_axes(self) -> None:
        gram = self._direction_matrix.T @ self._direction_matrix
        if abs(np.linalg.det(self._direction_matrix)) < ORTHONORMAL_TOLERANCE:
            raise InputError("the volume has axes that do not span space", "write it again with its true direction")
        if np.abs(np.diag(gram) - 1).max() > 2 * ORTHONORMAL_TOLERANCE:
            raise InputError(
                "the volume has direction vectors that are not of length 1", "write it again with its true direction"
            )
        cosine = float(np.abs(gram - np.diag(np.diag(gram))).max())
        if cosine > ORTHONORMAL_TOLERANCE:
            raise InputError(
                f"the volume has axes sheared by {math.degrees(math.asin(min(cosine, 1.0))):.2g} degrees",
                "resample it to orthogonal axes, or give the DICOM series",
            )
