"""What becomes of the answers when the scan is noisier, coarser, shorter or stored in another order."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from openvocabct_training.evaluation.metrics import score
from openvocabct_training.evaluation.patient import Patient, click
from openvocabct_training.evaluation.perturbations import PERTURBATIONS
from openvocabct_training.evaluation.predictors import Query
from openvocabct_training.evaluation.tolerances import tolerance_mm

NAME = "robustness"


def measure(patient: Patient) -> dict[str, Any]:
    """Perturbation -> concept -> outcome and Dice against the reference that was changed likewise; and "unchanged"."""
    concepts = patient.drawn
    names = [patient.concept(concept).name for concept in concepts]
    answers = patient.ask([patient.query(concept) for concept in concepts])
    result: dict[str, Any] = {
        "unchanged": {
            concept: _entry(
                score(patient.references[concept], answer.mask, patient.volume.geometry, tolerance_mm(concept))
            )
            for concept, answer in zip(concepts, answers, strict=True)
        }
    }
    for perturbation, change in PERTURBATIONS.items():
        changed = change(patient.volume, patient.references)
        if changed is None or not concepts:
            continue
        volume, references = changed
        queries = []
        for concept, name in zip(concepts, names, strict=True):
            reference = references[concept]
            point, box = click(reference, volume.geometry) if reference.count else (None, None)
            queries.append(Query(name, point, box, concept in patient.held_out))
        result[perturbation] = {
            concept: _entry(score(references[concept], answer.mask, volume.geometry, tolerance_mm(concept)))
            for concept, answer in zip(concepts, patient.predictor.encode(volume).segment(queries), strict=True)
        }
    return result


def _entry(scored: Any) -> dict[str, Any]:
    return {key: scored[key] for key in ("outcome", "dice", "nsd")}


def summarise(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean Dice and its drop by perturbation, over structures that still have a reference.

    ``invented`` counts answers for structures that were cut away entirely.
    """
    result = {}
    for perturbation in PERTURBATIONS:
        pairs, invented, lost = [], 0, 0
        for record in records:
            for concept, entry in record[NAME].get(perturbation, {}).items():
                if concept in record["suspect"]:
                    continue
                if entry["dice"] is None:
                    lost += 1
                    invented += entry["outcome"] == "invented"
                else:
                    pairs.append((record[NAME]["unchanged"][concept]["dice"], entry["dice"]))
        result[perturbation] = {
            "n": len(pairs),
            "mean_dice": fmean(after for _, after in pairs) if pairs else None,
            "mean_drop": fmean(before - after for before, after in pairs) if pairs else None,
            "largest_drop": max((before - after for before, after in pairs), default=None),
            "cut_away": lost,
            "invented": invented,
        }
    return {NAME: result}
