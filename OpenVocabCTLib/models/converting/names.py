"""Which of a network's classes the vocabulary knows."""

from __future__ import annotations

from collections.abc import Sequence

from OpenVocabCTLib.models.tables import plain
from OpenVocabCTLib.prompts.laterality import only_side, split_side
from OpenVocabCTLib.prompts.normalise import tokens
from OpenVocabCTLib.prompts.parsing import PromptSet
from OpenVocabCTLib.prompts.vocabulary import Side, Vocabulary

_SURE = ("exact", "words")


def known_concepts(classes: Sequence[str]) -> dict[str, str]:
    """Map class names to concept ids; corrected and half-understood names stay unmapped, and no id is given twice.

    A structure that lies on both sides is not its left or right half: a class "kidney" is the pair.

    Args:
        classes: names as the framework writes them, the background first.
    """
    vocabulary = Vocabulary.load()
    found: dict[str, str] = {}
    for name in classes[1:]:
        words = plain(name)
        prompt = PromptSet.parse([words], vocabulary)[0] if words else None
        concept = prompt.concept if prompt is not None and prompt.match in _SURE else None
        if concept is None or concept.id in found.values():
            continue
        if concept.side is _side(words):
            found[name] = concept.id
    return found


def _side(words: str) -> Side:
    """The side that a name says, in any spelling: "kidney left", "kidney l", "lung lt"."""
    return only_side(split_side(tokens(words)).sides)
