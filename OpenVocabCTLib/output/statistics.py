"""Measurements of segments, and the table of them."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from OpenVocabCTLib.output.atomic import replacing
from OpenVocabCTLib.output.masks import CroppedMask

if TYPE_CHECKING:
    from OpenVocabCTLib.geometry import Geometry
    from OpenVocabCTLib.output.segmentation import Segment, Segmentation
    from OpenVocabCTLib.volume import CTVolume

Cell = str | int | float | bool | None

# What makes a spreadsheet take a text for a formula.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


@dataclass(frozen=True)
class IntensityStatistics:
    """CT values inside a mask, in HU; `std` is that of the population."""

    mean: float
    std: float
    minimum: float
    maximum: float


def volume_ml(mask: CroppedMask, geometry: Geometry) -> float:
    """Return the volume of a mask in ml."""
    return mask.count * geometry.voxel_volume_ml


def centroid_ras(mask: CroppedMask, geometry: Geometry) -> tuple[float, float, float]:
    """Return the centre of gravity of a mask that is not empty, in RAS mm."""
    # Marginal sums instead of a list of coordinates, which for a body mask would be gigabytes.
    index, inside = [], mask.array
    for axis in (2, 1, 0):
        sums = inside.sum(axis=tuple(a for a in range(3) if a != axis), dtype=np.int64)
        index.append(mask.start[axis] + float(np.average(np.arange(sums.size), weights=sums)))
    x, y, z, _ = geometry.affine_ras() @ np.array([*index, 1.0])
    return float(x), float(y), float(z)


def intensity_statistics(mask: CroppedMask, ct: CTVolume) -> IntensityStatistics:
    """Measure the CT values inside a mask that is not empty; only the mask's box is read, slice by slice."""
    box, masked = ct.array[mask.box], mask.array
    # Any voxel's value will do: it keeps the sum of squares small, hence exact.
    shift = float(box[np.unravel_index(int(masked.argmax()), masked.shape)])
    total = squares = 0.0
    low, high = math.inf, -math.inf
    for values, inside in zip(box, masked, strict=True):
        hu = values[inside].astype(np.float64)
        if hu.size:
            low, high = min(low, float(hu.min())), max(high, float(hu.max()))
            hu -= shift
            total += float(hu.sum())
            squares += float(np.dot(hu, hu))
    mean = total / mask.count
    std = math.sqrt(max(0.0, squares / mask.count - mean * mean))
    return IntensityStatistics(mean + shift, std, low, high)


def write_statistics(segmentation: Segmentation, path: Path) -> None:
    """Write one row per prompt as CSV (UTF-8): what was asked, whether it was found, codes and measurements.

    Volumes are in ml, intensities in HU, centroids in RAS mm; a cell is empty where there is nothing to measure.

    Raises:
        InputError: the folder cannot be written.
        ResourceError: the disk is full.
    """
    rows = [_row(segment, segmentation) for segment in segmentation.segments]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_cell(row[column]) for column in COLUMNS] for row in rows)
    with replacing(path) as temporary:
        temporary.write_bytes(text.getvalue().encode("utf-8", "replace"))


COLUMNS = (
    "prompt",
    "name",
    "canonical_id",
    "code_scheme",
    "code_value",
    "code_meaning",
    "modifier_value",
    "modifier_meaning",
    "found",
    "reason",
    "presence",
    "threshold",
    "volume_ml",
    "mean_hu",
    "std_hu",
    "min_hu",
    "max_hu",
    "centroid_r_mm",
    "centroid_a_mm",
    "centroid_s_mm",
    "voxels",
    "doubts",
)


def _row(segment: Segment, segmentation: Segmentation) -> dict[str, Cell]:
    row: dict[str, Cell] = dict.fromkeys(COLUMNS)
    row |= {
        "prompt": segment.prompt,
        "name": segment.name,
        "canonical_id": segment.canonical,
        "found": segment.found,
        "reason": segment.reason,
        "presence": segment.presence,
        "threshold": segment.threshold,
        "doubts": "; ".join(segment.doubts),
    }
    if segment.terminology is not None:
        code, modifier = segment.terminology.type, segment.terminology.modifier
        row |= {"code_scheme": code.scheme, "code_value": code.value, "code_meaning": code.meaning}
        if modifier is not None:
            row |= {"modifier_value": modifier.value, "modifier_meaning": modifier.meaning}
    if segment.cropped is not None:
        row |= _measurements(segment, segment.cropped, segmentation)
    return row


def _measurements(segment: Segment, mask: CroppedMask, segmentation: Segmentation) -> dict[str, Cell]:
    right, anterior, superior = centroid_ras(mask, segmentation.geometry)
    row: dict[str, Cell] = {
        "volume_ml": segment.volume_ml,
        "mean_hu": segment.mean_hu,
        "centroid_r_mm": right,
        "centroid_a_mm": anterior,
        "centroid_s_mm": superior,
        "voxels": mask.count,
    }
    if segmentation.ct is not None:
        hu = intensity_statistics(mask, segmentation.ct)
        row |= {"mean_hu": hu.mean, "std_hu": hu.std, "min_hu": hu.minimum, "max_hu": hu.maximum}
    return row


def _cell(value: Cell) -> str:
    """Return the text of a cell; a text from outside that a spreadsheet would run is quoted with an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value.lstrip(" ").startswith(_FORMULA_STARTS) else value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    return f"{value:.6g}" if math.isfinite(value) else ""
