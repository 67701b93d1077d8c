"""What a DICOM result needs to know about the images that a CT was read from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from OpenVocabCTLib.dicom.frames import Frame, damaged, silent
from OpenVocabCTLib.dicom.locations import Location, archives_kept_open
from OpenVocabCTLib.errors import InputError

if TYPE_CHECKING:
    from pydicom import Dataset

    from OpenVocabCTLib.geometry import Geometry


@dataclass(frozen=True, eq=False)
class DicomSource:
    """The source images of a CT in slice order, one per slice that was scanned; holds no patient data itself.

    Attributes:
        frames: their headers.
    """

    frames: tuple[Frame, ...]

    @cached_property
    def locations(self) -> tuple[Location, ...]:
        """Their files, each once, in slice order."""
        return tuple(dict.fromkeys(frame.location for frame in self.frames))

    def headers(self) -> list[Dataset]:
        """Read all attributes but the pixels, one data set per location.

        Raises:
            InputError: a file is no longer there or cannot be read any more.
        """
        import pydicom

        unreadable: tuple[type[Exception], ...] = (OSError, *damaged())
        headers: list[Dataset] = []
        with silent(), archives_kept_open():
            for location in self.locations:
                try:
                    with location.open() as file:
                        headers.append(pydicom.dcmread(file, stop_before_pixels=True, force=True))
                except unreadable as error:
                    raise InputError(
                        f"the source image {location.name} cannot be read any more", "keep the CT until all is written"
                    ) from error
        return headers

    def onto_frames(self, geometry: Geometry) -> SourceGrid:
        """Relate the grid that the CT was read to with the images it came from."""
        inverse = np.linalg.inv(geometry.affine_lps())
        corners = np.array([(inverse @ np.append(frame.position, 1))[2::-1] for frame in self.frames])
        return SourceGrid(np.rint(corners).astype(int), self.frames[0].size, geometry.shape)


@dataclass(frozen=True, eq=False)
class SourceGrid:
    """Where each source image lies in a volume whose planes are parallel to it, as those of a corrected tilt are.

    Attributes:
        corners: (N, 3) index (k, j, i) of each image's first pixel, to the nearest voxel.
        size: rows and columns of an image.
        shape: (K, J, I) of the volume.
    """

    corners: NDArray[np.int_]
    size: tuple[int, int]
    shape: tuple[int, int, int]

    @property
    def is_whole(self) -> bool:
        """Whether image n is simply plane n."""
        plain = np.zeros_like(self.corners)
        plain[:, 0] = np.arange(len(self.corners))
        return self.shape == (len(self.corners), *self.size) and bool(np.array_equal(self.corners, plain))

    def take(self, volume: NDArray[Any], n: int) -> NDArray[Any]:
        """Return the pixels (rows, columns) of image n from a volume (K, J, I); zero where it does not reach."""
        k, j, i = (int(x) for x in self.corners[n])
        image = np.zeros(self.size, dtype=volume.dtype)
        plane = volume[min(max(k, 0), self.shape[0] - 1)]
        (to_j, from_j), (to_i, from_i) = (
            _overlap(start, length, full) for start, length, full in zip((j, i), self.size, self.shape[1:], strict=True)
        )
        image[to_j, to_i] = plane[from_j, from_i]
        return image


def _overlap(start: int, length: int, full: int) -> tuple[slice, slice]:
    """Return where the pixels start..start+length of an axis of `full` voxels go to, and where they come from."""
    low = max(start, 0)
    high = max(low, min(start + length, full))
    return slice(low - start, high - start), slice(low, high)
