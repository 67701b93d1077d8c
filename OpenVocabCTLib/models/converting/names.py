"""Which of a network's classes the vocabulary knows."""

from __future__ import annotations

import re
from collections.abc import Sequence

from OpenVocabCTLib.inference.tables.naming import sign_in
from OpenVocabCTLib.models.tables import apart, plain
from OpenVocabCTLib.prompts.concepts import Concept
from OpenVocabCTLib.prompts.laterality import only_side, split_side
from OpenVocabCTLib.prompts.normalise import tokens
from OpenVocabCTLib.prompts.parsing import PromptSet
from OpenVocabCTLib.prompts.vocabulary import Side, Vocabulary

_SURE = ("exact", "words")
_BRACKETS = re.compile(r"[()\[\]]")


def known_concepts(classes: Sequence[str]) -> dict[str, str]:
    """Map class names to concept ids; corrected and half-understood names stay unmapped, and no id is given twice.

    A structure that lies on both sides is not its left or right half: a class "kidney" is the pair.  Names are read as
    they are written, because signs and prefixes mean something: "Lungs-GTV" is no "lungs gtv", and the "A" of
    "A_Pulmonary" no article.

    Args:
        classes: names as the framework writes them, the background first.
    """
    vocabulary = Vocabulary.load()
    found: dict[str, str] = {}
    for name in classes[1:]:
        prompt = PromptSet.parse([name], vocabulary)[0] if plain(name) else None
        concept = prompt.concept if prompt is not None and prompt.match in _SURE else None
        if concept is None or concept.id in found.values():
            continue
        if concept.side is _side(name) and not _has_sign(name) and not _has_letter(name, concept, vocabulary):
            found[name] = concept.id
    return found


def _side(name: str) -> Side:
    """The side that a name says, in any spelling: "kidney left", "kidney l", "lung lt"."""
    return only_side(split_side(tokens(apart(name))).sides)


def _has_sign(name: str) -> bool:
    """Whether a sign makes a name something else: "Brain~" is a part of the brain in the names of radiotherapy."""
    return bool(sign_in(_BRACKETS.sub(" ", name)))


def _has_letter(name: str, concept: Concept, vocabulary: Vocabulary) -> bool:
    """Whether a letter in a name says more than its concept: in a prompt an "s" is nothing, in "Esophagus_S" a part."""
    said = _words(name)
    phrases = vocabulary.phrases(concept)
    return any(len(word) == 1 and word.isalpha() for word in said) and said not in map(_words, phrases)


def _words(name: str) -> tuple[str, ...]:
    return split_side(tokens(name)).words
