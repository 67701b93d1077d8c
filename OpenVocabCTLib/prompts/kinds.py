"""Telling things apart that only resemble each other: the muscle of the jaw is no mandible."""

from __future__ import annotations

from OpenVocabCTLib.prompts.concepts import Concept
from OpenVocabCTLib.prompts.laterality import split_side
from OpenVocabCTLib.prompts.matching import canonical
from OpenVocabCTLib.prompts.normalise import tokens, without_articles
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from OpenVocabCTLib.prompts.words import EMPTY_IN_DESCRIPTIONS, KIND_NOUNS, NEUTRAL_WORDS


def foreign_word(text: str, nearest: Concept, vocabulary: Vocabulary) -> str:
    """Return the word of a text that makes it something else than the structure that it resembles, "" for none.

    That is a kind of thing that no name of the structure says ("muscle" of "jaw muscle", where the mandible is near),
    or what is left of the text besides a kind that they share ("umbilical" of "umbilical cord").

    Args:
        text: free text.
        nearest: the structure whose name resembles it most.
        vocabulary: knows the other names.
    """
    said = [word for word in _content(text) if word not in NEUTRAL_WORDS | EMPTY_IN_DESCRIPTIONS]
    own = {word for phrase in vocabulary.phrases(nearest) for word in _content(phrase)}
    others = [word for word in said if word not in own]
    shared = set(said) & own
    if shared and shared <= KIND_NOUNS:
        return next(iter(others), "")
    return next((word for word in others if word in KIND_NOUNS), "")


def _content(text: str) -> tuple[str, ...]:
    return canonical(split_side(without_articles(tokens(text))).words)
