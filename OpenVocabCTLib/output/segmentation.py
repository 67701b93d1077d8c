"""The answer to a set of prompts: one segment per prompt, found or not."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.output.formats import DICOM_SEG, PREVIEW_SUFFIXES, RTSTRUCT, SEG_NRRD, TABLE_SUFFIXES, check_output
from OpenVocabCTLib.output.masks import CroppedMask

if TYPE_CHECKING:
    from OpenVocabCTLib.geometry import Geometry
    from OpenVocabCTLib.output.algorithm import Algorithm
    from OpenVocabCTLib.prompts.parsing import Prompt
    from OpenVocabCTLib.prompts.terminology import Terminology
    from OpenVocabCTLib.volume import CTVolume

Overlap = Literal["error", "first", "last"]
Colour = tuple[int, int, int]

# For prompts outside the vocabulary: told apart from each other and seen on grey.
FREE_TEXT_COLOURS: tuple[Colour, ...] = (
    (255, 196, 0),
    (0, 190, 255),
    (255, 92, 168),
    (122, 222, 60),
    (178, 132, 255),
    (255, 128, 64),
    (0, 214, 170),
    (222, 222, 96),
)
_SLUG_LENGTH = 48


@dataclass(frozen=True, eq=False)
class Segment:
    """What was found for one prompt.

    Attributes:
        id: unique in its segmentation; the same prompts in the same order always give the same ids.
        name: the structure's preferred name, or the prompt as typed where it names no known structure.
        prompt: the prompt's label, safe to print.
        canonical: id of the concept in the vocabulary, None for free text.
        terminology: coded name, None where there is none.
        colour: red, green, blue, 0..255.
        found: False where the structure is not in this scan.
        reason: why it was not found, "" otherwise.
        presence: probability that the structure is in the scan.
        threshold: probability above which a voxel belongs to the structure.
        volume_ml: volume in ml, 0 where not found.
        mean_hu: mean CT value in HU, None where unknown.
        seconds: time spent on this prompt.
        cropped: the mask, None where not found.
        doubts: what is unusual about it and worth a second look, in words (see `inference.plausibility`).

    Raises:
        ValueError: when a segment is found without a voxel, or has a mask though it is not found.
    """

    id: str
    name: str
    prompt: str
    canonical: str | None
    terminology: Terminology | None
    colour: Colour
    found: bool
    reason: str
    presence: float
    threshold: float
    volume_ml: float
    mean_hu: float | None
    seconds: float
    cropped: CroppedMask | None
    doubts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.found != (self.cropped is not None and self.cropped.count > 0):
            raise ValueError(f"segment {self.id!r}: found is {self.found}, which does not agree with its mask")

    def answered(
        self, mask: CroppedMask | None, reason: str, presence: float, voxel_ml: float, mean_hu: float | None
    ) -> Segment:
        """Return this segment with what was found.

        Args:
            mask: on the input grid, None where the structure was not found.
            reason: why it was not found, "" otherwise.
            presence: probability that it is in the scan.
            voxel_ml: volume of a voxel in ml.
            mean_hu: mean CT value inside, None where not found.
        """
        return replace(
            self,
            found=mask is not None,
            reason=reason,
            presence=presence,
            volume_ml=0.0 if mask is None else mask.count * voxel_ml,
            mean_hu=mean_hu,
            cropped=mask,
        )

    @property
    def mask(self) -> np.ndarray:
        """The mask on the input grid, bool (K, J, I).

        Raises:
            InputError: when the structure was not found.
        """
        if self.cropped is None:
            raise InputError(f"{self.prompt!r} was not found ({self.reason})", "ask for segments whose `found` is true")
        return self.cropped.full()


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Segments on the grid of the CT that they belong to, in the order of the prompts.

    Attributes:
        geometry: the grid.
        segments: one per prompt.
        ct: the CT, for statistics and pictures; None when it was not kept.
        notes: what the user should know about this result.
        algorithm: the model that made it; None where it is not known.

    Raises:
        ValueError: when ids repeat or a mask or the CT is on another grid.
    """

    geometry: Geometry
    segments: tuple[Segment, ...]
    ct: CTVolume | None = None
    notes: tuple[str, ...] = ()
    algorithm: Algorithm | None = None

    def __post_init__(self) -> None:
        if len({segment.id for segment in self.segments}) != len(self.segments):
            raise ValueError("two segments have the same id")
        shapes = [segment.cropped.shape for segment in self.segments if segment.cropped is not None]
        if self.ct is not None:
            shapes.append(self.ct.geometry.shape)
        if any(tuple(shape) != tuple(self.geometry.shape) for shape in shapes):
            raise ValueError(f"a mask or the CT is not on the grid of {self.geometry.shape} voxels")

    def __len__(self) -> int:
        return len(self.segments)

    def __iter__(self) -> Iterator[Segment]:
        return iter(self.segments)

    def __contains__(self, key: object) -> bool:
        return (self._find(key) is not None) if isinstance(key, str) else key in self.segments

    def __getitem__(self, key: str) -> Segment:
        """Return the first segment with this id, prompt, name or canonical id, in this order; upper or lower case.

        Raises:
            InputError: when there is none.
        """
        segment = self._find(key)
        if segment is None:
            raise InputError(f"there is no segment {key!r}", f"choose from {', '.join(s.name for s in self.segments)}")
        return segment

    def _find(self, key: str) -> Segment | None:
        wanted = key.strip().casefold()
        for attribute in ("id", "prompt", "name", "canonical"):
            for segment in self.segments:
                if (getattr(segment, attribute) or "").casefold() == wanted:
                    return segment
        return None

    @property
    def found(self) -> tuple[Segment, ...]:
        """The segments that were found."""
        return tuple(segment for segment in self.segments if segment.found)

    def write(self, path: str | os.PathLike[str], overlap: Overlap = "error") -> None:
        """Write the masks; the suffix chooses the format.

        Args:
            path: `.seg.nrrd` keeps overlapping segments, names, colours and codes for 3D Slicer. `.nii.gz`, `.nii`,
                `.nrrd` and `.mha` hold a label map whose value is the 1-based number of the prompt. `.dcm` is DICOM
                SEG and `.rtstruct.dcm` an RT Structure Set; both need a CT that was read from DICOM.
            overlap: for a label map, which of two overlapping prompts a voxel goes to.

        Raises:
            InputError: unknown suffix, unwritable folder, overlapping segments in a label map with "error", or DICOM
                without a DICOM source or without anything found.
            ResourceError: the disk is full.
        """
        if overlap not in get_args(Overlap):
            raise InputError(f"overlap cannot be {overlap!r}", f"choose from {', '.join(get_args(Overlap))}")
        suffix = check_output(path)
        if suffix == SEG_NRRD:
            from OpenVocabCTLib.output.seg_nrrd import write_seg_nrrd

            write_seg_nrrd(self, Path(path))
        elif suffix == DICOM_SEG:
            from OpenVocabCTLib.output.dicom_seg import write_dicom_seg

            write_dicom_seg(self, Path(path))
        elif suffix == RTSTRUCT:
            from OpenVocabCTLib.output.rtstruct import write_rtstruct

            write_rtstruct(self, Path(path))
        else:
            from OpenVocabCTLib.output.labelmap import write_label_map

            write_label_map(self, Path(path), suffix, overlap)

    def write_statistics(self, path: str | os.PathLike[str]) -> None:
        """Write a CSV table with one row per prompt; see `statistics.write_statistics`."""
        from OpenVocabCTLib.output.statistics import write_statistics

        check_output(path, TABLE_SUFFIXES)
        write_statistics(self, Path(path))

    def write_preview(self, path: str | os.PathLike[str]) -> None:
        """Write a PNG picture with three slices through each segment; see `preview.write_preview`."""
        from OpenVocabCTLib.output.preview import write_preview

        check_output(path, PREVIEW_SUFFIXES)
        write_preview(self, Path(path))


