"""Whether left and right are kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from openvocabct_training.evaluation.metrics import shared_voxels
from openvocabct_training.evaluation.patient import Patient
from OpenVocabCTLib.prompts.vocabulary import Side, Vocabulary

NAME = "laterality"


def measure(patient: Patient) -> dict[str, Any]:
    """Sided concept -> how much of its answer lies in the reference of its own side and of the other side, in ml.

    It is swapped if more lies on the other side. A concept is asked if either side was drawn: a mask on the drawn side
    that bears the other side's name is swapped all the same.
    """
    result = {}
    voxel = patient.volume.geometry.voxel_volume_ml
    for concept_id, mirror in _sides(patient):
        mask = patient.answer(concept_id).mask
        own = shared_voxels(mask, patient.references.get(concept_id))
        other = shared_voxels(mask, patient.references.get(mirror))
        result[concept_id] = {"own_ml": own * voxel, "other_ml": other * voxel, "swapped": other > own}
    return result


def _sides(patient: Patient) -> list[tuple[str, str]]:
    """Sided concepts of which this or the other side was drawn, with their other side."""
    sided: dict[str, str] = {}
    for concept_id in patient.drawn:
        concept = patient.concept(concept_id)
        if concept.side is not Side.NONE and concept.mirror is not None:
            sided |= {concept_id: concept.mirror, concept.mirror: concept_id}
    return list(sided.items())


def summarise(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How many answers are on the wrong side, how many have anything there, and where.

    Where the reference of either side is doubtful, nobody knows which side is wrong: such answers are left out.
    """
    certain = {record["case"]: _certain(record) for record in records}
    entries = [entry for answers in certain.values() for entry in answers.values()]
    swapped = {case: [c for c, entry in answers.items() if entry["swapped"]] for case, answers in certain.items()}
    count = sum(len(concepts) for concepts in swapped.values())
    return {
        "swapped_sides": count,
        NAME: {
            "asked": len(entries),
            "swap_rate": count / len(entries) if entries else None,
            "any_on_the_other_side": sum(entry["other_ml"] > 0 for entry in entries),
            "largest_ml_on_the_other_side": max((entry["other_ml"] for entry in entries), default=0.0),
            "swapped": {case: concepts for case, concepts in swapped.items() if concepts},
        },
    }


def _certain(record: dict[str, Any]) -> dict[str, Any]:
    vocabulary, suspect = Vocabulary.load(), set(record["suspect"])
    return {
        concept: entry
        for concept, entry in record[NAME].items()
        if not suspect.intersection((concept, vocabulary.get(concept).mirror))
    }
