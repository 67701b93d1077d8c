"""Reading prompts: what a person typed becomes concepts of the vocabulary, or free text for the text encoder."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, overload

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.prompts.combining import Combined, Combiner, Meaning, holds_brackets, takes_away
from OpenVocabCTLib.prompts.concepts import Concept
from OpenVocabCTLib.prompts.expansion import CATEGORIES
from OpenVocabCTLib.prompts.expressions import Expression
from OpenVocabCTLib.prompts.laterality import (
    MIDLINE,
    RELATIVE_SIDES,
    UNSAID,
    SidedWords,
    contradicts_itself,
    spell_out_sides,
    split_side,
)
from OpenVocabCTLib.prompts.matching import Match, PhraseIndex, phrase_index
from OpenVocabCTLib.prompts.normalise import (
    READ_LENGTH,
    make_label,
    naming_words,
    sanitise,
    split_camel_case,
    strip_command,
    tokens,
    without_articles,
)
from OpenVocabCTLib.prompts.numbered import read_numbered
from OpenVocabCTLib.prompts.refusals import PATIENT_SIDE, denying_sign_in, exclusion_in, margin_in, names_screen_side
from OpenVocabCTLib.prompts.signs import SignReader
from OpenVocabCTLib.prompts.suggesting import suggestions
from OpenVocabCTLib.prompts.vocabulary import Side, Vocabulary
from OpenVocabCTLib.prompts.words import FOREIGN_ARTICLES, STATES

FREE_TEXT_LENGTH = 300
_EXAMPLE = 'type the name of a structure, for example "left kidney"'
_BETWEEN_STRUCTURES = re.compile(r"[,;:/+&()\[\]=|]|\bi\.e\.|\b(?:and|plus|or|aka|also known as)\b", re.IGNORECASE)
# What may stand between two sides that are both meant, or of which one is taken away.
_JOINING = re.compile(
    r"[^\w\s.()']|\b(?:and|or|plus|minus|without|except|excluding|but|not|with|und|oder|ohne|et|ou|sans|sauf|y|o|sin|e|to)\b",
    re.IGNORECASE,
)
_LISTED = re.compile(r"[;|/]")
_NOT_WANTED = "'{}' is not understood: name what you want, not what you do not want"
_MAXIMUM_PARTS = 6
# What is no word has no meaning for a text encoder, which still finds it near to something.
_ABBREVIATION = re.compile(r"[A-Z]{2,5}|[b-df-hj-np-tv-xz]{2,5}")
_VERTEBRAE_LISTED = re.compile(r"[,;&+]")
# Kinds of structures that are no part or neighbourhood of what stands beside them: "liver spleen", not "lung tumor".
_APART = frozenset({"organ", "gland", "airway"})
_DISC_WORDS = frozenset({"disc", "discs", "disk", "disks", "intervertebral", "space"})


@dataclass(frozen=True)
class Prompt:
    """One prompt and how it was understood.

    Attributes:
        text: as typed.
        label: the text made safe for terminals, files and lists, at most 80 characters.
        concept: the structure meant, None when it is not one structure of the vocabulary.
        match: how it was found: "exact" phrase, same "words" in another order, corrected "typo", "expression" of
            several structures, "free" text for the text encoder, "unclear" text that must not be guessed at, or
            "nothing" that could name a structure.
        free_text: what the text encoder reads, at most 300 characters; None unless `match` is "free".
        note: what the person should know about the reading, "" when there is nothing to say.
        expression: the structures that were combined, None unless `match` is "expression".
        suggestions: names of known structures that look like the text; none when it was understood.
    """

    text: str
    label: str
    concept: Concept | None
    match: Literal["exact", "words", "typo", "expression", "free", "unclear", "nothing"]
    free_text: str | None
    note: str
    expression: Expression | None = None
    suggestions: tuple[str, ...] = ()


class PromptSet(Sequence[Prompt]):
    """Prompts in the order typed, one segment each; a structure asked for twice stays twice."""

    def __init__(self, prompts: Iterable[Prompt]) -> None:
        self._prompts = tuple(prompts)

    @classmethod
    def parse(cls, texts: Iterable[str], vocabulary: Vocabulary | None = None) -> PromptSet:
        """Read prompts.

        Args:
            texts: what was typed, one structure each; a single string is one prompt.
            vocabulary: the structures to recognise, the bundled vocabulary by default.

        Raises:
            InputError: there is no prompt, or one is empty or not text.
        """
        reader = _reader(vocabulary or Vocabulary.load())
        prompts = tuple(reader.read(text) for text in ([texts] if isinstance(texts, str) else texts))
        if not prompts:
            raise InputError("there is no prompt", _EXAMPLE)
        return cls(prompts)

    @overload
    def __getitem__(self, index: int) -> Prompt: ...

    @overload
    def __getitem__(self, index: slice) -> PromptSet: ...

    def __getitem__(self, index: int | slice) -> Prompt | PromptSet:
        return PromptSet(self._prompts[index]) if isinstance(index, slice) else self._prompts[index]

    def __len__(self) -> int:
        return len(self._prompts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PromptSet) and self._prompts == other._prompts

    def __hash__(self) -> int:
        return hash(self._prompts)

    def __repr__(self) -> str:
        return f"PromptSet({list(self._prompts)!r})"


@lru_cache(maxsize=4)
def _reader(vocabulary: Vocabulary) -> _Reader:
    return _Reader(vocabulary)


class _Reader:
    """Reads prompts with the phrases of one vocabulary.

    In this order: a known phrase, numbered structures, an expression, a description in other words, a misspelt phrase,
    an expression with misspelt parts.  What is left is refused where an encoder would lose its point, and free text
    otherwise.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._index = phrase_index(vocabulary)
        self._combiner = Combiner(vocabulary, self._index, self._numbered)
        self._signs = SignReader(vocabulary, self._index, self._numbered, self._combiner.named)

    def read(self, text: str) -> Prompt:
        """Read one prompt.

        Raises:
            InputError: it is empty or not text.
        """
        if not isinstance(text, str):
            raise InputError(f"a prompt must be text, not {type(text).__name__}", _EXAMPLE)
        label = make_label(text)
        if not label:
            raise InputError("the prompt is empty", _EXAMPLE)
        if names_screen_side(tokens(text)):
            return Prompt(text, label, None, "unclear", None, PATIENT_SIDE)
        if _JOINING.search(sanitise(text[:READ_LENGTH])) is None and contradicts_itself(naming_words(text)):
            return Prompt(text, label, None, "unclear", None, "names left and right: write one side, or 'both'")
        sign = denying_sign_in(text[:READ_LENGTH])
        if sign:
            return Prompt(text, label, None, "unclear", None, _NOT_WANTED.format(sign))
        signed = self._signs.read(text)
        if signed.problem:
            return Prompt(text, label, None, "unclear", None, signed.problem)
        return replace(self._read(signed.text, label), text=text)

    def _read(self, text: str, label: str) -> Prompt:
        words = tokens(text)
        asked = strip_command(words)
        readings = tuple(dict.fromkeys((words, asked, strip_command(tokens(split_camel_case(text))))))
        if self._lists_part_of_itself(text):
            return Prompt(text, label, None, "unclear", None, "names several structures: give each its own prompt")
        known = self._known(text, label, readings, (self._index.find,)) or self._several(text, label)
        if known is not None:
            return known
        if not _names_something(asked):
            return Prompt(text, label, None, "nothing", None, f"names no structure: {_EXAMPLE}")
        parts = _named_parts(text, self._index)
        if len(parts) == 1:
            return Prompt(text, label, parts[0], "words", None, "")
        problem = self._problem(text, asked, parts)
        if problem:
            corrected = None if parts else self._several(text, label, correct=True)
            return corrected or Prompt(text, label, None, "unclear", None, problem)
        ways = (self._index.find_described, self._index.find_misspelt, self._index.find_joined)
        corrected = self._known(text, label, readings, ways)
        return (
            corrected
            or self._several(text, label, correct=True)
            or self._in_a_state(text, label, asked)
            or self._not_known(text, label, asked)
        )

    def _in_a_state(self, text: str, label: str, words: tuple[str, ...]) -> Prompt | None:
        """Read "swollen left parotid", which a text encoder would tell from "left parotid" by nothing but chance."""
        said = [word for word in words if word in STATES]
        rest = tuple(word for word in words if word not in STATES)
        found = self._known(text, label, (rest,), (self._index.find,)) if said else None
        if found is None:
            return None
        notes = (f"read without '{' '.join(said)}'", found.note)
        return replace(found, match="words", note="; ".join(note for note in notes if note))

    def _lists_part_of_itself(self, text: str) -> bool:
        """Tell whether a list would be read as one of its structures: "lungs | left lung"."""
        if _LISTED.search(text) is None:
            return False
        whole = self._index.find(split_side(naming_words(text)))
        parts = _named_parts(text, self._index, _LISTED)
        return whole is not None and len(parts) > 1 and whole.concept in parts

    def _known(
        self,
        text: str,
        label: str,
        readings: Iterable[tuple[str, ...]],
        ways: Iterable[Callable[[SidedWords], Match | None]],
    ) -> Prompt | None:
        for find in ways:
            for reading in readings:
                plain = without_articles(reading)
                sided = split_side(plain)
                match = find(sided)
                if match is not None and not (_is_disc(match, plain) and _VERTEBRAE_LISTED.search(text)):
                    return Prompt(text, label, match.concept, match.how, None, self._note(match, plain, sided))
        return None

    def _numbered(self, text: str) -> Meaning | None:
        found = read_numbered(text, self._vocabulary)
        return None if found is None else found.meant

    def _several(self, text: str, label: str, correct: bool = False) -> Prompt | None:
        """Read a text that names several structures for one segment."""
        numbered = read_numbered(text, self._vocabulary)
        if numbered is not None and numbered.meant is None:
            return Prompt(text, label, None, "unclear", None, numbered.problem)
        if numbered is not None and numbered.meant is not None:
            found: Combined | None = Combined(numbered.meant, ())
        else:
            found = self._combiner.read(text, correct) or self._half(text)
        if found is None:
            return None
        if isinstance(found.meant, Concept):
            return Prompt(text, label, found.meant, "words", None, "; ".join(found.notes))
        note = "; ".join((*found.notes, f"one segment: {found.meant.in_words}"))
        return Prompt(text, label, None, "expression", None, note, found.meant)

    def _half(self, text: str) -> Combined | None:
        """Read a finding that is known without sides, in an organ that has them, or a half: "left half of the jaw"."""
        plain = naming_words(text)
        sided = split_side(plain)
        if len(sided.sides) != 1:
            return None
        whole = _halved(sided.words)
        match = self._index.find(SidedWords(UNSAID, whole or sided.words, ""))
        if match is None:
            return None
        if not (match.concept.id in MIDLINE if whole else self._may_have_a_side(match.concept)):
            return None
        (side,) = sided.sides
        return Combined(Expression("half", (match.concept,), side), (sided.note,) if sided.note else ())

    def _may_have_a_side(self, concept: Concept) -> bool:
        """Tell whether a finding lies in organs of which there is one on each side."""
        terminology = concept.terminology
        is_finding = concept.kind == "finding" or (
            terminology is not None and terminology.category == CATEGORIES["finding"]
        )
        return is_finding and not concept.members and self._in_a_pair(concept)

    def _in_a_pair(self, concept: Concept) -> bool:
        return any(self._is_pair(self._vocabulary.get(one)) for one in concept.part_of)

    def _is_pair(self, concept: Concept) -> bool:
        return len(concept.members) == 2 and self._vocabulary.get(concept.members[0]).mirror == concept.members[1]

    def _note(self, match: Match, plain: tuple[str, ...], sided: SidedWords) -> str:
        notes = [sided.note]
        if match.corrected is not None:
            wrong, right = match.corrected
            notes.append(f"did you mean '{match.concept.name}'? read '{wrong}' as '{right}'")
        if self._index.lacks_side(match.concept, plain):
            notes.append("no side given: both")
        if _is_disc(match, plain):
            notes.append("read as the disc between the two vertebrae")
        return "; ".join(note for note in notes if note)

    def _not_known(self, text: str, label: str, asked: tuple[str, ...]) -> Prompt:
        sided = split_side(without_articles(asked))
        alike = suggestions(sided, self._index)
        if not alike and _ABBREVIATION.fullmatch(label):
            return Prompt(
                text, label, None, "unclear", None, f"'{label}' is no abbreviation that is known: write it out"
            )
        side_by_side = _side_by_side(asked, self._index)
        if side_by_side:
            first, second = side_by_side
            problem = f"are {first.name} and {second.name} meant? write 'and' between them, or give each its own prompt"
            return Prompt(text, label, None, "unclear", None, problem)
        notes = [sided.note]
        if alike:
            notes.append(f"did you mean {' or '.join(repr(name) for name in alike)}?")
        note = "; ".join(note for note in notes if note)
        return Prompt(text, label, None, "free", _free_text(asked), note, suggestions=alike)

    def _problem(self, text: str, words: tuple[str, ...], parts: tuple[Concept, ...]) -> str:
        """Why words near to known structures must not be answered as free text, "" when they may be.

        A text encoder hardly notices a side or a "not": it would answer "left liver" and "not the liver" with the
        liver.
        """
        if parts:
            return f"names {len(parts)} structures: give each its own prompt"
        if holds_brackets(text):
            return "brackets around several structures are not understood here: write it without them"
        exclusion = exclusion_in(tokens(text), self._index.knows)
        if exclusion and takes_away(text):
            return f"'{exclusion}' is not understood here: one side of it names nothing known"
        if exclusion:
            return _NOT_WANTED.format(exclusion)
        margin = margin_in(text[:READ_LENGTH])
        if margin:
            return f"'{margin}' asks for a margin, a size or a planning volume: only the structure itself can be found"
        sided = split_side(without_articles(words))
        if self._has_relative_side(sided.words):
            return "which side is meant? write left or right"
        if sided.sides:
            match = self._index.find(SidedWords(UNSAID, sided.words, ""))
            if match is not None and match.concept.side is not Side.NONE:
                return f'"{match.concept.name}" is on the {match.concept.side} only'
            if match is not None and not match.concept.members:
                return f'"{match.concept.name}" is known without a side: leave the side out'
        return ""

    def _has_relative_side(self, words: tuple[str, ...]) -> bool:
        """Tell whether a side depends on what only the reader knows: "contralateral kidney"."""
        rest = tuple(word for word in words if word not in RELATIVE_SIDES)
        match = self._index.find(SidedWords(UNSAID, rest, "")) if len(rest) < len(words) else None
        return match is not None and (bool(match.concept.members) or self._in_a_pair(match.concept))


