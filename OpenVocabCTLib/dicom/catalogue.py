"""Which series a folder or zip holds: CT that can be read, and everything that is left out, with the reason."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from OpenVocabCTLib.checks import SUBJECT
from OpenVocabCTLib.dicom.frames import CT_IMAGE, ENHANCED_CT, HOUNSFIELD_TYPES, TAGS, Frame, damaged, frames_of, silent
from OpenVocabCTLib.dicom.locations import (
    Location,
    archives_kept_open,
    linked_folders,
    list_locations,
    looks_like_dicom,
)
from OpenVocabCTLib.errors import InputError

if TYPE_CHECKING:
    from pydicom import Dataset

_SAME_SLICE_DIGITS = 1  # positions in mm
# How scanners and workstations call maximum and minimum intensity projections: "CT_SOM5 MIP", "MAX_IP", "PROJECTION
# IMAGE". Their values are those of the brightest or darkest voxel on a line, and no organ has its shape in them.
_PROJECTION = re.compile(r"(?<![A-Z])(MIP|MINIP|MAX_?IP|MIN_IP|PROJECTION IMAGE)(?![A-Z])")


@dataclass(frozen=True)
class SeriesSummary:
    """One row of a listing.

    Attributes:
        study_uid, series_uid, number, description: as the scanner wrote them.
        modality: for example "CT".
        images: number of images, or of files that hold none.
        positions: number of different slice positions of the largest volume in it; 0 where it cannot be segmented.
        reason: why it cannot be segmented; "" where it can.
    """

    study_uid: str
    series_uid: str
    number: int
    description: str
    modality: str
    images: int
    positions: int
    reason: str


@dataclass
class _LeftOut:
    """Images of one series that are not read."""

    modality: str
    study_uid: str
    number: int
    description: str
    reasons: Counter[str] = field(default_factory=Counter)


@dataclass
class Catalogue:
    """What was found.

    Attributes:
        volumes: CT images that can form one volume, one list for each.
        left_out: everything else, by series UID.
        unplaced: number of CT images without a position.
        damaged: number of DICOM files that cannot be read.
        foreign: number of files that are not DICOM.
        links: number of links to folders, which are not followed.
    """

    volumes: list[list[Frame]] = field(default_factory=list)
    left_out: dict[str, _LeftOut] = field(default_factory=dict)
    unplaced: int = 0
    damaged: int = 0
    foreign: int = 0
    links: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether no DICOM file could be read."""
        return not self.volumes and not self.left_out

    def add(self, frame: Frame) -> None:
        """Put an image to the volume that it fits; a tolerance, not rounding, keeps a series together."""
        for volume in self.volumes:
            if frame.fits(volume[0]):
                volume.append(frame)
                return
        self.volumes.append([frame])

    def leave_out(self, header: Dataset, reason: str) -> None:
        """Count an image that is not read."""
        uid = _text(header, "SeriesInstanceUID")
        one = self.left_out.setdefault(
            uid,
            _LeftOut(
                _text(header, "Modality"),
                _text(header, "StudyInstanceUID"),
                _number(header),
                _text(header, "SeriesDescription"),
            ),
        )
        one.reasons[reason] += 1

    def summaries(self) -> tuple[SeriesSummary, ...]:
        """Describe every series, by study and number."""
        rows = []
        by_series: dict[str, list[list[Frame]]] = {}
        for volume in self.volumes:
            by_series.setdefault(volume[0].series_uid, []).append(volume)
        for uid, volumes in by_series.items():
            first, images = volumes[0][0], sum(map(len, volumes))
            positions = max(map(distinct, volumes))
            reason = "" if positions > 1 else "a single slice"
            row = (first.study_uid, uid, first.series_number, first.description, "CT", images, positions, reason)
            rows.append(SeriesSummary(*row))
        for uid, other in self.left_out.items():
            if uid not in by_series:
                reasons = ", ".join(sorted(other.reasons))
                images = sum(other.reasons.values())
                text = (other.study_uid, uid, other.number, other.description, other.modality)
                rows.append(SeriesSummary(*text, images, 0, reasons))
        return tuple(sorted(rows, key=lambda row: (row.study_uid, row.number, row.series_uid)))

    def notes(self) -> tuple[str, ...]:
        """Say what was passed over."""
        notes = [_count(self.unplaced, "image without a position", "images without a position")]
        kinds: Counter[str] = Counter()
        for one in self.left_out.values():
            kinds += one.reasons
        kinds.pop("no position", None)
        notes += [_count(number, reason, f"{reason}s") for reason, number in sorted(kinds.items())]
        notes.append(_count(self.damaged, "damaged DICOM file", "damaged DICOM files"))
        notes.append(_count(self.foreign, "file that is not DICOM", "files that are not DICOM"))
        notes.append(_count(self.links, "link to a folder", "links to folders"))
        return tuple(note for note in notes if note)


