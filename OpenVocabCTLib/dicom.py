"""Reading a folder that holds a DICOM CT series: pydicom for the headers, GDCM (through SimpleITK) for the pixels.

Attributes: DICOM PS3.3 C.7.6.2 (Image Plane), C.8.2.1 (CT Image).
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from OpenVocabCTLib.checks import INT16, SUBJECT
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.files import itk_errors
from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.regrid import even_out, lay_upright

if TYPE_CHECKING:
    import pydicom

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
SAME_POSITION_MM = 0.01
ORIENTATION_TOLERANCE = 0.01
TAGS = [
    "SOPClassUID", "SOPInstanceUID", "Modality", "ImageType", "SeriesInstanceUID", "SeriesNumber", "AcquisitionNumber",
    "InstanceNumber", "Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient",
    "RescaleSlope", "RescaleIntercept", "SamplesPerPixel",
]  # fmt: skip


@dataclass(frozen=True)
class Slice:
    """Header of one CT image: where its pixels lie (LPS mm) and what tells it from others."""

    path: Path
    instance_uid: str
    series_uid: str
    series_number: int
    order: tuple[int, int]  # acquisition and instance number
    size: tuple[int, int]  # rows, columns
    spacing: tuple[float, float]  # mm between rows, between columns
    position: NDArray[np.float64]  # (3,) centre of the first pixel
    axes: NDArray[np.float64]  # (2, 3) unit vectors along a row and along a column
    integral: bool  # whether its rescaled values are whole numbers

    @property
    def distance(self) -> float:
        """Position along the normal of the image plane in mm."""
        return float(self.position @ np.cross(*self.axes))

    def fits(self, other: Slice) -> bool:
        """Whether both can be slices of one volume."""
        return (
            (self.series_uid, self.size) == (other.series_uid, other.size)
            and np.allclose(self.axes, other.axes, atol=ORIENTATION_TOLERANCE)
            and np.allclose(self.spacing, other.spacing, rtol=ORIENTATION_TOLERANCE)
        )


@dataclass(frozen=True)
class Series:
    """A series as a volume; `files` are the instances in slice order, `resampled` says that the grid is not theirs."""

    array: NDArray[Any]
    geometry: Geometry
    notes: tuple[str, ...]
    files: tuple[Path, ...]
    resampled: bool


def read_series(folder: Path) -> Series:
    """Read the CT series with the most slices in a folder and its subfolders.

    Returns:
        Voxels (K, J, I) in HU (int16, or float32 when the rescale is fractional), slices ordered along the normal of
        the image plane. A gantry tilt and mildly uneven slices are corrected by resampling.

    Raises:
        InputError: no CT series, a damaged slice, too many missing slices, or slices that do not line up.
    """
    slices, notes = _best_series(folder)
    slices, dropped = _distinct_positions(slices)
    array = _read_pixels(slices)
    positions = np.array([s.position for s in slices])
    array, positions, uneven = even_out(array, positions, np.cross(*slices[0].axes))
    array, geometry, tilt = lay_upright(array, positions, slices[0].axes, slices[0].spacing)
    notes = (*notes, *dropped, *uneven, *tilt)
    return Series(array, geometry, notes, tuple(s.path for s in slices), resampled=bool(uneven or tilt))


def _best_series(folder: Path) -> tuple[list[Slice], tuple[str, ...]]:
    headers = list(_headers(folder))
    if not headers:
        raise InputError(f"{SUBJECT} holds no DICOM file", "give a volume file or the folder of a DICOM CT series")
    images = [(path, header) for path, header in headers if header.get("SOPClassUID") == CT_IMAGE]
    if not images:
        raise _no_ct(header for _, header in headers)
    slices = [_slice(path, header) for path, header in images if not _is_localizer(header)]
    placed = [s for s in slices if s is not None]
    if not placed:
        raise InputError(
            f"{SUBJECT} holds no CT slice with a position, only localizers or the like", "give a CT series"
        )
    groups = _group(placed)
    best = max(groups, key=lambda group: (len({round(s.distance, 1) for s in group}), -group[0].series_number))
    notes = []
    if len(groups) > 1:
        others = f"{len(groups) - 1} other CT series left out"
        notes.append(f"series {best[0].series_number} ({len(best)} slices) read, {others}")
    if len(placed) < len(slices):
        notes.append(f"{len(slices) - len(placed)} images without a position left out")
    return best, tuple(notes)


def _headers(folder: Path) -> Iterator[tuple[Path, pydicom.FileDataset]]:
    import pydicom
    from pydicom.errors import InvalidDicomError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name.upper() != "DICOMDIR"):
            try:
                yield path, pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(TAGS))
            except (InvalidDicomError, EOFError):
                continue


def _no_ct(headers: Iterable[pydicom.FileDataset]) -> InputError:
    found = list(headers)
    if any(header.get("SOPClassUID") == ENHANCED_CT for header in found):
        return InputError(
            f"{SUBJECT} holds an enhanced (multi-frame) CT", "convert it to one file per slice, or to NIfTI"
        )
    kinds = Counter(str(header.get("Modality", "unknown"))[:16] for header in found)
    return InputError(f"{SUBJECT} holds no CT image, only {', '.join(sorted(kinds))}", "give the folder of a CT series")


def _is_localizer(header: pydicom.FileDataset) -> bool:
    return "LOCALIZER" in (header.get("ImageType") or ()) or int(header.get("SamplesPerPixel") or 1) != 1


def _slice(path: Path, header: pydicom.FileDataset) -> Slice | None:
    try:
        axes = np.array(header.ImageOrientationPatient, dtype=float).reshape(2, 3)
        rescale = [float(header.get(name) or 0) for name in ("RescaleSlope", "RescaleIntercept")]
        return Slice(
            path=path,
            instance_uid=str(header.SOPInstanceUID),
            series_uid=str(header.get("SeriesInstanceUID", "")),
            series_number=int(header.get("SeriesNumber") or 0),
            order=(int(header.get("AcquisitionNumber") or 0), int(header.get("InstanceNumber") or 0)),
            size=(int(header.Rows), int(header.Columns)),
            spacing=(float(header.PixelSpacing[0]), float(header.PixelSpacing[1])),
            position=np.array(header.ImagePositionPatient, dtype=float).reshape(3),
            axes=axes,
            integral=all(x.is_integer() for x in rescale),
        )
    except (AttributeError, TypeError, ValueError, IndexError):  # an attribute is absent, empty or malformed
        return None


def _group(slices: Iterable[Slice]) -> list[list[Slice]]:
    """Group slices that can form one volume; a tolerance, not rounding, keeps a series together."""
    groups: list[list[Slice]] = []
    for one in slices:
        for group in groups:
            if one.fits(group[0]):
                group.append(one)
                break
        else:
            groups.append([one])
    return groups


def _distinct_positions(slices: list[Slice]) -> tuple[list[Slice], tuple[str, ...]]:
    """Return one slice per position in order, the first acquired, and notes about the others."""
    normal = np.cross(*slices[0].axes)
    ordered = sorted(slices, key=lambda s: (round(float(s.position @ normal), 2), s.order, str(s.path)))
    kept: list[Slice] = []
    copies = others = 0
    uids: set[str] = set()
    for one in ordered:
        if kept and abs(float((one.position - kept[-1].position) @ normal)) < SAME_POSITION_MM:
            copies, others = (copies + 1, others) if one.instance_uid in uids else (copies, others + 1)
        else:
            kept.append(one)
        uids.add(one.instance_uid)
    if len(kept) < 2:
        raise InputError(f"{SUBJECT} holds {len(kept)} CT slice", "give the whole series")
    notes = []
    if copies:
        notes.append(f"{copies} duplicate slice{'s' * (copies > 1)} dropped")
    if others:
        notes.append(f"{others} other image{'s' * (others > 1)} at the same positions dropped (another phase?)")
    return kept, tuple(notes)


def _read_pixels(slices: Sequence[Slice]) -> NDArray[Any]:
    """Read the slices with slope and intercept applied to each."""
    import SimpleITK as sitk

    dtype = np.int16 if all(s.integral for s in slices) else np.float32
    array = np.empty((len(slices), *slices[0].size), dtype=dtype)
    for k, one in enumerate(slices):
        try:
            with itk_errors():
                pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(one.path), imageIO="GDCMImageIO"))
        except InputError as error:
            raise InputError(
                f"{SUBJECT} has a slice that cannot be read ({one.path.name})", "copy the series again"
            ) from error
        if pixels.size != array[k].size:
            raise InputError(
                f"{SUBJECT} has a slice of another size ({one.path.name})", "give a series of single slices"
            )
        if pixels.min() < INT16.min or pixels.max() > INT16.max:
            raise InputError(f"{SUBJECT} has a slice with values beyond Hounsfield units", "export the series again")
        array[k] = pixels.reshape(array[k].shape)
    return array
