"""Pictures of the worst answers, each with its reference, to see what went wrong."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openvocabct_training.evaluation.cases import EvaluationCase
from openvocabct_training.evaluation.patient import Patient
from openvocabct_training.evaluation.predictors import Predictor
from OpenVocabCTLib.output.masks import CroppedMask
from OpenVocabCTLib.output.segmentation import Colour, Segment, Segmentation, slug
from OpenVocabCTLib.prompts.vocabulary import Vocabulary

log = logging.getLogger(__name__)
REFERENCE_COLOUR: Colour = (0, 190, 255)
ANSWER_COLOUR: Colour = (255, 196, 0)


@dataclass(frozen=True)
class WorstCase:
    """One answer.

    Attributes:
        case: its id.
        concept: what was asked for.
        dice: how well it agrees with the reference.
    """

    case: str
    concept: str
    dice: float


def worst(records: Sequence[dict[str, Any]], number: int) -> list[WorstCase]:
    """Return the answers with the lowest Dice, suspect references left out; of equal ones, in the order of the ids."""
    every = [
        WorstCase(record["case"], concept, entry["dice"])
        for record in records
        for concept, entry in record["accuracy"].items()
        if entry["dice"] is not None and concept not in record["suspect"]
    ]
    return sorted(every, key=lambda one: (one.dice, one.case, one.concept))[: max(number, 0)]


def write(
    chosen: Sequence[WorstCase],
    cases: Sequence[EvaluationCase],
    predictor: Predictor,
    held_out: Sequence[str],
    folder: Path,
) -> list[Path]:
    """Draw answers with their references into a folder, worst first; pictures of an earlier run there are removed.

    Masks are not kept while patients are measured, so each of these scans is encoded once more.

    Raises:
        InputError: the folder cannot be written.
        ResourceError: the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    by_id = {case.case: case for case in cases}
    groups: dict[str, list[tuple[int, WorstCase]]] = defaultdict(list)
    for rank, one in enumerate(chosen, 1):
        groups[one.case].append((rank, one))
    paths = []
    for case, members in groups.items():
        patient = Patient(by_id[case], predictor, Vocabulary.load(), held_out)
        for rank, one in members:
            path = folder / f"{rank:02d}-{slug(case)}-{one.concept}.png"
            _draw(patient, one).write_preview(path)
            paths.append(path)
            log.info("%s: Dice %.2f", path.name, one.dice)
    return paths


def _draw(patient: Patient, one: WorstCase) -> Segmentation:
    name = f"{patient.concept(one.concept).name}, {one.case}, Dice {one.dice:.2f}"
    answer = patient.answer(one.concept)
    segments = (
        _segment("reference", f"reference: {name}", REFERENCE_COLOUR, patient.references[one.concept], 1.0, patient),
        _segment("answer", f"answer: {name}", ANSWER_COLOUR, answer.mask, answer.presence, patient),
    )
    return Segmentation(patient.volume.geometry, segments, patient.volume)


def _segment(
    key: str, name: str, colour: Colour, mask: CroppedMask | None, presence: float | None, patient: Patient
) -> Segment:
    mask = mask if mask is not None and mask.count else None
    return Segment(
        id=key,
        name=name,
        prompt=key,
        canonical=None,
        terminology=None,
        colour=colour,
        found=mask is not None,
        reason="" if mask is not None else "nothing was answered",
        presence=0.0 if presence is None else presence,
        threshold=0.5,
        volume_ml=0.0 if mask is None else mask.count * patient.volume.geometry.voxel_volume_ml,
        mean_hu=None if mask is None else float(patient.volume.array[mask.box][mask.array].mean()),
        seconds=0.0,
        cropped=mask,
    )
