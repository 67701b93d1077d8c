"""CTVolume: a CT in Hounsfield units with its place in the patient."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from OpenVocabCTLib.checks import SUBJECT, naming, to_hounsfield
from OpenVocabCTLib.dicom import DicomSource, is_dicom_file, read_series
from OpenVocabCTLib.dicom.locations import ZIP_SUFFIX
from OpenVocabCTLib.errors import InputError, ResourceError
from OpenVocabCTLib.files import read_file
from OpenVocabCTLib.geometry import Geometry

if TYPE_CHECKING:
    import SimpleITK as sitk


@dataclass(frozen=True, eq=False)
class CTVolume:
    """An immutable CT; make it with `read` or `from_array`, which check it.

    Attributes:
        array: voxels (K, J, I) in HU, int16 or float32, C-contiguous and read-only. Values that scanners put outside
            their circle (-2000, -3024) are kept.
        geometry: the grid of the array.
        notes: what the reader noticed or corrected, for the user to see.
        source: the file or folder, None for an array.
        dicom_files: the files, in order of K, of a volume from a DICOM series, else (). When `resampled` they are
            still in order along K, but not one per slice or not in its plane grid.
        resampled: whether the grid differs from that of the source (gantry tilt or uneven slices were corrected).
        dicom: the images of a volume from DICOM, which results in DICOM refer to; else None.
    """

    array: NDArray[Any]
    geometry: Geometry
    notes: tuple[str, ...] = ()
    source: Path | None = None
    dicom_files: tuple[Path, ...] = ()
    resampled: bool = False
    dicom: DicomSource | None = None

    @classmethod
    def read(cls, path: str | Path, series: str | None = None) -> Self:
        """Read a CT.

        Args:
            path: a file (.nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd), or a folder, zip or file of DICOM.
            series: UID or number of the DICOM series; without it the CT series with the most slices.

        Raises:
            InputError: it cannot be read, or is no CT in HU; the message names only the file, never its folder.
            ResourceError: it does not fit into memory.
        """
        source = Path(path)
        with naming(printable(source)):
            try:
                if is_dicom(source):
                    found = read_series(source, series)
                    volume = cls._checked(
                        found.array, found.geometry, found.notes, source, found.files, found.resampled
                    )
                    return replace(volume, dicom=found.source)
                if series is not None:
                    raise InputError(f"{SUBJECT} is not DICOM and has no series", "leave the series out")
                array, geometry, notes = read_file(source)
            except OSError as error:
                raise InputError(
                    f"{SUBJECT} cannot be opened ({(error.strerror or 'input/output error').lower()})",
                    "check the path and the permissions",
                ) from error
            except MemoryError as error:
                raise ResourceError(f"{SUBJECT} does not fit into memory", "free memory or crop it") from error
            return cls._checked(array, geometry, notes, source, (), resampled=False)

    @classmethod
    def from_array(
        cls,
        array: NDArray[Any],
        geometry: Geometry,
        *,
        notes: tuple[str, ...] = (),
        source: Path | None = None,
        dicom_files: tuple[Path, ...] = (),
    ) -> Self:
        """Make a CT from voxels in memory, with the checks of `read`. The array is copied.

        Args:
            array: voxels (K, J, I) in HU, any integer or float type.
            geometry: its grid.
            notes: what is worth telling the user.
            source: file or folder that it came from.
            dicom_files: source instances in slice order.

        Raises:
            InputError: the array is no CT in HU or does not fit the geometry.
        """
        return cls._checked(np.array(array, order="C"), geometry, notes, source, dicom_files, resampled=False)

    @classmethod
    def _checked(
        cls,
        array: NDArray[Any],
        geometry: Geometry,
        notes: tuple[str, ...],
        source: Path | None,
        dicom_files: tuple[Path, ...],
        resampled: bool,
    ) -> Self:
        voxels = to_hounsfield(array)
        if voxels.shape != geometry.shape:
            raise InputError(
                f"{SUBJECT} has {voxels.shape} voxels but its geometry has {geometry.shape}",
                "give the array as (slice, row, column) and its own geometry",
            )
        voxels.flags.writeable = False
        return cls(voxels, geometry, notes, source, dicom_files, resampled)

    def to_sitk(self) -> sitk.Image:
        """Return a SimpleITK image with the same voxels and exactly the same geometry."""
        import SimpleITK as sitk

        image = sitk.GetImageFromArray(self.array)
        image.SetSpacing(self.geometry.spacing)
        image.SetOrigin(self.geometry.origin)
        image.SetDirection(self.geometry.direction)
        return image

    def content_hash(self) -> str:
        """Return the sha256 (hex) of voxel type, shape, voxels and geometry; computed once."""
        return self._content_hash

    @cached_property
    def _content_hash(self) -> str:
        grid = self.geometry
        digest = hashlib.sha256(f"{self.array.dtype.name} {grid.shape}".encode())
        digest.update(np.array([*grid.spacing, *grid.origin, *grid.direction], dtype="<f8").tobytes())
        for plane in self.array:
            digest.update(plane.astype(plane.dtype.newbyteorder("<"), copy=False).data)
        return digest.hexdigest()


def printable(path: Path) -> str:
    """Return the name of a file or folder on one line, without control characters."""
    name = path.name or path.resolve().name
    return "".join(c if c.isprintable() else "?" for c in name) or "the folder"


def is_dicom(source: Path) -> bool:
    """Say whether a path is read as DICOM: a folder, a zip, or a file that starts as DICOM files do."""
    return source.is_dir() or (source.is_file() and (source.suffix.lower() == ZIP_SUFFIX or is_dicom_file(source)))