def _is_disc(match: Match, words: tuple[str, ...]) -> bool:
    """Tell whether a disc was found for the two vertebrae beside it, as in "L4/5"."""
    return match.concept.kind == "disc" and not _DISC_WORDS.intersection(words)


def _names_something(words: tuple[str, ...]) -> bool:
    """Tell whether a letter is left once articles and side words are taken out."""
    rest = (word for word in split_side(without_articles(words)).words if word not in FOREIGN_ARTICLES)
    return any(character.isalpha() for word in rest for character in word)


def _named_parts(text: str, index: PhraseIndex, between: re.Pattern[str] = _BETWEEN_STRUCTURES) -> tuple[Concept, ...]:
    """Return the different concepts between commas, brackets or "and"; none unless every part names one."""
    parts = [part for part in between.split(sanitise(text[:READ_LENGTH])) if part.strip()]
    if not 2 <= len(parts) <= _MAXIMUM_PARTS:
        return ()
    concepts: dict[str, Concept] = {}
    for part in parts:
        match = index.find(split_side(naming_words(part)))
        if match is None:
            return ()
        concepts[match.concept.id] = match.concept
    return tuple(concepts.values())


def _side_by_side(words: tuple[str, ...], index: PhraseIndex) -> tuple[Concept, ...]:
    """Return the two organs that words without anything between them name, as in "liver spleen"; none otherwise."""
    if len(words) > _MAXIMUM_PARTS:
        return ()
    for place in range(1, len(words)):
        halves = [index.find(split_side(without_articles(some))) for some in (words[:place], words[place:])]
        organs = tuple(half.concept for half in halves if half is not None and half.concept.kind in _APART)
        if len(organs) == 2 and organs[0] is not organs[1] and all(len(one.members) <= 2 for one in organs):
            return organs
    return ()


def _halved(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return what the words are the half of, nothing where they are no half: "half of mandible", "hemimandible"."""
    if words[:1] == ("half",):
        return words[2:] if words[1:2] == ("of",) else words[1:]
    if words[-1:] == ("half",):
        return words[:-1]
    return (words[0].removeprefix("hemi"), *words[1:]) if words and words[0].startswith("hemi") else ()


def _free_text(words: tuple[str, ...]) -> str:
    return " ".join(spell_out_sides(words))[:FREE_TEXT_LENGTH].strip()
