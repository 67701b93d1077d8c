"""Why a structure is not found, in plain words: "the scan ends above the kidneys".

Said only where what was found leaves no doubt: at least two landmarks are in the scan, all of them lie on one side of
the structure along the body, and the model knows a landmark on the other side that it did not find.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from OpenVocabCTLib.prompts.concepts import Concept
from OpenVocabCTLib.prompts.vocabulary import Vocabulary

# Large, found in every patient, and spread along the body.
LANDMARKS = (
    "brainstem",
    "mandible",
    "left_lung",
    "right_lung",
    "heart",
    "liver",
    "left_kidney",
    "right_kidney",
    "sacrum",
    "left_hip_bone",
    "right_hip_bone",
    "left_femur",
    "right_femur",
)
_ENOUGH = 2
Level = tuple[int, int]


def where_it_would_be(concepts: Sequence[Concept], found: Collection[Concept], asked: Iterable[Concept]) -> str:
    """Say that the scan ends before a structure begins.

    Args:
        concepts: the structures that were not found.
        found: landmarks that are in the scan.
        asked: landmarks that the model was asked for.

    Returns:
        "the scan ends above the liver", "the scan begins below the liver", or "" where neither can be known.
    """
    levels = [concept.level for concept in concepts if concept.level is not None]
    seen = [concept.level for concept in found if concept.level is not None]
    if not levels or len(levels) < len(concepts) or len(seen) < _ENOUGH:
        return ""
    top, bottom = min(level[0] for level in levels), max(level[1] for level in levels)
    missed = [one.level for one in asked if one not in found and one.level is not None]
    name = " and ".join(dict.fromkeys(concept.name for concept in concepts))
    if all(level[1] < top for level in seen) and any(level[1] >= bottom for level in missed):
        return f"the scan ends above the {name}"
    if all(level[0] > bottom for level in seen) and any(level[0] <= top for level in missed):
        return f"the scan begins below the {name}"
    return ""


def landmarks(vocabulary: Vocabulary, known: Collection[str]) -> tuple[Concept, ...]:
    """Return the landmarks among the structures that a model knows."""
    return tuple(vocabulary.get(one) for one in LANDMARKS if one in known and one in vocabulary)
