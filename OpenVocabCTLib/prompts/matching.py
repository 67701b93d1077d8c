"""Finding the concept that a prompt's words mean: exact phrase, then word set, then one misspelt word."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from OpenVocabCTLib.prompts.concepts import Concept, Side
from OpenVocabCTLib.prompts.laterality import BOTH, UNSAID, SidedWords, side_of_word, split_side
from OpenVocabCTLib.prompts.normalise import canonical_word, is_plural, tokens, without_articles
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from OpenVocabCTLib.prompts.words import (
    EMPTY_IN_DESCRIPTIONS,
    FOREIGN_ARTICLES,
    KIND_WORDS,
    NEUTRAL_WORDS,
    NEVER_CORRECTED,
    ORDINALS,
    SAME_IN_DESCRIPTIONS,
    SAME_WORD,
)

Sides = frozenset[Side]
PhraseKey = tuple[Sides, tuple[str, ...]]
WordsKey = tuple[Sides, frozenset[str]]

_MINIMUM_TYPO_LENGTH = 5
_MINIMUM_JOINED_LENGTH = 4
_LONGEST_ABBREVIATION = 2
_MAXIMUM_WORDS = 24
_MAXIMUM_JOINED_WORDS = 3
_MINIMUM_DESCRIPTION = 3
_LONGEST_NAME = 5
# Sides that names without spaces end with, besides "left" and "right".
_JOINED_ENDS = {Side.LEFT: ("lt", "li", "sin", "sx"), Side.RIGHT: ("rt", "re", "dex", "dx")}
# The letter that people of other languages begin the same word with.
_SAME_LETTER = {"k": "c", "c": "k"}


@dataclass(frozen=True)
class Match:
    """A concept found for some words.

    Attributes:
        concept: what was found.
        how: the step that found it.
        corrected: the misspelt word and what it was read as, None without correction.
    """

    concept: Concept
    how: Literal["exact", "words", "typo"]
    corrected: tuple[str, str] | None = None


def canonical(words: Iterable[str]) -> tuple[str, ...]:
    """Return the tokens in the form by which phrases are compared."""
    return tuple(canonical_word(word) for word in words)


def described(words: Iterable[str]) -> tuple[str, ...]:
    """Return what a description says: "tube which brings food into" says the same as "tube that carries food to"."""
    same = (SAME_IN_DESCRIPTIONS.get(word, word) for word in words)
    return canonical(word for word in same if word not in EMPTY_IN_DESCRIPTIONS)


class PhraseIndex:
    """Every phrase of a vocabulary, ready to be looked up.

    Attributes:
        collisions: phrases claimed by two concepts, as (phrase, first id, second id); empty in a sound vocabulary.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.collisions: list[tuple[str, str, str]] = []
        self._phrases: dict[PhraseKey, Concept] = {}
        self._word_sets: dict[WordsKey, list[tuple[frozenset[str], Concept]]] = defaultdict(list)
        self._joined: dict[str, Concept] = {}
        self._descriptions: dict[PhraseKey, set[str]] = defaultdict(set)
        self._by_id = {concept.id: concept for concept in vocabulary}
        self._group_phrases: set[tuple[str, ...]] = set()
        self._foreign: set[PhraseKey] = set()
        self._kinds: dict[str, set[str]] = defaultdict(set)
        self._typed_words = set(SAME_WORD)
        self._pairs = {frozenset(concept.members): concept for concept in vocabulary if len(concept.members) == 2}
        for concept in vocabulary:
            for phrase in vocabulary.phrases(concept):
                self._add_phrase(phrase, concept)
        self._add_unsided_phrases()
        for key, concept in self._phrases.items():
            self._add_word_sets(key, concept)
        self._known_words = {word for _, core in self._phrases for word in core}
        self._correctable = _by_first_letter_and_length(self._typed_words | self._known_words)
        # Last, because an English word that is misspelt must not become one of another language.
        for concept in vocabulary:
            for _, name in concept.names:
                self._add_name(name, concept)
        self._add_unsided_phrases()

    def _add_phrase(self, phrase: str, concept: Concept) -> None:
        plain = without_articles(tokens(phrase))
        sided = split_side(plain)
        present = self._phrases.setdefault((sided.sides, canonical(sided.words)), concept)
        if present is not concept:
            self.collisions.append((phrase, present.id, concept.id))
        for spelling in _joined_spellings(sided.sides, sided.words):
            self._joined.setdefault(spelling, concept)
        description = described(sided.words)
        if len(description) >= _MINIMUM_DESCRIPTION:
            self._descriptions[sided.sides, description].add(concept.id)
        if concept.members:
            self._group_phrases.add(plain)
        self._typed_words.update(sided.words)

    def _add_name(self, name: str, concept: Concept) -> None:
        """Add a name of another language; where it is also an English or Latin phrase, that goes first."""
        plain = without_articles(tokens(name))
        sided = split_side(plain)
        core = canonical(sided.words)
        for sides in {sided.sides, BOTH} if frozenset(concept.members) in self._pairs else {sided.sides}:
            self._phrases.setdefault((sides, core), concept)
        self._foreign |= {(sides, core) for sides in (sided.sides, UNSAID, BOTH)}
        if concept.members:
            self._group_phrases.add(plain)

    def _add_unsided_phrases(self) -> None:
        """Let what is known of one side, said without a side or of both, mean both; what is written out goes first."""
        meant: dict[PhraseKey, dict[str, Concept]] = defaultdict(dict)
        for (sides, core), concept in self._phrases.items():
            if concept.mirror is None or len(sides) != 1:
                continue
            pair = self._pairs.get(frozenset({concept.id, concept.mirror}))
            if pair is not None:
                meant[UNSAID, core][pair.id] = meant[BOTH, core][pair.id] = pair
        for key, pairs in meant.items():
            if len(pairs) == 1:
                self._phrases.setdefault(key, *pairs.values())

    def _add_word_sets(self, key: PhraseKey, concept: Concept) -> None:
        sides, core = key
        content = frozenset(core) - NEUTRAL_WORDS - KIND_WORDS
        kinds = KIND_WORDS & frozenset(core)
        # A description says what kind of thing it speaks of ("muscular tube from the throat"), but is no name of it.
        if len(core) <= _LONGEST_NAME:
            self._kinds[concept.id] |= kinds
        if content:
            # "portal, splenic vein" leaves out the conjunction of "portal and splenic vein".
            for words in {content, content - {"and"}}:
                self._word_sets[sides, words].append((kinds, concept))

    def lacks_side(self, concept: Concept, words: tuple[str, ...]) -> bool:
        """Tell whether tokens as typed name one of a pair without its side: "kidney", but not "kidneys", "rib cage"."""
        first = self._by_id[concept.members[0]] if len(concept.members) == 2 else None
        is_pair = first is not None and first.mirror in concept.members
        bare = words[1:] if words and words[0] in FOREIGN_ARTICLES else words
        return is_pair and not (is_plural(words) or bare in self._group_phrases or split_side(words).sides)

    def find(self, sided: SidedWords) -> Match | None:
        """Return the concept whose phrase has these words, in order or not; None when there is none."""
        core = canonical(sided.words)
        if not core or len(core) > _MAXIMUM_WORDS:
            return None
        match = self._look_up(sided.sides, core)
        if match is None and sided.sides and core[-1] == "on":  # what "hand bone on the left" leaves
            match = self._look_up(sided.sides, core[:-1])
        if match is None and len(core) == 1 and sided.words[0] in self._joined and not sided.sides:
            return Match(self._joined[sided.words[0]], "words")
        if match is None and len(core) > 1 and sided.words[0] in FOREIGN_ARTICLES:
            return self._without_article(sided)
        return match

    def _without_article(self, sided: SidedWords) -> Match | None:
        """Find a structure behind an article of another language: "die linke Lunge", "la moelle épinière"."""
        rest = SidedWords(sided.sides, sided.words[1:], sided.note)
        # "LA" is the left atrium as well, and "LA myocardium" a part of it.
        if sided.words[0] == "la" and (rest.sides, canonical(rest.words)) not in self._foreign:
            return None
        return self.find(rest)

    def find_described(self, sided: SidedWords) -> Match | None:
        """Return the concept that a description means: known words in their order, with other verbs between them."""
        if len(sided.words) > _MAXIMUM_WORDS:
            return None
        description = described(sided.words)
        if len(description) < _MINIMUM_DESCRIPTION:
            return None
        meant = self._descriptions.get((sided.sides, description), set())
        return Match(self._by_id[next(iter(meant))], "words") if len(meant) == 1 else None

    def find_joined(self, sided: SidedWords) -> Match | None:
        """Return the concept meant when a blank in a word and one mistake are to blame: "gal bladder"."""
        if not 2 <= len(sided.words) <= _MAXIMUM_JOINED_WORDS:
            return None
        # One or two letters may be an abbreviation ("b l", "sx"): they are no part of a word to be dropped.
        if any(len(word) <= _LONGEST_ABBREVIATION for word in sided.words):
            return None
        joined = "".join(sided.words)
        return self.find_misspelt(SidedWords(sided.sides, (joined,), sided.note))

    def find_misspelt(self, sided: SidedWords) -> Match | None:
        """Return the concept meant when one unknown word is a single edit from a known one; None if several fit."""
        core = canonical(sided.words)
        if len(core) > _MAXIMUM_WORDS:
            return None
        unknown = [word for word in core if word not in self._known_words and word not in NEUTRAL_WORDS]
        if len(unknown) != 1 or unknown[0] in NEVER_CORRECTED:
            return None
        (wrong,) = unknown
        typed = sided.words[core.index(wrong)]
        found: dict[str, Match] = {}
        # The last letter of "pancraes" is no plural's.
        # Beside other words a letter may be missing from a short one: "loer jaw".
        shortest = _MINIMUM_TYPO_LENGTH - (len(core) > 1)
        for candidate in dict.fromkeys((*self._candidates(wrong, shortest), *self._candidates(typed, shortest))):
            right = canonical_word(candidate)
            match = self._look_up(sided.sides, tuple(right if word == wrong else word for word in core))
            if match is None or (frozenset(match.concept.members) in self._pairs and self._may_hold_a_side(wrong)):
                continue
            found[match.concept.id] = Match(match.concept, "typo", (wrong, candidate))
        return next(iter(found.values())) if len(found) == 1 else None

    def knows(self, word: str) -> bool:
        """Tell whether a canonical word occurs in a phrase, or never matters."""
        return word in self._known_words or word in NEUTRAL_WORDS

    def words_near(self, wrong: str) -> Iterator[str]:
        """Yield known words that begin like this one and are about as long."""
        if len(wrong) >= _MINIMUM_JOINED_LENGTH and wrong.isalpha():
            for length in range(len(wrong) - 2, len(wrong) + 3):
                yield from self._correctable.get((wrong[0], length), ())

    def _look_up(self, sides: Sides, core: tuple[str, ...]) -> Match | None:
        concept = self._phrases.get((sides, core))
        if concept is not None:
            return Match(concept, "exact")
        words = frozenset(core)
        kinds = words & KIND_WORDS
        meant = {
            concept.id: concept
            for phrase_kinds, concept in self._word_sets.get((sides, words - NEUTRAL_WORDS - KIND_WORDS), ())
            if phrase_kinds <= kinds <= self._kinds[concept.id]
        }
        return Match(next(iter(meant.values())), "words") if len(meant) == 1 else None

    def _candidates(self, wrong: str, shortest: int) -> Iterator[str]:
        if not wrong.isalpha():
            return
        other_letter = _SAME_LETTER.get(wrong[0], "") + wrong[1:]
        if (
            len(wrong) >= _MINIMUM_JOINED_LENGTH
            and len(other_letter) == len(wrong)
            and other_letter in self._known_words
        ):
            yield other_letter
        if len(wrong) < shortest:
            return
        for length in (len(wrong) - 1, len(wrong), len(wrong) + 1):
            for known in self._correctable.get((wrong[0], length), ()):
                if is_one_edit_apart(wrong, known):
                    yield known

    def _may_hold_a_side(self, word: str) -> bool:
        """Tell whether the letter of a side may have run into the word: "kidneyl" must not become "kidney"."""
        after = word[-1] in "lr" and word[:-1] in self._typed_words
        return after or (word[0] in "lr" and word[1:] in self._typed_words)


