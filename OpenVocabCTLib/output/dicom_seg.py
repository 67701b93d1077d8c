"""DICOM Segmentation (SEG): many coded segments in one file, on the pixels of the source images.

Source: DICOM PS3.3 A.51 and C.8.20. highdicom makes one object per segment from the slices that the segment is in; they
are joined here, because highdicom wants all segments of all slices in memory at once as soon as two overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from OpenVocabCTLib.dicom.frames import damaged, silent
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.output.dicom_codes import algorithm_sequence, segment_description
from OpenVocabCTLib.output.dicom_common import (
    MANUFACTURER,
    UTF8,
    Origin,
    algorithm_of,
    result_uid,
    save,
    series_number,
)

if TYPE_CHECKING:
    from pydicom import Dataset

    from OpenVocabCTLib.output.segmentation import Segment, Segmentation

Probabilities = Callable[["Segment"], NDArray[Any]]
_STEPS = 255  # of a probability
_EVEN_MM = 0.1


def write_dicom_seg(segmentation: Segmentation, path: Path, probabilities: Probabilities | None = None) -> None:
    """Write the found segments as DICOM SEG.

    Args:
        segmentation: of a CT that was read from DICOM.
        path: the file.
        probabilities: gives a segment's voxel probabilities (K, J, I) on the grid of the segmentation; with it the
            segments are fractional, without it binary.

    Raises:
        InputError: no DICOM source, nothing found, or source images whose attributes cannot be copied.
        ResourceError: the disk is full.
    """
    save(dicom_seg(segmentation, probabilities), path)


def dicom_seg(segmentation: Segmentation, probabilities: Probabilities | None = None) -> Dataset:
    """Make the data set that `write_dicom_seg` writes."""
    check_library()
    origin = Origin.of(segmentation)
    kind = "BINARY" if probabilities is None else "FRACTIONAL"
    uids = {name: result_uid(segmentation, origin, f"{kind} {name}") for name in ("series", "instance")}
    with silent():
        try:
            parts = [
                _part(segmentation, segment, number, origin, uids, probabilities)
                for number, segment in enumerate(segmentation.found, start=1)
            ]
            return _joined(parts, origin, _overlap(segmentation.found), kind)
        except damaged() as error:
            raise InputError(
                f"the CT's images have attributes that DICOM SEG cannot take over ({type(error).__name__})",
                "write .seg.nrrd instead, or repair the series",
            ) from error


def check_library() -> None:
    """Find out whether DICOM SEG can be written at all.

    Raises:
        InputError: highdicom is not installed.
    """
    from importlib.util import find_spec

    if find_spec("highdicom") is None:
        raise InputError("writing DICOM SEG needs highdicom", "pip install 'openvocabct[dicom]'")


def _part(
    segmentation: Segmentation,
    segment: Segment,
    number: int,
    origin: Origin,
    uids: dict[str, str],
    probabilities: Probabilities | None,
) -> Dataset:
    """Make a SEG of one segment alone; `number` is the one it will have."""
    import highdicom

    images, pixels = _pixels(segment, origin, probabilities)
    algorithm = algorithm_of(segmentation)
    description = segment_description(segment, 1, algorithm_sequence(algorithm, segment), uids["instance"], number)
    first = origin.headers[0]
    return highdicom.seg.Segmentation(
        source_images=images,
        pixel_array=pixels,
        segmentation_type="BINARY" if probabilities is None else "FRACTIONAL",
        max_fractional_value=_STEPS,
        segment_descriptions=[description],
        series_instance_uid=uids["series"],
        series_number=series_number(first),
        sop_instance_uid=uids["instance"],
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=algorithm.name[:64],
        software_versions=algorithm.version[:64],
        device_serial_number=algorithm.weights_sha256[:16] or "unknown",
        content_label="SEGMENTATION",
        content_description="Segmentation from text prompts",
        series_description="OpenVocabCT segmentation",
        specific_character_set=UTF8,
        omit_empty_frames=True,
    )


def _pixels(
    segment: Segment, origin: Origin, probabilities: Probabilities | None
) -> tuple[Sequence[Dataset], NDArray[Any]]:
    """Return the source images that a segment is in, and its pixels on them (n, rows, columns, 1)."""
    volume = segment.mask.view(np.uint8) if probabilities is None else probabilities(segment).astype(np.float32)
    frames = origin.source.frames
    least = 0.5 / _STEPS
    taken = ((n, origin.grid.take(volume, n)) for n in range(len(frames)))
    filled = {n: image for n, image in taken if image.max() > (0 if probabilities is None else least)}
    if not filled:  # it lies in what was added around a tilted scan: the segment is kept, with one empty frame
        filled = {0: origin.grid.take(np.zeros_like(volume), 0)}
    if frames[0].number is None:
        return [origin.headers[n] for n in filled], np.stack(list(filled.values()))[..., None]
    if len(origin.headers) != 1:
        raise InputError("the CT is spread over several multi-frame files", "write .seg.nrrd instead")
    pixels = np.zeros((int(origin.headers[0].NumberOfFrames), *frames[0].size, 1), dtype=volume.dtype)
    for n, image in filled.items():
        pixels[frames[n].number, ..., 0] = image
    return origin.headers, pixels


def _overlap(segments: Sequence[Segment]) -> bool:
    masks = [segment.cropped for segment in segments if segment.cropped is not None]
    return any(one.overlaps(other) for one, other in combinations(masks, 2))


def _joined(parts: Sequence[Dataset], origin: Origin, overlap: bool, kind: str) -> Dataset:
    """Join SEGs of one segment each, made for the same series, into one."""
    from pydicom import Dataset
    from pydicom.sequence import Sequence as Items

    joined = Dataset()
    # Copies: to set a value of `joined` must not change the part, which is still read.
    joined.update({element.tag: copy(element) for element in parts[0]})
    joined.file_meta = parts[0].file_meta
    segments, frames = [], []
    for number, part in enumerate(parts, start=1):
        segment = part.SegmentSequence[0]
        segment.SegmentNumber = number
        segments.append(segment)
        for frame in part.PerFrameFunctionalGroupsSequence:
            frame.SegmentIdentificationSequence = Items([_segment_number(number)])
            frames.append(frame)
    _number_positions(frames, origin)
    joined.SegmentSequence = Items(segments)
    joined.PerFrameFunctionalGroupsSequence = Items(frames)
    joined.NumberOfFrames = len(frames)
    joined.SegmentsOverlap = "YES" if overlap else ("NO" if kind == "BINARY" else "UNDEFINED")
    joined.PixelData = _joined_pixels(parts)
    if "DimensionOrganizationType" in joined:
        del joined.DimensionOrganizationType  # it would promise that every segment is in every slice
    joined.ReferencedSeriesSequence = _referenced(parts)
    shared = joined.SharedFunctionalGroupsSequence[0]
    del shared.SegmentIdentificationSequence  # shared only as long as there was one segment
    _set_spacing(shared.PixelMeasuresSequence[0], origin)
    return joined


def _segment_number(number: int) -> Dataset:
    from pydicom import Dataset

    item = Dataset()
    item.ReferencedSegmentNumber = number
    return item


def _number_positions(frames: Sequence[Dataset], origin: Origin) -> None:
    """Set the dimension indices (segment, slice), counting the slices of all segments along the normal from 1."""
    normal = np.cross(*origin.source.frames[0].axes)
    heights = [
        round(float(np.dot(np.array(frame.PlanePositionSequence[0].ImagePositionPatient, dtype=float), normal)), 3)
        for frame in frames
    ]
    ranks = {height: rank for rank, height in enumerate(sorted(set(heights)), start=1)}
    for frame, height in zip(frames, heights, strict=True):
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        frame.FrameContentSequence[0].DimensionIndexValues = [int(number), ranks[height]]


def _joined_pixels(parts: Sequence[Dataset]) -> bytes:
    pixels = parts[0].Rows * parts[0].Columns
    if parts[0].BitsAllocated == 8:
        joined = b"".join(part.PixelData[: part.NumberOfFrames * pixels] for part in parts)
    elif pixels % 8 == 0:
        joined = b"".join(part.PixelData[: part.NumberOfFrames * pixels // 8] for part in parts)
    else:  # frames end inside of bytes
        bits = [
            np.unpackbits(np.frombuffer(part.PixelData, np.uint8), bitorder="little")[: part.NumberOfFrames * pixels]
            for part in parts
        ]
        joined = np.packbits(np.concatenate(bits), bitorder="little").tobytes()
    return joined + b"\0" * (len(joined) % 2)


def _referenced(parts: Sequence[Dataset]) -> Any:
    """Join the lists of source images; every image is named once."""
    from pydicom.sequence import Sequence as Items

    series = parts[0].ReferencedSeriesSequence[0]
    instances = {
        instance.ReferencedSOPInstanceUID: instance
        for part in parts
        for instance in part.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    }
    series.ReferencedInstanceSequence = Items(instances.values())
    return Items([series])


def _set_spacing(measures: Dataset, origin: Origin) -> None:
    """Say how far apart the source's slices are; that of a segment alone is more where it leaves slices out.

    Where the source does not say how thick its slices are, they are as thick as they are apart.
    """
    heights = np.array([frame.distance for frame in origin.source.frames])
    gaps = np.diff(heights)
    if not measures.get("SliceThickness"):
        measures.SliceThickness = f"{float(np.median(gaps)):.8g}"
    if np.ptp(gaps) <= _EVEN_MM:
        measures.SpacingBetweenSlices = f"{float(gaps.mean()):.8g}"
    elif "SpacingBetweenSlices" in measures:
        del measures.SpacingBetweenSlices
