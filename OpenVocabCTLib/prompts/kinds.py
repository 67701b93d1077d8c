"""Telling things apart that only resemble each other: the muscle of the jaw is no mandible."""

from __future__ import annotations

from OpenVocabCTLib.prompts.concepts import Concept
from OpenVocabCTLib.prompts.laterality import split_side
from OpenVocabCTLib.prompts.matching import canonical
from OpenVocabCTLib.prompts.normalise import tokens, without_articles
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from OpenVocabCTLib.prompts.words import EMPTY_IN_DESCRIPTIONS, KIND_NOUNS, NEUTRAL_WORDS, PARTS_AND_PLACES, PORTIONS

_IDLE = NEUTRAL_WORDS | EMPTY_IN_DESCRIPTIONS


def foreign_word(text: str, nearest: Concept, vocabulary: Vocabulary) -> str:
    """Return the word of a text that makes it something else than the structure that it resembles, "" for none.

    That is a kind of thing that no name of the structure says ("muscle" of "jaw muscle", where the mandible is near),
    what is left of the text besides a kind that they share ("umbilical" of "umbilical cord"), or a part, a place or a
    complaint said with its name ("around" of "tissue around the mandible").

    Args:
        text: free text.
        nearest: the structure whose name resembles it most.
        vocabulary: knows the other names.
    """
    said = _content_of(text)
    names = [frozenset(_content_of(phrase)) for phrase in vocabulary.phrases(nearest)]
    own = frozenset().union(*names)
    others = [word for word in said if word not in own]
    shared = own.intersection(said)
    if shared and shared <= KIND_NOUNS:
        return next(iter(others), "")
    is_named = any(name and name.issubset(said) for name in names)
    telling = KIND_NOUNS | PARTS_AND_PLACES if is_named else KIND_NOUNS
    portion = next((word for word in said if is_named and word in PORTIONS), "")
    return portion or next((word for word in others if word in telling), "")


def told_apart(word: str, name: str) -> str:
    """Say why a text is not answered with the structure of that name."""
    return f"'{word}' tells it from {name}, which is nearest in words"


def content(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return, in the form by which they are compared, those of some words that tell one structure from another.

    Args:
        words: tokens without sides and articles.
    """
    return tuple(word for word in canonical(words) if word not in _IDLE)


def _content_of(text: str) -> tuple[str, ...]:
    return content(split_side(without_articles(tokens(text))).words)
