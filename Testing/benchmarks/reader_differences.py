"""How much of the Dice that is missing no threshold and no knowledge of where a reader stopped would give back.

    python -m Testing.benchmarks.reader_differences DATA [--split validation] [--dataset openkbp]

Readers draw the same cord thinner or wider, and stop in one slice or in another.  The program is told both, patient
by patient and structure by structure, from the references themselves: what no program can know.  What is then still
missing is not a matter of calibration.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

from openvocabct_training.calibration.thresholds import CANDIDATES
from openvocabct_training.evaluation.cases import EvaluationCase, find_cases
from openvocabct_training.evaluation.extent import within_extent
from openvocabct_training.evaluation.metrics import mask_dice
from OpenVocabCTLib import Segmenter

KINDS = ("as it is", "best threshold of the patient", "in drawn slices", "both")


def scores(segmenter: Segmenter, case: EvaluationCase) -> dict[str, list[float]]:
    """Concept id -> Dice of the four kinds, for every reference that is not doubtful."""
    volume, references = case.read()
    study = segmenter.encode(volume)
    found = {}
    for concept, reference in references.items():
        if not reference.count or concept in case.suspect or concept not in segmenter.questions.answered:
            continue
        name = segmenter.questions.vocabulary.get(concept).name
        answers = [one.cropped for one in study.segment([name] * (1 + len(CANDIDATES)), [None, *CANDIDATES])]
        cut = [one and within_extent(one, reference, volume.geometry) for one in answers]
        everywhere, drawn = ([mask_dice(reference, one) for one in masks] for masks in (answers, cut))
        found[concept] = [everywhere[0], max(everywhere), drawn[0], max(drawn)]
    return found


def main() -> None:
    """Print mean Dice of every structure, and of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--dataset", default="openkbp")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--model", default=None)
    options = parser.parse_args()
    segmenter = Segmenter.from_pretrained(options.model)
    rows = defaultdict(list)
    for case in find_cases(options.data, options.dataset, options.split):
        for concept, row in scores(segmenter, case).items():
            rows[concept].append(row)
    means = {concept: np.mean(of_all, axis=0) for concept, of_all in sorted(rows.items())}
    print(f"{'':24}" + "".join(f"{kind:>32}" for kind in KINDS))
    for concept, row in {**means, "mean": np.mean(list(means.values()), axis=0)}.items():
        print(f"{concept:24}" + "".join(f"{value:32.3f}" for value in row))


if __name__ == "__main__":
    main()
