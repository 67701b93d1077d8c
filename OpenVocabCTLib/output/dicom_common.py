"""What all DICOM results share: the source images, names that fit, identifiers that repeat, saving."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.output.algorithm import Algorithm
from OpenVocabCTLib.output.atomic import replacing

if TYPE_CHECKING:
    from pydicom import Dataset

    from OpenVocabCTLib.dicom.source import DicomSource, SourceGrid
    from OpenVocabCTLib.output.segmentation import Segment, Segmentation
    from OpenVocabCTLib.volume import CTVolume

MANUFACTURER = "OpenVocabCT"
UTF8 = "ISO_IR 192"
RT_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
RESULT_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", RT_STRUCTURE_SET)  # the first is SEG
_ROOT = "2.25."  # UIDs made from a UUID (PS3.5 B.2)
_NAME_LENGTH = 64
# Type 2 attributes: they have to be there, but may be empty.
_MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName", "SliceThickness",
)  # fmt: skip
_OPTIONAL = ("PatientAge", "PatientSize", "PatientWeight", "StudyDescription", "PositionReferenceIndicator")


@dataclass(frozen=True, eq=False)
class Origin:
    """The images that a segmentation refers to.

    Attributes:
        source: their headers in short.
        headers: their attributes, one data set per file.
        grid: where they lie in the segmentation.
    """

    source: DicomSource
    headers: list[Dataset]
    grid: SourceGrid

    @classmethod
    def of(cls, segmentation: Segmentation) -> Origin:
        """Read what the source images of a segmentation say.

        Raises:
            InputError: the CT does not come from DICOM, lacks identifiers, or nothing was found.
        """
        source = _source_of(segmentation.ct)
        if not segmentation.found:
            raise InputError("nothing was found, and DICOM knows no empty segmentation", "write .seg.nrrd instead")
        headers = _checked_headers(source)
        for header in headers:
            for keyword in _MAY_BE_EMPTY:
                if keyword not in header:
                    setattr(header, keyword, "")
        if source.frames[0].number is not None:
            _share(headers[0], source.frames[0].number)
        return cls(source, headers, source.onto_frames(segmentation.geometry))


def _share(header: Dataset, number: int) -> None:
    """Say once what the frames of an enhanced CT have in common, where they say it one by one; highdicom asks for that.

    Args:
        header: its attributes.
        number: of a frame of the volume, whose frames have the same plane and pixels.
    """
    from pydicom import Dataset

    shared = header.get("SharedFunctionalGroupsSequence") or [Dataset()]
    own = header.PerFrameFunctionalGroupsSequence[number]
    for group in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
        if group not in shared[0]:
            setattr(shared[0], group, own[group].value)
    header.SharedFunctionalGroupsSequence = shared


def check_volume(ct: CTVolume, make: Callable[[Segmentation], Dataset]) -> None:
    """Find out whether a DICOM result can be made for a CT, before it is segmented, by making one of a few voxels.

    Args:
        ct: the CT.
        make: makes the data set of a segmentation.

    Raises:
        InputError: the CT does not come from DICOM, or its images lack what the result has to take over.
    """
    from OpenVocabCTLib.dicom.frames import damaged

    source = _source_of(ct)
    try:
        make(_specimen(ct))
    except InputError as error:
        if not isinstance(error.__cause__, damaged()):
            raise
        keyword = _unfit(source, lambda tried: make(_specimen(replace(ct, dicom=tried))))
        if keyword is None:
            raise
        raise InputError(
            f"the CT's images have a {keyword} that DICOM cannot take over", "write .seg.nrrd instead, or repair it"
        ) from error


def _unfit(source: DicomSource, make: Callable[[DicomSource], Dataset]) -> str | None:
    """Return the attribute without which a result can be made, None where it is not one of those that may be empty."""
    from OpenVocabCTLib.dicom.source import DicomSource

    class Read(DicomSource):
        def headers(self) -> list[Dataset]:
            return headers

    headers = source.headers()
    for keyword in (*_MAY_BE_EMPTY, *_OPTIONAL):
        for header in headers:
            if keyword in header:
                delattr(header, keyword)
        try:
            make(Read(source.frames))
        except InputError:
            continue
        return keyword
    return None


def _specimen(ct: CTVolume) -> Segmentation:
    """Return a segmentation of a voxel each in the first, the middle and the last slice."""
    from OpenVocabCTLib.output.masks import CroppedMask
    from OpenVocabCTLib.output.segmentation import Segmentation, unanswered
    from OpenVocabCTLib.prompts import PromptSet

    k, j, i = ct.geometry.shape
    column = np.zeros((k, 1, 1), dtype=bool)
    column[[0, k // 2, k - 1]] = True
    mask = CroppedMask((0, j // 2, i // 2), column, ct.geometry.shape)
    (blank,) = unanswered(PromptSet.parse(["specimen"]))
    segment = blank.answered(mask, "", 1.0, ct.geometry.voxel_volume_ml, None)
    return Segmentation(ct.geometry, (segment,), ct)


def _source_of(ct: CTVolume | None) -> DicomSource:
    if ct is None or ct.dicom is None:
        raise InputError("DICOM can be written only for a CT that was read from DICOM", "write .seg.nrrd instead")
    return ct.dicom


def _checked_headers(source: DicomSource) -> list[Dataset]:
    headers = source.headers()
    for header in headers:
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
            if not header.get(keyword):
                raise InputError(f"the CT's images lack a {keyword}", "write .seg.nrrd instead")
    return headers


def algorithm_of(segmentation: Segmentation) -> Algorithm:
    """Return the model that made a segmentation, or the program where it is not known."""
    return segmentation.algorithm or Algorithm()


def result_uid(segmentation: Segmentation, origin: Origin, purpose: str) -> str:
    """Return a UID that the same result of the same images gets again, so that storing it twice stores it once."""
    algorithm = algorithm_of(segmentation)
    digest = hashlib.sha256(f"{purpose}\n{algorithm!r}\n".encode())
    for frame in origin.source.frames:
        digest.update(f"{frame.instance_uid} {frame.number}\n".encode())
    for segment in segmentation.found:
        mask = segment.cropped
        assert mask is not None  # `found` says so
        label = f"{segment.id}\0{segment.name}\0{segment.prompt}\0{segment.threshold!r}\0{segment.terminology!r}"
        digest.update(f"{label}\0{mask.start}{mask.size}\n".encode("utf-8", "replace"))
        digest.update(np.packbits(mask.array).tobytes())
    return f"{_ROOT}{int.from_bytes(digest.digest()[:16], 'big')}"


def label_of(segment: Segment) -> str:
    """Return a segment's name as a DICOM text of at most 64 characters; a backslash would separate values."""
    text = "".join(c if c.isprintable() else " " for c in segment.name).replace("\\", "/")
    return text.encode("utf-8", "replace").decode()[:_NAME_LENGTH].strip() or segment.id


