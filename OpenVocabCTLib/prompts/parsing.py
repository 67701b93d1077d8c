"""Reading prompts: what a person typed becomes concepts of the vocabulary, or free text for the text encoder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, overload

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.prompts.laterality import UNSAID, SidedWords, spell_out_sides, split_side
from OpenVocabCTLib.prompts.matching import Match, PhraseIndex, phrase_index
from OpenVocabCTLib.prompts.normalise import (
    READ_LENGTH,
    make_label,
    sanitise,
    split_camel_case,
    strip_command,
    tokens,
    without_articles,
)
from OpenVocabCTLib.prompts.vocabulary import Concept, Vocabulary

FREE_TEXT_LENGTH = 300
_EXAMPLE = 'type the name of a structure, for example "left kidney"'
_BETWEEN_STRUCTURES = re.compile(r"[,;:/+&()\[\]=|]|\bi\.e\.|\b(?:and|plus|or|aka|also known as)\b", re.IGNORECASE)
_MAXIMUM_PARTS = 6
_EXCLUSIONS = frozenset({"not", "no", "without", "except", "excluding", "minus", "but"})


@dataclass(frozen=True)
class Prompt:
    """One prompt and how it was understood.

    Attributes:
        text: as typed.
        label: the text made safe for terminals, files and lists, at most 80 characters.
        concept: the structure meant, None when the vocabulary does not have it.
        match: how it was found: "exact" phrase, same "words" in another order, corrected "typo", "free" text for the
            text encoder, or "nothing" that could name a structure.
        free_text: what the text encoder reads when `concept` is None, at most 300 characters; None for "nothing".
        note: what the person should know about the reading, "" when there is nothing to say.
    """

    text: str
    label: str
    concept: Concept | None
    match: Literal["exact", "words", "typo", "free", "unclear", "nothing"]
    free_text: str | None
    note: str


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
        index = phrase_index(vocabulary or Vocabulary.load())
        prompts = tuple(_parse_one(text, index) for text in ([texts] if isinstance(texts, str) else texts))
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


def _parse_one(text: str, index: PhraseIndex) -> Prompt:
    if not isinstance(text, str):
        raise InputError(f"a prompt must be text, not {type(text).__name__}", _EXAMPLE)
    label = make_label(text)
    if not label:
        raise InputError("the prompt is empty", _EXAMPLE)
    words = tokens(text)
    asked = strip_command(words)
    readings = dict.fromkeys((words, asked, strip_command(tokens(split_camel_case(text)))))
    for find in (index.find, index.find_misspelt):
        for reading in readings:
            plain = without_articles(reading)
            sided = split_side(plain)
            match = find(sided)
            if match is not None:
                return Prompt(text, label, match.concept, match.how, None, _note(match, plain, sided, index))

    if not _names_something(asked):
        return Prompt(text, label, None, "nothing", None, f"names no structure: {_EXAMPLE}")
    parts = _named_parts(text, index)
    if len(parts) == 1:
        return Prompt(text, label, parts[0], "words", None, "")
    problem = _problem(asked, parts, index)
    if problem:
        return Prompt(text, label, None, "unclear", None, problem)
    return Prompt(text, label, None, "free", _free_text(asked), split_side(without_articles(asked)).note)


def _names_something(words: tuple[str, ...]) -> bool:
    """Tell whether a letter is left once articles and side words are taken out."""
    return any(character.isalpha() for word in split_side(without_articles(words)).words for character in word)


def _note(match: Match, plain: tuple[str, ...], sided: SidedWords, index: PhraseIndex) -> str:
    notes = [sided.note]
    if match.corrected is not None:
        wrong, right = match.corrected
        notes.append(f"did you mean '{match.concept.name}'? read '{wrong}' as '{right}'")
    if index.lacks_side(match.concept, plain):
        notes.append("no side given: both")
    return "; ".join(note for note in notes if note)


def _named_parts(text: str, index: PhraseIndex) -> tuple[Concept, ...]:
    """Return the different concepts between commas, brackets or "and"; none unless every part names one."""
    parts = [part for part in _BETWEEN_STRUCTURES.split(sanitise(text[:READ_LENGTH])) if part.strip()]
    if not 2 <= len(parts) <= _MAXIMUM_PARTS:
        return ()
    concepts: dict[str, Concept] = {}
    for part in parts:
        match = index.find(split_side(without_articles(strip_command(tokens(part)))))
        if match is None:
            return ()
        concepts[match.concept.id] = match.concept
    return tuple(concepts.values())


def _free_text(words: tuple[str, ...]) -> str:
    return " ".join(spell_out_sides(words))[:FREE_TEXT_LENGTH].strip()


def _problem(words: tuple[str, ...], parts: tuple[Concept, ...], index: PhraseIndex) -> str:
    """Why words near to known structures must not be answered as free text, "" when they may be.

    A text encoder hardly notices a side or a "not": it would answer "left liver" and "not the liver" with the liver.
    """
    if parts:
        return f"names {len(parts)} structures: give each its own prompt"
    exclusion = next((word for word in words if word in _EXCLUSIONS), None)
    if exclusion is not None:
        return f"'{exclusion}' is not understood: name what you want, not what you do not want"
    sided = split_side(without_articles(words))
    if sided.sides:
        match = index.find(SidedWords(UNSAID, sided.words, ""))
        if match is not None and not match.concept.members:
            return f'"{match.concept.name}" is known without a side: leave the side out'
    return ""