def unanswered(prompts: Iterable[Prompt]) -> tuple[Segment, ...]:
    """Return one segment per prompt with its id, name, codes and colour, to be completed with `dataclasses.replace`.

    Every segment is created here, by its id, before there is a mask: no later step looks it up by position.
    """
    prompts = tuple(prompts)
    free_text = 0
    segments = []
    for prompt, segment_id in zip(prompts, segment_ids(prompts), strict=True):
        concept = prompt.concept
        if concept is None:
            colour = FREE_TEXT_COLOURS[free_text % len(FREE_TEXT_COLOURS)]
            free_text += 1
        else:
            colour = concept.colour
        segments.append(
            Segment(
                id=segment_id,
                name=prompt.label if concept is None else concept.name,
                prompt=prompt.label,
                canonical=None if concept is None else concept.id,
                terminology=None if concept is None else concept.terminology,
                colour=colour,
                found=False,
                reason="not looked for yet",
                presence=0.0,
                threshold=0.5,
                volume_ml=0.0,
                mean_hu=None,
                seconds=0.0,
                cropped=None,
            )
        )
    return tuple(segments)


def segment_ids(prompts: Iterable[Prompt]) -> tuple[str, ...]:
    """Return a unique id for each prompt: the concept's id, or a slug of the label; repeats get "_2", "_3", ..."""
    ids: dict[str, None] = {}
    for prompt in prompts:
        base = prompt.concept.id if prompt.concept is not None else slug(prompt.label)
        number, candidate = 1, base
        while candidate in ids:
            number += 1
            candidate = f"{base}_{number}"
        ids[candidate] = None
    return tuple(ids)


def slug(text: str) -> str:
    """Return lower-case ASCII letters, digits and "_" for any text; "segment" where nothing is left."""
    ascii_text = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "_", ascii_text)[:_SLUG_LENGTH].strip("_") or "segment"