def series_number(header: Dataset) -> int:
    """Return a number for the result's series that is told apart from those of the scanner."""
    number = header.get("SeriesNumber")
    return 9000 + (int(number) if number is not None and 0 <= int(number) < 1000 else 0)


def save(dataset: Dataset, path: Path) -> None:
    """Write a DICOM file, complete or not at all.

    Raises:
        InputError: the folder cannot be written.
        ResourceError: the disk is full.
    """
    from OpenVocabCTLib.dicom.frames import silent

    with replacing(path, ".dcm") as temporary, silent():
        dataset.save_as(temporary, enforce_file_format=True)


def check_replaceable(path: Path) -> None:
    """Refuse to replace what this program did not make: an image of the CT, contours that a person drew.

    Raises:
        InputError: there is such a file.
    """
    if path.is_file() and path.stat().st_size > 0 and not _is_result(path):
        raise InputError(
            f"{path.name} is there already and is no DICOM result of {MANUFACTURER}", "give the result another name"
        )


def _is_result(path: Path) -> bool:
    import pydicom

    from OpenVocabCTLib.dicom.frames import damaged, silent

    with silent():
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID", "Manufacturer"])
            return header.Manufacturer == MANUFACTURER and header.SOPClassUID in RESULT_CLASSES
        except damaged():
            return False
