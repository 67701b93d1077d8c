"""The suites: each measures one patient and summarises all of them.

``measure`` returns plain numbers, texts, lists and dicts that JSON can hold; ``summarise`` gets the records of all
patients, which have what ``measure`` returned under the suite's name, and besides ``case``, ``patient``, ``suspect``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openvocabct_training.evaluation.patient import Patient
from openvocabct_training.evaluation.suites import accuracy, cost, laterality, negatives, robustness, synonyms

Record = dict[str, Any]


@dataclass(frozen=True)
class Suite:
    """One suite.

    Attributes:
        measure: patient -> its entry in the record.
        summarise: records -> entries of the summary.
        passes: image passes for one patient besides the one that all suites share.
    """

    measure: Callable[[Patient], dict[str, Any]]
    summarise: Callable[[Sequence[Record]], dict[str, Any]]
    passes: int = 0


SUITES: Mapping[str, Suite] = {
    "accuracy": Suite(accuracy.measure, accuracy.summarise),
    "synonyms": Suite(synonyms.measure, synonyms.summarise),
    "negatives": Suite(negatives.measure, negatives.summarise),
    "laterality": Suite(laterality.measure, laterality.summarise),
    "robustness": Suite(robustness.measure, robustness.summarise, passes=4),
    "cost": Suite(cost.measure, cost.summarise),
}
# All that one image pass answers; the others take longer or want a quiet machine.
DEFAULT_SUITES = ("accuracy", "synonyms", "negatives", "laterality")
