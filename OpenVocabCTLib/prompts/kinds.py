"""Telling things apart that only resemble each other: the muscle of the jaw is no mandible."""

from __future__ import annotations

from OpenVocabCTLib.prompts.concepts import Concept
from OpenVocabCTLib.prompts.expansion import CATEGORIES
from OpenVocabCTLib.prompts.laterality import split_side
from OpenVocabCTLib.prompts.matching import canonical
from OpenVocabCTLib.prompts.normalise import canonical_word, tokens, without_articles
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from OpenVocabCTLib.prompts.words import BESIDE, EMPTY_IN_DESCRIPTIONS, KIND_NOUNS, NEUTRAL_WORDS, SAYING_NOTHING

_IDLE = NEUTRAL_WORDS | EMPTY_IN_DESCRIPTIONS


def foreign_word(text: str, nearest: Concept, vocabulary: Vocabulary) -> str:
    """Return the word of a text that makes it something else than the structure that it resembles, "" for none.

    Beside a name of the structure that is every word, but for a few that say nothing, because a text encoder hardly
    notices the "cancer" of "larynx cancer", the "core" of "brainstem core" or the "heart" of "larynx with heart".
    Without such a name it is a kind of thing that no name of the structure says ("muscle" of "jaw muscle"), what is
    left besides a kind that they share ("umbilical" of "umbilical cord"), or a word like "perimandibular".

    Args:
        text: free text.
        nearest: the structure whose name resembles it most.
        vocabulary: knows the other names.
    """
    said = _content_of(text)
    phrases = (*vocabulary.phrases(nearest), *(name for _, name in nearest.names))
    names = [frozenset(_content_of(phrase)) for phrase in phrases]
    named = frozenset().union(*(name for name in names if name.issubset(said)))
    if named:
        return next((word for word in said if word not in named and word not in SAYING_NOTHING), "")
    own = frozenset().union(*names)
    others = [word for word in said if word not in own]
    shared = own.intersection(said)
    if shared and shared <= KIND_NOUNS:
        return next(iter(others), "")
    return next((word for word in others if word in KIND_NOUNS or _is_beside(word, own)), "")


def _is_beside(word: str, names: frozenset[str]) -> bool:
    return any(word.startswith(prefix) and canonical_word(word.removeprefix(prefix)) in names for prefix in BESIDE)


def is_finding(concept: Concept, vocabulary: Vocabulary) -> bool:
    """Say whether a concept is a finding or an object, not normal anatomy."""
    if concept.terminology is not None and concept.terminology.category in (
        CATEGORIES["finding"],
        CATEGORIES["object"],
    ):
        return True
    kind = concept.kind
    seen: set[str] = set()
    while kind in vocabulary and kind not in seen:
        seen.add(kind)
        kind = vocabulary.get(kind).kind
    return kind in ("finding", "object")


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
