"""One DICOM CT series as a volume."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from OpenVocabCTLib.checks import SUBJECT
from OpenVocabCTLib.dicom.catalogue import Catalogue, distinct, no_ct, scan
from OpenVocabCTLib.dicom.frames import Frame
from OpenVocabCTLib.dicom.phases import SAME_POSITION_MM, one_phase
from OpenVocabCTLib.dicom.pixels import read_pixels
from OpenVocabCTLib.dicom.source import DicomSource
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.regrid import even_out, lay_upright


@dataclass(frozen=True)
class Series:
    """A series as a volume.

    Attributes:
        array: voxels (K, J, I) in HU, int16 or float32.
        geometry: their grid.
        notes: what was left out or corrected.
        source: the images in slice order.
        resampled: whether the grid is not theirs.
    """

    array: NDArray[Any]
    geometry: Geometry
    notes: tuple[str, ...]
    source: DicomSource
    resampled: bool

    @property
    def files(self) -> tuple[Path, ...]:
        """The files in slice order, each once; of a zip only the zip."""
        return tuple(dict.fromkeys(location.path for location in self.source.locations))


def read_series(source: Path, series: str | None = None) -> Series:
    """Read a CT series from a folder and its subfolders, from a zip, or from one file.

    Args:
        source: where to look.
        series: UID or number of the series; without it the one with the most slices is read, and of equal ones the
            one with the lowest number.

    Returns:
        The slices ordered along the normal of the image plane. A gantry tilt and mildly uneven slices are corrected
        by resampling.

    Raises:
        InputError: no such series, slices of several patients, a damaged slice, too many missing slices, or slices that
            do not line up.
    """
    frames, notes = _choose(scan(source), series)
    _check_patient(frames)
    frames, phases = one_phase(frames)
    frames, dropped = _distinct_positions(frames)
    _check_rescale(frames)
    array = read_pixels(frames)
    positions = np.array([frame.position for frame in frames])
    axes, spacing = _most_common_plane(frames)
    array, positions, uneven = even_out(array, positions, np.cross(*axes))
    array, geometry, tilt = lay_upright(array, positions, axes, spacing)
    notes = (*notes, *phases, *dropped, *uneven, *tilt)
    return Series(array, geometry, notes, DicomSource(tuple(frames)), resampled=bool(uneven or tilt))


def largest(volumes: Sequence[list[Frame]]) -> list[Frame]:
    """Return the volume that is read if none is asked for: the one with the most slices, of these the lowest number."""
    return max(volumes, key=lambda volume: (distinct(volume), -volume[0].series_number))


def _choose(catalogue: Catalogue, wanted: str | None) -> tuple[list[Frame], tuple[str, ...]]:
    if not catalogue.volumes:
        raise no_ct(catalogue)
    best = largest(catalogue.volumes if wanted is None else _matching(catalogue, wanted))
    uid, notes = best[0].series_uid, []
    others = len({volume[0].series_uid for volume in catalogue.volumes}) - 1
    if others:
        notes.append(f"series {best[0].series_number} ({len(best)} slices) read, {others} other CT series left out")
    apart = sum(len(volume) for volume in catalogue.volumes if volume is not best and volume[0].series_uid == uid)
    if apart:  # as the other half of a head whose gantry was tilted for one only
        images = f"{apart} image{'s' * (apart > 1)} of the same series"
        notes.append(f"{images} left out: of another plane, size or spacing than the {len(best)} that are read")
    return best, (*notes, *catalogue.notes())


def _matching(catalogue: Catalogue, wanted: str) -> list[list[Frame]]:
    wanted = wanted.strip()
    by_uid = [volume for volume in catalogue.volumes if volume[0].series_uid == wanted]
    by_number = [volume for volume in catalogue.volumes if str(volume[0].series_number) == wanted]
    found = by_uid or by_number
    if not found:
        numbers = sorted({volume[0].series_number for volume in catalogue.volumes})
        listed = ", ".join(map(str, numbers[:10]))
        raise InputError(f"{SUBJECT} holds no CT series {wanted[:64]!r}", f"choose a UID or one of {listed}")
    if len({volume[0].series_uid for volume in found}) > 1:
        raise InputError(f"{SUBJECT} holds several series with the number {wanted[:64]!r}", "give its UID instead")
    return found


def _check_patient(frames: list[Frame]) -> None:
    """Refuse a series whose slices are of two patients: software that makes data anonymous can give both one UID."""
    patients = len({frame.patient for frame in frames} - {""})
    if patients > 1:
        raise InputError(
            f"{SUBJECT} has one series whose images name {patients} patients", "put each patient in a folder of its own"
        )


def _distinct_positions(frames: list[Frame]) -> tuple[list[Frame], tuple[str, ...]]:
    """Return one image per position in order, the first acquired, and notes about the others."""
    normal = np.cross(*frames[0].axes)
    ordered = sorted(frames, key=lambda f: (round(float(f.position @ normal), 2), f.order, f.location))
    kept: list[Frame] = []
    copies = others = 0
    seen: set[tuple[str, int | None]] = set()
    for one in ordered:
        if kept and abs(float((one.position - kept[-1].position) @ normal)) < SAME_POSITION_MM:
            copies, others = (copies + 1, others) if one.key in seen else (copies, others + 1)
        else:
            kept.append(one)
        seen.add(one.key)
    if len(kept) < 2:
        raise InputError(f"{SUBJECT} holds {len(kept)} CT slice", "give the whole series")
    notes = []
    if copies:
        notes.append(f"{copies} duplicate slice{'s' * (copies > 1)} dropped")
    if others:
        notes.append(f"{others} other image{'s' * (others > 1)} at the same positions dropped (another phase?)")
    return kept, tuple(notes)


def _check_rescale(frames: list[Frame]) -> None:
    """Refuse a series of which only some slices say how to make HU; that of one without any shows in its voxels."""
    without = sum(frame.rescale is None for frame in frames)
    if 0 < without < len(frames):
        raise InputError(f"{SUBJECT} has {without} slices without a rescale", "export the series again")


def _most_common_plane(frames: list[Frame]) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Return axes and spacing that most slices share: one damaged header must not decide for all."""
    planes = Counter((*frame.axes.ravel().tolist(), *frame.spacing) for frame in frames)
    *axes, rows, columns = planes.most_common(1)[0][0]
    return np.array(axes).reshape(2, 3), (rows, columns)
