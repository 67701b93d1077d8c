"""``openvocabct-train thresholds``: above which voxel probability a structure begins, chosen on training patients."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from openvocabct_training.calibration.model_config import change_decision
from openvocabct_training.evaluation.cases import EvaluationCase, find_cases
from openvocabct_training.evaluation.metrics import mask_dice
from openvocabct_training.evaluation.report import table
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.inference.segmenter import Segmenter
from OpenVocabCTLib.output.atomic import probe_folder

log = logging.getLogger(__name__)

CANDIDATES = tuple(round(0.05 * step, 2) for step in range(4, 20))
_USUAL = 0.5


@dataclass(frozen=True)
class Choice:
    """The threshold of one structure.

    Attributes:
        threshold: where the mean Dice is highest; of equally good ones the one nearest to one half.
        dice: mean Dice there.
        usual: mean Dice at one half.
        patients: that have the structure.
    """

    threshold: float
    dice: float
    usual: float
    patients: int


def choose_thresholds(
    model: Path,
    source: Path,
    dataset: str = "openkbp",
    patients: int = 24,
    load: Callable[[Path], Segmenter] = Segmenter.from_pretrained,
    find: Callable[[Path, str, str], Sequence[EvaluationCase]] = find_cases,
) -> dict[str, Choice]:
    """Choose the voxel threshold of every structure that the references show, and write it into ``config.json``.

    Training patients are asked, not validation patients, so that accuracy on the latter stays a measurement.  Doubtful
    references are left out.  Everything else is as users have it: sides, islands, presence, the native grid.

    Args:
        model: model folder; ``decision.concept_thresholds`` of its configuration gets the thresholds.
        source: folder that holds one folder per data set.
        dataset: whose training patients are asked.
        patients: how many, spread evenly over the list.
        load: loads the model; for tests.
        find: finds the cases of a data set; for tests.

    Returns:
        Concept id -> what was chosen.

    Raises:
        InputError: there is no patient, no reference shows a structure that the model answers, or the folder cannot be
            written.
        ModelError: there is no such model, or it is damaged.
    """
    if patients < 1:
        raise InputError(f"{patients} patients are none to choose by", "give --patients 1 or more")
    segmenter = load(model)
    probe_folder(model)
    scores: dict[str, list[list[float]]] = defaultdict(list)
    for case in _spread(find(source, dataset, "train"), patients):
        for concept, row in _scores(segmenter, case):
            scores[concept].append(row)
        log.info("%s", case.case)
    if not scores:
        raise InputError("no reference shows a structure that the model answers", "give another data set (--dataset)")
    choices = {concept: _choose(np.array(rows)) for concept, rows in sorted(scores.items())}
    chosen = {concept: choice.threshold for concept, choice in choices.items()}
    change_decision(model, lambda old: {"concept_thresholds": {**old.get("concept_thresholds", {}), **chosen}})
    return choices


def markdown(choices: Mapping[str, Choice]) -> str:
    """Return the table of what was chosen."""
    rows = [
        (concept, f"{one.threshold:g}", f"{one.dice:.3f}", f"{one.usual:.3f}", str(one.patients))
        for concept, one in choices.items()
    ]
    return table(("structure", "threshold", "mean Dice", f"at {_USUAL:g}", "patients"), rows)


def _spread(cases: Sequence[EvaluationCase], count: int) -> list[EvaluationCase]:
    """``count`` cases, evenly over the list; all where there are fewer."""
    places = np.unique(np.linspace(0, len(cases) - 1, min(count, len(cases))).round().astype(int))
    return [cases[place] for place in places.tolist()]


def _scores(segmenter: Segmenter, case: EvaluationCase) -> Iterable[tuple[str, list[float]]]:
    """Yield every structure of a case with its Dice at each of the candidates."""
    volume, references = case.read()
    answered = segmenter.questions.answered
    usable = {
        concept: mask
        for concept, mask in references.items()
        if mask.count and concept in answered and concept not in case.suspect
    }
    if not usable:
        return
    study = segmenter.encode(volume)
    for concept, reference in usable.items():
        name = segmenter.questions.vocabulary.get(concept).name
        answers = study.segment([name] * len(CANDIDATES), threshold=CANDIDATES)
        yield concept, [mask_dice(reference, segment.cropped) for segment in answers]


def _choose(scores: np.ndarray) -> Choice:
    """Choose from (patients, candidates) Dice."""
    means = scores.mean(0)
    best = np.flatnonzero(means >= means.max() - 1e-9)
    place = min(best.tolist(), key=lambda index: abs(CANDIDATES[index] - _USUAL))
    return Choice(CANDIDATES[place], float(means[place]), float(means[CANDIDATES.index(_USUAL)]), len(scores))