def _by_first_letter_and_length(words: Iterable[str]) -> dict[tuple[str, int], list[str]]:
    """Sort words for the search of corrections: few people mistype the first letter."""
    sorted_words: dict[tuple[str, int], list[str]] = defaultdict(list)
    for word in sorted(words):
        has_side = side_of_word(word) or "left" in word or "right" in word
        if len(word) >= _MINIMUM_TYPO_LENGTH and word.isalpha() and word not in ORDINALS and not has_side:
            sorted_words[word[0], len(word)].append(word)
    return sorted_words


def _joined_spellings(sides: Sides, words: tuple[str, ...]) -> Iterator[str]:
    """Yield the phrase without spaces: "spinalcord", "leftparotid", "parotidleft", "parotisli".

    A single letter does not count as a side here, because "tibial" and "fibular" are words.
    """
    joined = "".join(words)
    if len(joined) < _MINIMUM_JOINED_LENGTH:
        return
    if not sides:
        yield joined
    elif len(sides) == 1:
        (side,) = sides
        # "Claviculare" is an adjective.
        ends = [end for end in _JOINED_ENDS[side] if not (end == "re" and joined.endswith("a"))]
        yield from (side.value + joined, joined + side.value, *(joined + end for end in ends))


def is_one_edit_apart(first: str, second: str) -> bool:
    """Tell whether one insertion, deletion, substitution or swap of neighbours turns one word into the other."""
    if first == second or abs(len(first) - len(second)) > 1:
        return False
    start = 0
    while start < min(len(first), len(second)) and first[start] == second[start]:
        start += 1
    rest_first, rest_second = first[start:], second[start:]
    if len(first) != len(second):
        longer, shorter = sorted((rest_first, rest_second), key=len, reverse=True)
        return longer[1:] == shorter
    if rest_first[1:] == rest_second[1:]:
        return True
    return rest_first[:2] == rest_second[1::-1] and rest_first[2:] == rest_second[2:]


@lru_cache(maxsize=4)
def phrase_index(vocabulary: Vocabulary) -> PhraseIndex:
    """Return the index of a vocabulary; it is built once."""
    return PhraseIndex(vocabulary)
