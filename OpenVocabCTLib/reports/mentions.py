"""Finding the structures and findings that a sentence names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

from OpenVocabCTLib.prompts.concepts import Concept, Side
from OpenVocabCTLib.prompts.kinds import is_finding
from OpenVocabCTLib.prompts.laterality import BOTH, IN_NAMES_ONLY, SidedWords, side_of_word, split_side
from OpenVocabCTLib.prompts.matching import PhraseIndex
from OpenVocabCTLib.prompts.normalise import tokens, without_articles
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from OpenVocabCTLib.prompts.words import ARTICLES, NEUTRAL_WORDS
from OpenVocabCTLib.reports.scopes import LONGEST_SENTENCE

WORD = re.compile(r"[^\W_]+")
_LONGEST = 7
# Words that a report uses in another sense, or that say nothing of a place.
_NOT_MENTIONED = frozenset({"body", "scanner_table", "contrast_agent", "abdomen", "thorax", "head", "neck"})
# What makes the name of a finding another thing: "mass effect", "stroke protocol", "tumor board", "hernia repair".
_OTHER_THING = re.compile(
    r"[\s-]+(?:effects?|index|indices|protocols?|board|markers?|screening|surveillance|staging|survey|work-?up|repairs?|"
    r"cent(?:er|re)|clinic)\b",
    re.IGNORECASE,
)
# Names of diseases that the vocabulary gives to what is diseased: "mediastinal lymphadenopathy".
_DISEASED = re.compile(r"adenopathy\b", re.IGNORECASE)
# Adjectives that name a structure elsewhere: "left basilar atelectasis".
_ADJECTIVES_ALONE = frozenset({"basilar"})
_PUNCTUATION = re.compile(r"[,;:()]")
_ADJECTIVES = (
    r"(?:an?|the|small|tiny|trace|minimal|mild|moderate|large|larger|smaller|huge|massive|severe|new|old|stable|unchanged|"
    r"moderate-sized|increasing|decreasing|loculated|simple|complex)"
)
# Between the two sides of one finding: "small left and moderate right", "left greater than right".
BETWEEN_SIDES = re.compile(
    r"(?:[\s-]+sided)?\s*(?:,\s*)?(?:and\s*/\s*or|and|or|plus|as\s+well\s+as|[&/+<>]|"
    rf"(?:(?:slightly|much)\s+)?(?:greater|more|larger|bigger|worse|less|smaller)\s+than)\s*(?:{_ADJECTIVES}\s+)*",
    re.IGNORECASE,
)
# What may follow "effusion left"; before any other word the side is that of the next phrase.
_AFTER_SIDE = re.compile(
    r"[\s-]*(?:sided?\b\s*)?(?:\Z|[.,;:()/]|(?:is|are|was|were|has|have|with|without|and|or|but|of|in|at|measuring)\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Mention:
    """A structure or finding in a sentence.

    Attributes:
        concept: what is named.
        start, end: where, in characters of the sentence.
        is_finding: whether it is something that is not in a healthy body: a finding or an object.
        sides: that its words name, also where the concept has none.
    """

    # Hashing all that a concept holds takes time, and places differ.
    concept: Concept = field(hash=False)
    start: int
    end: int
    is_finding: bool
    sides: frozenset[Side] = frozenset()


# Reports say the same things in the same words over and over: half of all sentences are boilerplate.
@lru_cache(maxsize=8192)
def find_mentions(sentence: str, vocabulary: Vocabulary, index: PhraseIndex) -> tuple[Mention, ...]:
    """Find what a sentence names, from left to right, the longest phrase at each place.

    Only phrases that are written as the vocabulary has them count; misspelt words and free descriptions do not.
    """
    words = list(WORD.finditer(sentence[:LONGEST_SENTENCE]))
    found: list[Mention] = []
    place = 0
    while place < len(words):
        mention = _of_two_sides(sentence, words, place, vocabulary, index)
        if mention is None:
            mention = next(_longest(sentence, words[place : place + _LONGEST], vocabulary, index), None)
        if mention is None:
            place += 1
            continue
        found.append(mention)
        while place < len(words) and words[place].start() < mention.end:
            place += 1
    return tuple(found)


def _of_two_sides(
    sentence: str, words: list[re.Match[str]], place: int, vocabulary: Vocabulary, index: PhraseIndex
) -> Mention | None:
    """Return what is on both sides, each with words of its own: "left and moderate right pleural effusion"."""
    first = side_of_word(words[place][0].lower())
    if len(first) != 1:
        return None
    for second in range(place + 1, min(place + _LONGEST, len(words))):
        other = side_of_word(words[second][0].lower())
        if not other:
            continue
        if first | other != BOTH or not BETWEEN_SIDES.fullmatch(sentence, words[place].end(), words[second].start()):
            return None
        rest = words[second + 1 : second + _LONGEST]
        return next(_longest(sentence, rest, vocabulary, index, BOTH, words[place].start()), None) if rest else None
    return None


def _longest(
    sentence: str,
    words: list[re.Match[str]],
    vocabulary: Vocabulary,
    index: PhraseIndex,
    sides: frozenset[Side] = frozenset(),
    start: int | None = None,
) -> Iterator[Mention]:
    """Yield what the first words name, the most words first.

    Args:
        sentence: the whole one.
        words: from the place on.
        vocabulary: says what a finding is.
        index: of its phrases.
        sides: that stand before the words.
        start: where they stand; at the first word by default.
    """
    if _says_nothing(words[0][0]) and not sides:
        return
    for length in range(len(words), 0, -1):
        if not _may_end(sentence, words[:length]):
            continue
        end = words[length - 1].end()
        text = sentence[words[0].start() : end]
        if _PUNCTUATION.search(text) or (length == 1 and len(text) < 3 and not text.isupper()):
            continue
        read = without_articles(tokens(text))
        if not IN_NAMES_ONLY.isdisjoint(read) or _ADJECTIVES_ALONE.issuperset(split_side(read).words):
            continue
        sided = split_side(read)
        match = index.find(SidedWords(sided.sides | sides, sided.words, sided.note))
        if match is not None and match.concept.id not in _NOT_MENTIONED:
            begin = words[0].start() if start is None else start
            finding = is_finding(match.concept, vocabulary) or _DISEASED.search(text) is not None
            if not (finding and _OTHER_THING.match(sentence, end)):
                yield Mention(match.concept, begin, end, finding, sided.sides | sides)


def _may_end(sentence: str, words: list[re.Match[str]]) -> bool:
    """Say whether a phrase can have just these words: "effusion and left" takes the side of the next one."""
    named = [(place, side) for place, word in enumerate(words) if (side := side_of_word(word[0].lower()))]
    for (place, side), (other_place, other) in pairwise(named):
        between = sentence[words[place].end() : words[other_place].start()]
        if side != other and not BETWEEN_SIDES.fullmatch(between):
            return False
    if not named or named[-1][0] != len(words) - 1 or len(words) == 1:
        return not _says_nothing(words[-1][0])
    if len(named) > 1 and named[-2][1] != named[-1][1]:
        return True
    before = words[-2][0].lower()
    return before not in ("and", "or", "plus") and bool(_AFTER_SIDE.match(sentence, words[-1].end()))


def _says_nothing(word: str) -> bool:
    return word.lower() in NEUTRAL_WORDS or word.lower() in ARTICLES
