"""Finding the structures and findings that a sentence names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from OpenVocabCTLib.prompts.concepts import Concept
from OpenVocabCTLib.prompts.expansion import CATEGORIES
from OpenVocabCTLib.prompts.laterality import side_of_word, split_side
from OpenVocabCTLib.prompts.matching import PhraseIndex
from OpenVocabCTLib.prompts.normalise import tokens, without_articles
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from OpenVocabCTLib.prompts.words import ARTICLES, NEUTRAL_WORDS

_WORD = re.compile(r"[^\W_]+")
_LONGEST = 7
_LONGEST_SENTENCE = 2000
# Words that a report uses in another sense, or that say nothing of a place.
_NOT_MENTIONED = frozenset({"body", "scanner_table", "contrast_agent", "abdomen", "thorax", "head", "neck"})
_PUNCTUATION = re.compile(r"[,;:()]")


@dataclass(frozen=True)
class Mention:
    """A structure or finding in a sentence.

    Attributes:
        concept: what is named.
        start, end: where, in characters of the sentence.
        is_finding: whether it is something that is not in a healthy body: a finding or an object.
    """

    concept: Concept
    start: int
    end: int
    is_finding: bool


# Reports say the same things in the same words over and over: half of all sentences are boilerplate.
@lru_cache(maxsize=8192)
def find_mentions(sentence: str, vocabulary: Vocabulary, index: PhraseIndex) -> tuple[Mention, ...]:
    """Find what a sentence names, from left to right, the longest phrase at each place.

    Only phrases that are written as the vocabulary has them count; misspelt words and free descriptions do not.
    """
    words = list(_WORD.finditer(sentence[:_LONGEST_SENTENCE]))
    found: list[Mention] = []
    place = 0
    while place < len(words):
        mention, length = next(_longest(sentence, words[place : place + _LONGEST], vocabulary, index), (None, 1))
        if mention is not None:
            found.append(mention)
        place += length
    return tuple(found)


def _longest(
    sentence: str, words: list[re.Match[str]], vocabulary: Vocabulary, index: PhraseIndex
) -> Iterator[tuple[Mention, int]]:
    if _says_nothing(words[0][0]):
        return
    for length in range(len(words), 0, -1):
        if _says_nothing(words[length - 1][0]) and not side_of_word(words[length - 1][0].lower()):
            continue
        start, end = words[0].start(), words[length - 1].end()
        text = sentence[start:end]
        if _PUNCTUATION.search(text) or (length == 1 and len(text) < 3 and not text.isupper()):
            continue
        match = index.find(split_side(without_articles(tokens(text))))
        if match is not None and match.concept.id not in _NOT_MENTIONED:
            yield Mention(match.concept, start, end, is_finding(match.concept, vocabulary)), length


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


def _says_nothing(word: str) -> bool:
    return word.lower() in NEUTRAL_WORDS or word.lower() in ARTICLES
