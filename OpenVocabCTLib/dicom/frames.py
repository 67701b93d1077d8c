"""Headers of CT images, classic (one file per slice) and enhanced (many frames in a file), in one form.

Attributes: DICOM PS3.3 C.7.6.2 (Image Plane), C.8.2.1 (CT Image), C.7.6.16 (Multi-frame Functional Groups), C.8.15
(Enhanced CT).
"""

from __future__ import annotations

import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from OpenVocabCTLib.dicom.locations import Location

if TYPE_CHECKING:
    from pydicom import Dataset

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")  # the second: legacy converted
ORIENTATION_TOLERANCE = 1e-3  # 0.4 mm over the width of a scan
SPACING_TOLERANCE = 1e-3  # half a pixel over 512
HOUNSFIELD_TYPES = ("", "HU", "US")  # US is "unspecified"; what the voxels look like then decides
MOST_FRAMES = 20_000
TAGS = (
    "SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "Modality", "ImageType", "PatientID", "StudyInstanceUID",
    "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "AcquisitionNumber", "InstanceNumber",
    "TemporalPositionIdentifier", "Rows", "Columns",
    "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept",
    "RescaleType", "SamplesPerPixel", "NumberOfFrames", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)  # fmt: skip


def damaged() -> tuple[type[Exception], ...]:
    """Return what pydicom raises on damaged files: of any kind, because it reads values when they are asked for.

    To be written as ``except damaged():``, which imports pydicom only once there is an exception.
    """
    from pydicom.errors import BytesLengthException, InvalidDicomError

    return (
        BytesLengthException, InvalidDicomError, ArithmeticError, AssertionError, AttributeError, EOFError, LookupError,
        NotImplementedError, RecursionError, TypeError, ValueError, struct.error, zlib.error,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Frame:
    """Header of one CT image: where its pixels lie (LPS mm) and what tells it from others.

    Attributes:
        location: its file.
        number: index of the frame inside the file; None for a file with a single image.
        sop_class_uid, instance_uid, study_uid, series_uid: unique identifiers.
        patient: identifier of the patient, "" where there is none; not to be shown.
        series_number: number that the scanner gave the series, 0 where it gave none.
        description: what the scanner calls the series.
        order: acquisition and instance number.
        acquisition: acquisition number and position in time, which the images of one phase share; 0 where unsaid.
        size: rows, columns.
        spacing: mm between rows, between columns.
        position: (3,) centre of the first pixel.
        axes: (2, 3) unit vectors along a row and along a column.
        rescale: slope and intercept; None where the image has none, so that its values are no HU.
        rescale_type: unit of the rescaled values as written; "" where unsaid.
    """

    location: Location
    number: int | None
    sop_class_uid: str
    instance_uid: str
    study_uid: str
    series_uid: str
    patient: str
    series_number: int
    description: str
    order: tuple[int, int]
    acquisition: tuple[int, int]
    size: tuple[int, int]
    spacing: tuple[float, float]
    position: NDArray[np.float64]
    axes: NDArray[np.float64]
    rescale: tuple[float, float] | None
    rescale_type: str

    @property
    def key(self) -> tuple[str, int | None]:
        """What copies of the same image share."""
        return self.instance_uid, self.number

    @property
    def distance(self) -> float:
        """Position along the normal of the image plane in mm."""
        return float(self.position @ np.cross(*self.axes))

    @property
    def is_integral(self) -> bool:
        """Whether its rescaled values are whole numbers."""
        return all(float(x).is_integer() for x in self.rescale or (1, 0))

    def fits(self, other: Frame) -> bool:
        """Whether both can be slices of one volume."""
        return (
            (self.series_uid, self.size) == (other.series_uid, other.size)
            and bool(np.abs(self.axes - other.axes).max() <= ORIENTATION_TOLERANCE)
            and bool(np.allclose(self.spacing, other.spacing, rtol=SPACING_TOLERANCE, atol=0))
        )


@contextmanager
def silent() -> Iterator[None]:
    """Keep pydicom's warnings, which can quote patient data, from the terminal and from logs."""
    import logging

    log = logging.getLogger("pydicom")
    before = log.disabled
    log.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.disabled = before


def frames_of(location: Location, header: Dataset) -> Iterator[Frame | None]:
    """Yield the CT images of a file: one, or one per frame; None for an image whose place cannot be told.

    Args:
        location: the file.
        header: its attributes in `TAGS`.
    """
    if str(header.get("SOPClassUID")) not in ENHANCED_CT:
        yield _frame(location, header, None, _classic)
        return
    shared = _first(header, "SharedFunctionalGroupsSequence")
    groups = header.get("PerFrameFunctionalGroupsSequence") or ()
    if not 0 < len(groups) <= MOST_FRAMES or int(header.get("NumberOfFrames") or 0) != len(groups):
        yield None
        return
    for number, own in enumerate(groups):
        yield _frame(location, header, number, lambda _, own=own: _enhanced(own, shared))


def _frame(location: Location, header: Dataset, number: int | None, place_of: Any) -> Frame | None:
    try:
        place = place_of(header)
        position = np.array(place["ImagePositionPatient"], dtype=float).reshape(3)
        axes = np.array(place["ImageOrientationPatient"], dtype=float).reshape(2, 3)
        spacing = (float(place["PixelSpacing"][0]), float(place["PixelSpacing"][1]))
        rescale = _rescale(place)
        order = _order(header, number, place)
        numbers = (*position, *axes.ravel(), *spacing, *(rescale or ()))
        if not all(math.isfinite(x) for x in numbers):
            return None
        return Frame(
            location=location,
            number=number,
            sop_class_uid=str(header.SOPClassUID),
            instance_uid=str(header.SOPInstanceUID),
            study_uid=str(header.get("StudyInstanceUID", "")),
            series_uid=str(header.get("SeriesInstanceUID", "")),
            patient=str(header.get("PatientID") or "").strip(),
            series_number=int(header.get("SeriesNumber") or 0),
            description=str(header.get("SeriesDescription") or ""),
            order=order,
            acquisition=(order[0], _position_in_time(header if number is None else place)),
            size=(int(header.Rows), int(header.Columns)),
            spacing=spacing,
            position=position,
            axes=axes,
            rescale=rescale,
            rescale_type=str(place.get("RescaleType") or "").strip().upper(),
        )
    except damaged():  # an attribute is absent, empty or malformed
        return None


def _order(header: Dataset, number: int | None, place: dict[str, Any]) -> tuple[int, int]:
    if number is None:
        return int(header.get("AcquisitionNumber") or 0), int(header.get("InstanceNumber") or 0)
    return int(place.get("FrameAcquisitionNumber") or place.get("TemporalPositionIndex") or 0), number


def _position_in_time(source: Any) -> int:
    try:
        return int(source.get("TemporalPositionIdentifier") or source.get("TemporalPositionIndex") or 0)
    except damaged():  # nothing else depends on it
        return 0


def _rescale(place: dict[str, Any]) -> tuple[float, float] | None:
    slope, intercept = place.get("RescaleSlope"), place.get("RescaleIntercept")
    if slope is None or intercept is None or float(slope) == 0:
        return None
    return float(slope), float(intercept)


_PLACE = (
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept", "RescaleType"
)  # fmt: skip
_GROUPS = {
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelMeasuresSequence": ("PixelSpacing",),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept", "RescaleType"),
    "FrameContentSequence": ("FrameAcquisitionNumber", "TemporalPositionIndex"),
}


def _classic(header: Dataset) -> dict[str, Any]:
    return {keyword: header[keyword].value for keyword in _PLACE if keyword in header}


def _enhanced(own: Dataset, shared: Dataset | None) -> dict[str, Any]:
    """Collect a frame's place from its own functional groups, or from those that all frames share."""
    place: dict[str, Any] = {}
    for group, keywords in _GROUPS.items():
        item = _first(own, group) or (_first(shared, group) if shared is not None else None)
        if item is not None:
            place |= {keyword: item[keyword].value for keyword in keywords if keyword in item}
    return place


def _first(dataset: Dataset, keyword: str) -> Dataset | None:
    items = dataset.get(keyword)
    return items[0] if items else None
