"""DICOM RT Structure Set (RTSTRUCT): contours on the source slices, with TG-263 names, for radiotherapy planning.

Source: DICOM PS3.3 A.19, C.8.8.5, C.8.8.6. Contours run half-way between the outermost pixels inside and the first ones
outside, so that a pixel is inside of the contour exactly when it is inside of the mask. Holes are connected to their
outline by a channel of no width (C.8.8.6.3), which every planning system reads the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from OpenVocabCTLib import __version__
from OpenVocabCTLib.dicom.frames import Frame, damaged, silent
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.output.dicom_common import (
    MANUFACTURER,
    RT_STRUCTURE_SET,
    UTF8,
    Origin,
    algorithm_of,
    label_of,
    result_uid,
    save,
    series_number,
)
from OpenVocabCTLib.output.tg263 import tg263_name

if TYPE_CHECKING:
    from pydicom import Dataset

    from OpenVocabCTLib.output.segmentation import Segment, Segmentation
    from OpenVocabCTLib.prompts.terminology import Code, Terminology

_STUDY_COMPONENT = "1.2.840.10008.3.1.2.3.1"
_NAME_LENGTH = 60  # of the 64 characters of a DICOM text, four are for a number
_BODY_PARTS = ("123037004", "85756007")  # categories of SNOMED CT: anatomical structure, tissue
_CHANNELS = 64  # how many are tried
_ON_CENTRE = 1e-3  # pixels
_COPIED = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize", "PatientWeight",
    "StudyInstanceUID", "StudyID", "StudyDate", "StudyTime", "StudyDescription", "AccessionNumber",
    "ReferringPhysicianName", "FrameOfReferenceUID", "PositionReferenceIndicator",
)  # fmt: skip


def write_rtstruct(segmentation: Segmentation, path: Path) -> None:
    """Write the found segments as an RT Structure Set.

    Raises:
        InputError: no DICOM source, nothing found, or source images whose attributes cannot be copied.
        ResourceError: the disk is full.
    """
    save(rtstruct(segmentation), path)


def rtstruct(segmentation: Segmentation) -> Dataset:
    """Make the data set that `write_rtstruct` writes."""
    origin = Origin.of(segmentation)
    with silent():
        try:
            dataset = _general(segmentation, origin)
            _add_references(dataset, origin)
            _add_structures(dataset, segmentation, origin)
        except damaged() as error:
            raise InputError(
                f"the CT's images have attributes that an RT Structure Set cannot take over ({type(error).__name__})",
                "write .seg.nrrd instead, or repair the series",
            ) from error
    return dataset


def _general(segmentation: Segmentation, origin: Origin) -> Dataset:
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    first, now, algorithm = origin.headers[0], datetime.now(), algorithm_of(segmentation)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SpecificCharacterSet = UTF8
    for keyword in _COPIED:
        if keyword in first:
            setattr(dataset, keyword, first[keyword].value)
    dataset.PositionReferenceIndicator = dataset.get("PositionReferenceIndicator", "")
    dataset.SOPClassUID = RT_STRUCTURE_SET
    dataset.SOPInstanceUID = result_uid(segmentation, origin, "RTSTRUCT instance")
    dataset.SeriesInstanceUID = result_uid(segmentation, origin, "RTSTRUCT series")
    dataset.Modality, dataset.InstanceNumber, dataset.OperatorsName = "RTSTRUCT", 1, ""
    dataset.SeriesNumber, dataset.SeriesDescription = series_number(first), "OpenVocabCT contours"
    dataset.Manufacturer, dataset.ManufacturerModelName = MANUFACTURER, algorithm.name[:64]
    dataset.SoftwareVersions = [f"{MANUFACTURER} {__version__}", f"model {algorithm.version}"[:64]]
    dataset.StructureSetLabel, dataset.StructureSetName = "OPENVOCABCT", "OpenVocabCT"
    dataset.StructureSetDate, dataset.StructureSetTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    dataset.SeriesDate, dataset.SeriesTime = dataset.StructureSetDate, dataset.StructureSetTime
    dataset.ApprovalStatus = "UNAPPROVED"
    return dataset


def _add_references(dataset: Dataset, origin: Origin) -> None:
    from pydicom import Dataset

    images = {frame.instance_uid: frame for frame in origin.source.frames}
    series = Dataset()
    series.SeriesInstanceUID = origin.headers[0].SeriesInstanceUID
    series.ContourImageSequence = [_image(frame, whole=True) for frame in images.values()]
    study = Dataset()
    study.ReferencedSOPClassUID = _STUDY_COMPONENT
    study.ReferencedSOPInstanceUID = origin.headers[0].StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame_of_reference = Dataset()
    frame_of_reference.FrameOfReferenceUID = origin.headers[0].FrameOfReferenceUID
    frame_of_reference.RTReferencedStudySequence = [study]
    dataset.ReferencedFrameOfReferenceSequence = [frame_of_reference]


def _image(frame: Frame, whole: bool = False) -> Dataset:
    from pydicom import Dataset

    image = Dataset()
    image.ReferencedSOPClassUID = frame.sop_class_uid
    image.ReferencedSOPInstanceUID = frame.instance_uid
    if frame.number is not None and not whole:
        image.ReferencedFrameNumber = frame.number + 1
    return image


def _add_structures(dataset: Dataset, segmentation: Segmentation, origin: Origin) -> None:
    from pydicom import Dataset

    algorithm = algorithm_of(segmentation)
    dataset.StructureSetROISequence, dataset.ROIContourSequence, dataset.RTROIObservationsSequence = [], [], []
    names: set[str] = set()
    for number, segment in enumerate(segmentation.found, start=1):
        structure, contours, observation = Dataset(), Dataset(), Dataset()
        structure.ROINumber = contours.ReferencedROINumber = observation.ReferencedROINumber = number
        structure.ReferencedFrameOfReferenceUID = origin.headers[0].FrameOfReferenceUID
        structure.ROIName = _own_name(tg263_name(segment.canonical) or label_of(segment), names)
        structure.ROIGenerationAlgorithm = "AUTOMATIC"
        structure.ROIGenerationDescription = f"{algorithm.name} {algorithm.version}"[:64]
        contours.ROIDisplayColor = list(segment.colour)
        contours.ContourSequence = list(_contours(segment, origin))
        observation.ObservationNumber = number
        observation.RTROIInterpretedType = _interpreted_type(segment)
        observation.ROIInterpreter = ""
        if segment.terminology is not None:
            _identify(observation, segment.terminology)
        dataset.StructureSetROISequence.append(structure)
        dataset.ROIContourSequence.append(contours)
        dataset.RTROIObservationsSequence.append(observation)


def _own_name(name: str, taken: set[str]) -> str:
    """Return a name that no other structure has: planning systems tell structures apart by it."""
    number, candidate = 1, name
    while candidate.casefold() in taken:
        number += 1
        candidate = f"{name[:_NAME_LENGTH]}_{number}"
    taken.add(candidate.casefold())
    return candidate


def _interpreted_type(segment: Segment) -> str:
    """Return what a structure is to radiotherapy; "" where no code says that it is a part of the body."""
    if segment.canonical == "body":
        return "EXTERNAL"
    return "ORGAN" if segment.terminology is not None and segment.terminology.category.value in _BODY_PARTS else ""


def _identify(observation: Dataset, terminology: Terminology) -> None:
    """Say in codes what a structure is: category and type, with the side, and where a finding lies."""
    observation.SegmentedPropertyCategoryCodeSequence = [_code(terminology.category)]
    observation.RTROIIdentificationCodeSequence = [_code(terminology.type)]
    if terminology.modifier is not None:
        kind = observation.RTROIIdentificationCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [_code(terminology.modifier)]
    if terminology.region is not None:
        observation.AnatomicRegionSequence = [_code(terminology.region)]
        if terminology.region_modifier is not None:
            place = observation.AnatomicRegionSequence[0]
            place.AnatomicRegionModifierSequence = [_code(terminology.region_modifier)]


def _code(code: Code) -> Dataset:
    from pydicom import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme, code.meaning[:64]
    return item


def _contours(segment: Segment, origin: Origin) -> Iterator[Dataset]:
    from pydicom import Dataset

    volume = segment.mask
    for n, frame in enumerate(origin.source.frames):
        image = origin.grid.take(volume, n)
        if not image.any():
            continue
        for polygon in outlines(image):
            contour = Dataset()
            contour.ContourImageSequence = [_image(frame)]
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(polygon)
            points = frame.position + polygon @ (frame.axes * np.array(frame.spacing[::-1])[:, None])
            contour.ContourData = [f"{x:.4f}" for x in points.ravel()]
            yield contour


def outlines(mask: NDArray[np.bool_]) -> Iterator[NDArray[np.float64]]:
    """Yield the outlines of a mask (rows, columns) as closed polygons (N, 2) of (column, row), holes connected.

    The last point is not the first one again.
    """
    import contourpy

    padded = np.pad(mask.astype(np.float32), 1)
    maker = contourpy.contour_generator(z=padded, fill_type=contourpy.FillType.OuterOffset)
    filled: Any = maker.filled(0.5, 2.0)
    for points, offsets in zip(*filled, strict=True):
        rings = [points[a : b - 1] - 1.0 for a, b in pairwise(offsets)]
        yield _connected(rings[0], rings[1:])


def _connected(outer: NDArray[np.float64], holes: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Join each hole to the polygon by the shortest channel that meets no pixel's centre."""
    polygon = outer
    for hole in holes:
        at, start = _channel(polygon, hole)
        around = np.roll(hole, -start, axis=0)
        polygon = np.concatenate([polygon[: at + 1], around, around[:1], polygon[at:]])
    return polygon


def _channel(polygon: NDArray[np.float64], hole: NDArray[np.float64]) -> tuple[int, int]:
    """Return the indices of the two points to connect.

    A centre on the channel would be inside or outside as rounding has it; the nearest points often have one between.
    """
    distances = np.linalg.norm(polygon[:, None] - hole[None], axis=2).ravel()
    few = np.argpartition(distances, min(_CHANNELS, distances.size) - 1)[:_CHANNELS]
    nearest = [divmod(int(n), len(hole)) for n in few[np.argsort(distances[few], kind="stable")]]
    return next((pair for pair in nearest if not _meets_a_centre(polygon[pair[0]], hole[pair[1]])), nearest[0])


def _meets_a_centre(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    """Whether a point with whole coordinates lies on the way from a to b."""
    for axis in (0, 1):
        low, high = sorted((a[axis], b[axis]))
        crossed = np.arange(np.ceil(low), np.floor(high) + 1)
        if low == high:  # along the other axis: its own turn looks at it
            continue
        other = a[1 - axis] + (crossed - a[axis]) * (b[1 - axis] - a[1 - axis]) / (b[axis] - a[axis])
        if np.any(np.abs(other - np.rint(other)) < _ON_CENTRE):
            return True
    return False
