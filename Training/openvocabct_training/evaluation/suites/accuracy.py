"""How well structures are drawn that are in the scan, asked for by their names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from openvocabct_training.evaluation.intervals import grand_mean, mean_interval
from openvocabct_training.evaluation.metrics import score
from openvocabct_training.evaluation.patient import Patient
from openvocabct_training.evaluation.tolerances import tolerance_mm

NAME = "accuracy"
METRICS = ("dice", "dice_in_extent", "nsd", "hd95_mm")


def measure(patient: Patient) -> dict[str, Any]:
    """Concept -> its `Score`, presence and tolerance."""
    concepts = list(patient.references)
    answers = patient.ask([patient.query(concept) for concept in concepts])
    return {
        concept: {
            **score(
                patient.references[concept], answer.mask, patient.volume.geometry, tolerance := tolerance_mm(concept)
            ),
            "tolerance_mm": tolerance,
            "presence": answer.presence,
            "held_out": concept in patient.held_out,
        }
        for concept, answer in zip(concepts, answers, strict=True)
    }


def table(records: Sequence[dict[str, Any]], metric: str, concepts: Sequence[str], suspect: bool = False) -> np.ndarray:
    """(cases, concepts) of one metric, NaN where there is no value.

    Args:
        records: of all patients.
        metric: one of `METRICS`.
        concepts: the columns.
        suspect: keep values whose reference is doubtful.
    """
    values = np.full((len(records), len(concepts)), np.nan)
    for row, record in enumerate(records):
        for column, concept in enumerate(concepts):
            entry = record[NAME].get(concept)
            if entry is not None and entry[metric] is not None and (suspect or concept not in record["suspect"]):
                values[row, column] = entry[metric]
    return values


def concepts_of(records: Iterable[dict[str, Any]]) -> list[str]:
    """All concepts with a reference somewhere, sorted."""
    return sorted({concept for record in records for concept in record[NAME]})


def summarise(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over patients with 95 % intervals; suspect references are left out except where a key says "all"."""
    concepts = concepts_of(records)
    per_concept = {concept: _one_concept(records, concept) for concept in concepts}
    scored = [concept for concept in concepts if per_concept[concept]["dice"] is not None]
    held_out = sorted({c for record in records for c, entry in record[NAME].items() if entry["held_out"]})
    summary: dict[str, Any] = {
        "dice": {concept: per_concept[concept]["dice"] for concept in scored},
        "mean_dice_over_organs": grand_mean_of(records, "dice", scored),
        "mean_dice_over_organs_interval": _interval(records, "dice", scored),
        "mean_dice_over_organs_all_references": grand_mean_of(records, "dice", concepts, suspect=True),
        "mean_dice_in_extent_over_organs": grand_mean_of(records, "dice_in_extent", scored),
        "mean_nsd_over_organs": grand_mean_of(records, "nsd", scored),
        "mean_nsd_over_organs_interval": _interval(records, "nsd", scored),
        "mean_hd95_mm_over_organs": grand_mean_of(records, "hd95_mm", scored),
        "missed": _cases_where(records, lambda entry: entry["outcome"] == "missed"),
        "drawn_where_reference_is_empty": _cases_where(records, lambda entry: entry["outcome"] == "invented"),
        NAME: per_concept,
    }
    if held_out:
        others = [concept for concept in scored if concept not in held_out]
        summary["held_out"] = {
            "concepts": {concept: per_concept[concept] for concept in held_out},
            "mean_dice": grand_mean_of(records, "dice", held_out),
            "mean_dice_of_the_others": grand_mean_of(records, "dice", others),
        }
    return summary


def grand_mean_of(
    records: Sequence[dict[str, Any]], metric: str, concepts: Sequence[str], suspect: bool = False
) -> float | None:
    """Mean over concepts of a metric's mean over patients; None where there is no value."""
    value = grand_mean(table(records, metric, concepts, suspect)) if concepts else np.nan
    return None if np.isnan(value) else value


def _interval(records: Sequence[dict[str, Any]], metric: str, concepts: Sequence[str]) -> list[float] | None:
    found = mean_interval(table(records, metric, concepts), _patients(records)) if concepts else None
    return None if found is None else list(found)


def _one_concept(records: Sequence[dict[str, Any]], concept: str) -> dict[str, Any]:
    entries = [
        record[NAME][concept] for record in records if concept in record[NAME] and concept not in record["suspect"]
    ]
    outcomes = [entry["outcome"] for entry in entries]
    result: dict[str, Any] = {metric: _statistics(records, metric, concept) for metric in METRICS}
    tolerances = {record[NAME][concept]["tolerance_mm"] for record in records if concept in record[NAME]}
    return {
        **result,
        "tolerance_mm": min(tolerances),
        **{outcome: outcomes.count(outcome) for outcome in ("scored", "missed", "invented", "empty")},
        "suspect": sum(concept in record[NAME] and concept in record["suspect"] for record in records),
    }


def _statistics(records: Sequence[dict[str, Any]], metric: str, concept: str) -> dict[str, Any] | None:
    column = table(records, metric, [concept])
    values = column[~np.isnan(column)]
    if not values.size:
        return None
    return {
        "mean": float(values.mean()),
        "n": int(values.size),
        "interval": _interval(records, metric, [concept]),
        "median": float(np.median(values)),
    }


def _cases_where(records: Sequence[dict[str, Any]], applies: Any) -> dict[str, list[str]]:
    named = {record["case"]: [c for c, entry in record[NAME].items() if applies(entry)] for record in records}
    return {case: concepts for case, concepts in named.items() if concepts}


def _patients(records: Sequence[dict[str, Any]]) -> list[str]:
    return [record["patient"] for record in records]
