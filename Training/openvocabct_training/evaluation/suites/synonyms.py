"""Whether other words for the same structure give the same answer: synonyms, abbreviations, Latin, typos, sentences."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from openvocabct_training.evaluation.metrics import mask_dice
from openvocabct_training.evaluation.patient import Patient
from openvocabct_training.evaluation.wordings import PARAPHRASES, wordings
from OpenVocabCTLib.prompts.parsing import PromptSet

NAME = "synonyms"


def measure(patient: Patient) -> dict[str, Any]:
    """Concept -> Dice of its name, and of every wording: against the reference, and against the answer to the name."""
    result = {}
    for concept in patient.drawn:
        chosen = wordings(patient.concept(concept), patient.vocabulary)
        name, *others = patient.ask(
            [patient.query(concept), *(patient.query(concept, wording.text) for wording in chosen)]
        )
        reference = patient.references[concept]
        result[concept] = {
            "dice": mask_dice(reference, name.mask),
            "wordings": {
                wording.text: {
                    "kind": wording.kind,
                    "dice": mask_dice(reference, answer.mask),
                    "same": _known(mask_dice(name.mask, answer.mask)),
                }
                for wording, answer in zip(chosen, others, strict=True)
            },
        }
    return result


def summarise(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean Dice by kind of wording, the worst wording of every concept, and the lowest agreement with the name.

    ``drop`` is how much lower the mean Dice is than that of the name. ``lowest_paraphrase_dice`` is the lowest Dice
    between the answer to a name and that to one of its five `PARAPHRASES`; answers that are both empty do not count.
    """
    concepts = {}
    for concept in sorted({concept for record in records for concept in record[NAME]}):
        entries = [
            record[NAME][concept] for record in records if concept in record[NAME] and concept not in record["suspect"]
        ]
        if entries:
            concepts[concept] = _one_concept(concept, entries)
    fixed = [
        entry["wordings"][text]["same"]
        for record in records
        for concept, entry in record[NAME].items()
        for text in PARAPHRASES.get(concept, ())
        if text in entry["wordings"] and entry["wordings"][text]["same"] is not None
    ]
    kinds = defaultdict(list)
    for entry in concepts.values():
        for wording in entry["wordings"].values():
            kinds[wording["kind"]].append(wording["drop"])
    worst = max(concepts, key=lambda concept: concepts[concept]["worst_drop"], default=None)
    return {
        "lowest_paraphrase_dice": min(fixed, default=None),
        NAME: {
            "mean_drop": fmean(entry["mean_drop"] for entry in concepts.values()) if concepts else None,
            "worst_drop": None if worst is None else concepts[worst]["worst_drop"],
            "worst": None if worst is None else [worst, concepts[worst]["worst"]],
            "mean_drop_by_kind": {kind: fmean(drops) for kind, drops in sorted(kinds.items())},
            "concepts": concepts,
        },
    }


def _one_concept(concept: str, entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    name = fmean(entry["dice"] for entry in entries)
    every = {}
    for text, wording in entries[0]["wordings"].items():
        mean = fmean(entry["wordings"][text]["dice"] for entry in entries)
        understood = PromptSet.parse([text])[0]
        every[text] = {
            "kind": wording["kind"],
            "mean_dice": mean,
            "drop": name - mean,
            "match": understood.match,
            "read_as": None if understood.concept is None else understood.concept.id,
        }
    worst = max(every, key=lambda text: every[text]["drop"], default=None)
    return {
        "n": len(entries),
        "dice_of_the_name": name,
        "mean_dice": fmean(wording["mean_dice"] for wording in every.values()) if every else None,
        "mean_drop": fmean(wording["drop"] for wording in every.values()) if every else 0.0,
        "worst_drop": 0.0 if worst is None else every[worst]["drop"],
        "worst": worst,
        "wordings": every,
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
