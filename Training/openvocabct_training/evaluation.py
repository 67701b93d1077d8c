"""Measures a model on the OpenKBP validation patients, through the same Segmenter that users run."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from openvocabct_training.data.adapters import OPENKBP_CONCEPTS
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.inference.segmenter import Segmenter
from OpenVocabCTLib.output.atomic import probe_folder, replacing
from OpenVocabCTLib.output.segmentation import Segment
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from OpenVocabCTLib.volume import CTVolume

log = logging.getLogger(__name__)

PARAPHRASES: Mapping[str, tuple[str, ...]] = {
    "left_parotid_gland": (
        "left parotid gland", "parotid gland on the left", "L parotid", "Parotid_L", "please outline the left parotid",
    ),
    "spinal_cord": ("spinal cord", "medulla spinalis", "SpinalCord", "the cord", "segment the spinal cord"),
    "mandible": ("mandible", "lower jaw", "jaw bone", "mandibula", "mandibular bone"),
}  # fmt: skip
ABSENT_IN_HEAD_AND_NECK = (
    "liver", "left_kidney", "right_kidney", "urinary_bladder", "spleen", "left_femur", "prostate",
)  # fmt: skip
# None of these is among the phrases that training calls nonsense.
NONSENSE = ("seven wooden spoons", "the price of tomatoes", "an old bicycle bell")


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """2 |A and B| / (|A| + |B|); 1 when both are empty."""
    total = int(first.sum()) + int(second.sum())
    return 2.0 * int((first & second).sum()) / total if total else 1.0


def _full_mask(segment: Segment, shape: tuple[int, ...]) -> np.ndarray:
    return segment.mask if segment.found else np.zeros(shape, bool)


def evaluate_patient(folder: Path, segmenter: Segmenter, vocabulary: Vocabulary) -> dict[str, Any]:
    """All figures of one patient folder (``ct.nii.gz``, ``organs.nii.gz``, ``meta.json``)."""
    import SimpleITK as sitk

    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "organs.nii.gz")))
    study = segmenter.encode(CTVolume.read(folder / "ct.nii.gz"))

    def ask(texts: Sequence[str]) -> tuple[Segment, ...]:
        return study.segment(texts).segments

    concepts = (*OPENKBP_CONCEPTS.values(), *ABSENT_IN_HEAD_AND_NECK)
    answers = dict(zip(concepts, ask([vocabulary.get(concept).name for concept in concepts]), strict=True))
    masks = {concept: _full_mask(segment, labels.shape) for concept, segment in answers.items()}
    values = meta["organ_values"]
    return {
        "case": meta["id"],
        "seconds": study.seconds,
        "dice": {
            OPENKBP_CONCEPTS[organ]: dice(masks[OPENKBP_CONCEPTS[organ]], labels == value)
            for organ, value in values.items()
        },
        "suspect": [OPENKBP_CONCEPTS[organ] for organ in values if organ in meta["suspect"]],
        "presence": {concept: segment.presence for concept, segment in answers.items()},
        "invented": [concept for concept in ABSENT_IN_HEAD_AND_NECK if answers[concept].found]
        + [text for text, segment in zip(NONSENSE, ask(NONSENSE), strict=True) if segment.found],
        "swapped": swapped_sides(masks, labels, values),
        "paraphrase_dice": {
            concept: min(dice(masks[concept], _full_mask(segment, labels.shape)) for segment in ask(texts))
            for concept, texts in PARAPHRASES.items()
        },
    }


def swapped_sides(masks: Mapping[str, np.ndarray], labels: np.ndarray, values: Mapping[str, int]) -> list[str]:
    """Parotids whose mask overlaps the reference of the other side more than that of its own."""
    references = {
        OPENKBP_CONCEPTS[organ]: labels == values[organ] for organ in ("LeftParotid", "RightParotid") if organ in values
    }
    swapped = []
    sides = ("left_parotid_gland", "right_parotid_gland")
    for concept, other in (sides, sides[::-1]):
        own = int((masks[concept] & references[concept]).sum()) if concept in references else 0
        wrong = int((masks[concept] & references[other]).sum()) if other in references else 0
        if wrong > own:
            swapped.append(concept)
    return swapped


def summarise(patients: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over patients; suspect references (per ``meta.json``) are left out of ``dice`` and kept in ``dice_all``."""
    trusted, everything = defaultdict(list), defaultdict(list)
    for patient in patients:
        for concept, value in patient["dice"].items():
            everything[concept].append(value)
            if concept not in patient["suspect"]:
                trusted[concept].append(value)
    per_organ = {concept: {"mean": fmean(values), "n": len(values)} for concept, values in sorted(trusted.items())}
    return {
        "patients": len(patients),
        "dice": per_organ,
        "mean_dice_over_organs": fmean(organ["mean"] for organ in per_organ.values()),
        "mean_dice_over_organs_all_references": fmean(fmean(values) for values in everything.values()),
        "swapped_sides": sum(len(patient["swapped"]) for patient in patients),
        "invented": {patient["case"]: patient["invented"] for patient in patients if patient["invented"]},
        "missed": {
            patient["case"]: missed
            for patient in patients
            if (missed := [concept for concept, value in patient["dice"].items() if value == 0.0])
        },
        "lowest_paraphrase_dice": min(min(patient["paraphrase_dice"].values()) for patient in patients),
        "mean_seconds_image_pass": fmean(patient["seconds"] for patient in patients),
    }


def evaluate(source: Path, model: str | None, output: Path, limit: int | None = None) -> dict[str, Any]:
    """Evaluate on ``source/openkbp/validation`` and write the figures as JSON.

    Args:
        source: folder that holds one folder per data set.
        model: name or folder; the embedded model if None.
        output: JSON file to write.
        limit: only the first so many patients.

    Raises:
        InputError: there are no patients, or the file cannot be written.
        ModelError: there is no such model.
    """
    place = source / "openkbp" / "validation"
    folders = sorted(folder for folder in place.iterdir() if folder.is_dir())[:limit] if place.is_dir() else []
    if not folders:
        raise InputError(f"there are no patients in {place}", "give the folder that holds one folder per data set")
    output.parent.mkdir(parents=True, exist_ok=True)
    probe_folder(output.parent)  # now, not after an hour
    segmenter = Segmenter.from_pretrained(model)
    vocabulary = Vocabulary.load()
    patients = []
    for folder in folders:
        patients.append(evaluate_patient(folder, segmenter, vocabulary))
        log.info("%s: %s", folder.name, {name: round(value, 2) for name, value in patients[-1]["dice"].items()})
    summary = summarise(patients)
    with replacing(output) as temporary:
        temporary.write_text(json.dumps({"summary": summary, "patients": patients}, indent=1) + "\n", encoding="utf-8")
    log.info("%s", json.dumps(summary, indent=1))
    return summary
