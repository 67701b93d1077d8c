"""Telling CT images from everything else by a glance at their headers, without reading a series."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import BinaryIO

from OpenVocabCTLib.dicom.catalogue import reason_to_leave_out
from OpenVocabCTLib.dicom.frames import damaged, silent
from OpenVocabCTLib.dicom.locations import Location, archives_kept_open, is_bystander, looks_like_dicom

_SUFFIXES = (".dcm", ".dicom", ".ima")
_TAGS = ("SOPClassUID", "Modality", "ImageType", "SamplesPerPixel")


class Kind(StrEnum):
    """What a file is, or the best of what several are."""

    CT = "CT images"
    DAMAGED = "DICOM that cannot be read"
    OTHER = "DICOM that is no CT"
    FOREIGN = "no DICOM"


def kind_of(locations: Iterable[Location]) -> Kind:
    """Look at files until one is a CT image; of others the first of `Kind` that one of them is.

    Raises:
        InputError: a zip is damaged.
    """
    seen = {Kind.FOREIGN}
    with silent(), archives_kept_open():
        for location in locations:
            if not is_bystander(location):
                seen.add(_kind(location))
            if Kind.CT in seen:
                break
    return next(kind for kind in Kind if kind in seen)


def _kind(location: Location) -> Kind:
    try:
        with location.open() as file:
            kind = _kind_of_file(file)
    except OSError:
        kind = Kind.FOREIGN
    # What is called DICOM and cannot be read as such is to be reported, not passed over.
    return Kind.DAMAGED if kind is Kind.FOREIGN and location.name.lower().endswith(_SUFFIXES) else kind


def _kind_of_file(file: BinaryIO) -> Kind:
    import pydicom

    form = looks_like_dicom(file)
    if not form:
        return Kind.FOREIGN
    try:
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(_TAGS), force=form == "bare")
        if not header.get("SOPClassUID"):
            return Kind.FOREIGN if form == "bare" else Kind.DAMAGED
        return Kind.OTHER if reason_to_leave_out(header) else Kind.CT
    except damaged():
        return Kind.DAMAGED
