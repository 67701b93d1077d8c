"""Whether prompts are left unanswered that must be: what is absent, out of view, on a side it has not, or nonsense."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from openvocabct_training.evaluation.intervals import auroc
from openvocabct_training.evaluation.patient import Patient
from openvocabct_training.evaluation.predictors import Answer, Query
from openvocabct_training.evaluation.wordings import NONSENSE, WRONG_SIDE, out_of_view

NAME = "negatives"
LIMIT_ML = 1.0
ABSENT_ORGANS = ("absent", "out_of_view")


def measure(patient: Patient) -> dict[str, Any]:
    """Category -> prompt -> whether something was found, how much of it in ml, and the presence; and that of what is.

    Structures are listed by their concept's id, free text by the words.
    """
    references = set(patient.drawn)
    asked: dict[str, dict[str, Query]] = {
        # A structure that a reader looked for and did not see, and one whose reference is empty.
        "absent": {
            concept: patient.query(concept)
            for concept in dict.fromkeys((*patient.case.absent, *patient.references))
            if concept not in references and concept in patient.vocabulary
        },
        "out_of_view": {
            concept.id: patient.query(concept.id)
            for concept in out_of_view(patient.case.rules_out, patient.vocabulary)
            if concept.id not in references
        },
        "wrong_side": {text: Query(text) for text in WRONG_SIDE},
        "nonsense": {text: Query(text) for text in NONSENSE},
    }
    asked["out_of_view"] = {key: query for key, query in asked["out_of_view"].items() if key not in asked["absent"]}
    answers = {
        category: dict(zip(queries, patient.ask(list(queries.values())), strict=True))
        for category, queries in asked.items()
    }
    positives = dict(zip(patient.drawn, patient.ask([patient.query(c) for c in patient.drawn]), strict=True))
    voxel = patient.volume.geometry.voxel_volume_ml
    return {
        **{
            category: {key: _entry(answer, voxel) for key, answer in entries.items()}
            for category, entries in answers.items()
        },
        "in_the_scan": {concept: _entry(answer, voxel) for concept, answer in positives.items()},
    }


def _entry(answer: Answer, voxel_ml: float) -> dict[str, Any]:
    return {
        "found": answer.found,
        "ml": answer.mask.count * voxel_ml if answer.mask is not None else 0.0,
        "presence": answer.presence,
    }


def summarise(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Rates and volumes of false positives by category, and how well presence separates what is there from what is not.

    ``presence_auroc`` takes a prompt that was refused without being judged as presence 0; ``presence_auroc_judged``
    leaves it out. Nonsense and wrong sides are not part of either: they are no structures that could be there.
    A structure whose reference is doubtful counts neither as absent nor as there.
    """
    records = [_certain(record) for record in records]
    categories = ("absent", "out_of_view", "wrong_side", "nonsense")
    invented = {
        record["case"]: [
            key for category in categories for key, entry in record[NAME][category].items() if entry["found"]
        ]
        for record in records
    }
    organs = [entry for record in records for category in ABSENT_ORGANS for entry in record[NAME][category].values()]
    there = [entry for record in records for entry in record[NAME]["in_the_scan"].values()]
    per_patient = [
        sum(entry["ml"] for category in ABSENT_ORGANS for entry in record[NAME][category].values())
        for record in records
        if any(record[NAME][category] for category in ABSENT_ORGANS)
    ]
    return {
        "invented": {case: names for case, names in invented.items() if names},
        NAME: {
            **{category: _rates(records, category) for category in categories},
            "absent_organs_below_1_ml": _share([entry["ml"] < LIMIT_ML for entry in organs]),
            "patients_below_1_ml": _share([ml < LIMIT_ML for ml in per_patient]),
            "presence_auroc": auroc(
                [_presence(entry) or 0.0 for entry in there], [_presence(entry) or 0.0 for entry in organs]
            ),
            "presence_auroc_judged": auroc(_judged(there), _judged(organs)),
            "judged": len(_judged(organs)),
            "refused": len(organs) - len(_judged(organs)),
        },
    }


def _certain(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record without the structures whose reference is doubtful."""
    suspect = set(record["suspect"])
    answers = {
        category: {key: entry for key, entry in entries.items() if key not in suspect}
        for category, entries in record[NAME].items()
    }
    return {**record, NAME: answers}


def _rates(records: Sequence[dict[str, Any]], category: str) -> dict[str, Any]:
    entries = [entry for record in records for entry in record[NAME][category].values()]
    wrong = [entry["ml"] for entry in entries if entry["found"]]
    return {
        "asked": len(entries),
        "found": len(wrong),
        "rate": len(wrong) / len(entries) if entries else None,
        "mean_ml": fmean(wrong) if wrong else 0.0,
        "largest_ml": max(wrong, default=0.0),
    }


def _share(values: Sequence[bool]) -> float | None:
    return sum(values) / len(values) if values else None


def _presence(entry: dict[str, Any]) -> float | None:
    value: float | None = entry["presence"]
    return value


def _judged(entries: Sequence[dict[str, Any]]) -> list[float]:
    return [value for entry in entries if (value := _presence(entry)) is not None]