def distinct(frames: Iterable[Frame]) -> int:
    """Count slice positions."""
    return len({round(frame.distance, _SAME_SLICE_DIGITS) for frame in frames})


def scan(source: Path) -> Catalogue:
    """Read the headers of all DICOM files of a folder and its subfolders, of a zip, or of one file.

    Raises:
        InputError: the zip is damaged.
        OSError: a file cannot be opened.
    """
    import pydicom

    catalogue = Catalogue(links=linked_folders(source))
    with silent(), archives_kept_open():
        for location in list_locations(source):
            with location.open() as file:
                form = looks_like_dicom(file)
                if not form:
                    catalogue.foreign += 1
                    continue
                try:
                    header = pydicom.dcmread(
                        file, stop_before_pixels=True, specific_tags=list(TAGS), force=form == "bare"
                    )
                    _sort_in(catalogue, location, header)
                except damaged():
                    catalogue.damaged += 1
    return catalogue


def _sort_in(catalogue: Catalogue, location: Location, header: Dataset) -> None:
    reason = reason_to_leave_out(header)
    if reason:
        catalogue.leave_out(header, reason)
        return
    for frame in list(frames_of(location, header)):
        if frame is None:
            catalogue.unplaced += 1
            catalogue.leave_out(header, "no position")
        elif frame.rescale_type not in HOUNSFIELD_TYPES:
            catalogue.leave_out(header, "image whose values are not in HU")
        else:
            catalogue.add(frame)


def reason_to_leave_out(header: Dataset) -> str:
    """Say in one noun what a file holds that is not a slice of a CT; "" for a CT image."""
    modality, kind = _text(header, "Modality"), str(header.get("SOPClassUID", ""))
    if kind != CT_IMAGE and kind not in ENHANCED_CT:
        return f"{modality} object" if modality else "object of unknown modality"
    if modality != "CT":
        return f"CT image that claims to be {modality or 'nothing'}"
    image_type = [str(word).upper() for word in _words(header.get("ImageType"))]
    if "LOCALIZER" in image_type:
        return "localizer"
    if any(_PROJECTION.search(word) for word in image_type):
        return "intensity projection"
    if int(header.get("SamplesPerPixel") or 1) != 1:
        return "colour image"
    return ""


def no_ct(catalogue: Catalogue) -> InputError:
    """Explain why nothing of this can be segmented."""
    if catalogue.is_empty:
        what = "only damaged DICOM files" if catalogue.damaged else "no DICOM file"
        if catalogue.links:
            return InputError(f"{SUBJECT} holds {what}, but links to folders", "give a folder itself, not a link to it")
        return InputError(f"{SUBJECT} holds {what}", "give a volume file or the folder of a DICOM CT series")
    reasons = {reason for one in catalogue.left_out.values() for reason in one.reasons}
    if "image whose values are not in HU" in reasons:
        return InputError(f"{SUBJECT} holds CT images whose values are not in Hounsfield units", "give the CT itself")
    if "intensity projection" in reasons:
        return InputError(f"{SUBJECT} holds only intensity projections (MIP) of a CT", "give the CT itself")
    if reasons & {"localizer", "no position", "colour image"}:
        return InputError(
            f"{SUBJECT} holds no CT slice with a position, only localizers or the like", "give a CT series"
        )
    kinds = sorted({one.modality[:16] or "unknown" for one in catalogue.left_out.values()})
    return InputError(f"{SUBJECT} holds no CT image, only {', '.join(kinds)}", "give the folder of a CT series")


def _text(header: Dataset, keyword: str) -> str:
    value = "".join(c for c in str(header.get(keyword) or "")[:64] if c.isprintable())
    return value.strip()


def _number(header: Dataset) -> int:
    try:
        return int(header.get("SeriesNumber") or 0)
    except damaged():
        return 0


def _words(value: Any) -> Iterable[Any]:
    return (value,) if isinstance(value, str) else (value or ())


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many} left out" if number else ""
