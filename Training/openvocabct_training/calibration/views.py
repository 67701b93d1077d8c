"""Scans and parts of scans of which it is known which structures are in them.

A scan that was drawn by a reader shows nearly everything that it was drawn for, so it says little about absence. Its
upper and lower halves do: what the reader drew in one half is not in the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from openvocabct_training.data.physics import LUNG_MIN_ML, body, lungs
from openvocabct_training.evaluation.cases import EvaluationCase
from openvocabct_training.evaluation.extent import long_axis
from OpenVocabCTLib.geometry import MINIMUM_SIZE, Geometry
from OpenVocabCTLib.inference.grid import to_working, working_grid
from OpenVocabCTLib.output.masks import CroppedMask
from OpenVocabCTLib.prompts.concepts import Concept
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from OpenVocabCTLib.volume import CTVolume

# A quarter of an organ is there to be found; of less, nobody can say whether it has to be.
PRESENT_SHARE = 0.25
PRESENT_ML = 1.0
# Readers stop a slice or two before an organ does.
MARGIN_MM = 10.0
# Vertebrae; the cord, the esophagus and large vessels are drawn as far as somebody needed them.
LONG_LEVELS = 8
# Everywhere, or drawn by Hounsfield units: nothing to calibrate on.
_EVERYWHERE = frozenset({"body", "bones", "adipose_tissue"})


@dataclass(frozen=True)
class View:
    """A scan, or a part of one, and what is known to be in it.

    Attributes:
        patient: who was scanned.
        name: "whole", "lower" or "upper", with the case in front.
        volume: the scan.
        truth: concept id -> whether it is in the scan; what nobody can say is not listed.
    """

    patient: str
    name: str
    volume: CTVolume
    truth: Mapping[str, bool]


@dataclass(frozen=True)
class _Part:
    """Slices ``first`` to ``last`` (exclusive) along the array axis that runs along the patient's length."""

    name: str
    axis: int
    first: int
    last: int

    @property
    def index(self) -> tuple[slice, ...]:
        return tuple(slice(self.first, self.last) if n == self.axis else slice(None) for n in range(3))


def views(case: EvaluationCase, concepts: frozenset[str], vocabulary: Vocabulary) -> Iterator[View]:
    """Yield a scan, and its halves where references say what is in them.

    Args:
        case: the scan.
        concepts: ids of the structures that are asked for.
        vocabulary: of the structures.

    Raises:
        InputError: the scan or its references cannot be read.
    """
    volume, references = case.read()
    usable = {one: mask for one, mask in references.items() if one in concepts and one not in case.suspect}
    drawn = {one: mask for one, mask in usable.items() if mask.count}
    axis, up = long_axis(volume.geometry)
    count = volume.geometry.shape[axis]
    parts = [_Part("whole", axis, 0, count)]
    if any(mask.count for mask in references.values()) and count // 2 >= 2 * MINIMUM_SIZE:
        halves = (_Part("lower", axis, 0, count // 2), _Part("upper", axis, count // 2, count))
        parts += halves if up else [_Part("upper", axis, 0, count // 2), _Part("lower", axis, count // 2, count)]
    ruled_out = {one for one in concepts if set(vocabulary.get(one).region) <= set(case.rules_out)}
    absent = (ruled_out | (set(case.absent) & concepts)) - set(drawn) - set(case.suspect)
    for part in parts:
        cut = _cut(volume, part)
        truth = dict.fromkeys(absent, False)
        for one, mask in drawn.items():
            known = _in_part(mask, part, volume.geometry, vocabulary.get(one), up)
            if known is not None:
                truth[one] = known
        truth = _lungs_by_hu(cut, concepts - set(references)) | truth
        yield View(
            case.patient or case.case,
            f"{case.case} {part.name}",
            cut,
            {one: there for one, there in truth.items() if one not in _EVERYWHERE},
        )


def _in_part(mask: CroppedMask, part: _Part, geometry: Geometry, concept: Concept, up: bool) -> bool | None:
    """Say whether a drawn structure is in a part of the scan; None where that cannot be said."""
    axis = part.axis
    first = mask.start[axis]
    counts = mask.array.sum(axis=tuple(n for n in range(3) if n != axis))
    inside = int(counts[max(0, part.first - first) : max(0, part.last - first)].sum())
    if inside:
        enough = inside >= PRESENT_SHARE * mask.count and inside * geometry.voxel_volume_ml >= PRESENT_ML
        return True if enough else None
    last = first + len(counts)
    before, after = first - part.last, part.first - last  # slices between them
    if max(before, after) * geometry.spacing[2 - axis] < MARGIN_MM:
        return None
    # Downwards a long structure goes on, whether somebody drew it or not.
    lies_above = (after >= 0) == up
    is_long = concept.level is None or concept.level[1] - concept.level[0] > LONG_LEVELS
    return False if lies_above or not is_long else None


def _lungs_by_hu(volume: CTVolume, wanted: frozenset[str]) -> dict[str, bool]:
    """Say whether the lungs are in a scan by its Hounsfield units, where those leave no doubt."""
    if not wanted & {"left_lung", "right_lung"}:
        return {}
    grid = working_grid(volume.geometry, 3.0)
    hu = to_working(volume.array, grid).numpy()
    voxel_ml = float(np.prod(grid.spacing)) / 1000.0
    found = lungs(hu, body(hu), voxel_ml)
    known = {}
    for one, mask in (("left_lung", found.left), ("right_lung", found.right)):
        volume_ml = None if mask is None else float(mask.sum()) * voxel_ml
        if one in wanted and volume_ml is not None and (volume_ml == 0.0 or volume_ml >= LUNG_MIN_ML):
            known[one] = volume_ml > 0.0
    return known


def _cut(volume: CTVolume, part: _Part) -> CTVolume:
    affine = volume.geometry.affine_lps()
    affine[:3, 3] += part.first * affine[:3, 2 - part.axis]
    array = volume.array[part.index]
    geometry = Geometry.from_affine_lps(affine, (array.shape[0], array.shape[1], array.shape[2]))
    return CTVolume.from_array(array, geometry, source=volume.source)
