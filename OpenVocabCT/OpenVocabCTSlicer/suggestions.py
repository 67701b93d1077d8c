"""Which phrases to offer while the user types: pure functions, and Slicer's terminologies as a source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from OpenVocabCTSlicer.terminologies import loaded_terminologies

LIMIT = 8
_SEPARATORS = ",;\n"
_MINIMUM = 2


@dataclass(frozen=True)
class Suggestion:
    """A phrase that can be offered.

    Attributes:
        phrase: what is written into the box.
        trained: the model was trained on this structure.
    """

    phrase: str
    trained: bool = False


@dataclass(frozen=True)
class Word:
    """The part of the text that is being typed: ``text[start:end]`` up to the cursor."""

    start: int
    end: int
    text: str


def current_word(text: str, cursor: int) -> Word:
    """Return the prompt in front of the cursor: back to the last comma or line break."""
    start = max((text.rfind(separator, 0, cursor) for separator in _SEPARATORS), default=-1) + 1
    while start < cursor and text[start].isspace():
        start += 1
    return Word(start, cursor, text[start:cursor])


def matches(typed: str, vocabulary: Iterable[Suggestion], limit: int = LIMIT) -> tuple[Suggestion, ...]:
    """Return the phrases that fit, best first: trained ones, then those that begin so, then those with such a word."""
    wanted = " ".join(typed.casefold().split())
    if len(wanted) < _MINIMUM:
        return ()
    ranked: dict[str, tuple[tuple[int, int, int, str], Suggestion]] = {}
    for suggestion in vocabulary:
        phrase = suggestion.phrase.casefold()
        place = _rank(wanted, phrase)
        if place is None or phrase == wanted:
            continue
        rank = (place, 0 if suggestion.trained else 1, len(phrase), phrase)
        if phrase not in ranked or rank < ranked[phrase][0]:
            ranked[phrase] = rank, suggestion
    return tuple(suggestion for _, suggestion in sorted(ranked.values(), key=lambda item: item[0])[:limit])


def _rank(wanted: str, phrase: str) -> int | None:
    if phrase.startswith(wanted):
        return 0
    words = phrase.split()
    if any(word.startswith(wanted) for word in words):
        return 1
    parts = wanted.split()
    return 2 if all(any(word.startswith(part) for word in words) for part in parts) else None


def terminology_suggestions(logic: Any, name: str | None = None) -> Iterator[Suggestion]:
    """Yield the structure names of Slicer's terminologies, in lower case, with their sides.

    Args:
        logic: vtkSlicerTerminologiesModuleLogic.
        name: the terminology, all that are loaded by default.
    """
    from slicer import vtkSlicerTerminologyCategory, vtkSlicerTerminologyType

    category, kind, modifier = vtkSlicerTerminologyCategory(), vtkSlicerTerminologyType(), vtkSlicerTerminologyType()
    for terminology in [name] if name is not None else loaded_terminologies(logic):
        for i in range(logic.GetNumberOfCategoriesInTerminology(terminology)):
            if not logic.GetNthCategoryInTerminology(terminology, i, category):
                continue
            for j in range(logic.GetNumberOfTypesInTerminologyCategory(terminology, category)):
                if not logic.GetNthTypeInTerminologyCategory(terminology, category, j, kind):
                    continue
                phrase = (kind.GetCodeMeaning() or "").casefold()
                if phrase:
                    yield Suggestion(phrase)
                for k in range(logic.GetNumberOfTypeModifiersInTerminologyType(terminology, category, kind)):
                    if logic.GetNthTypeModifierInTerminologyType(terminology, category, kind, k, modifier):
                        yield Suggestion(f"{modifier.GetCodeMeaning() or ''} {phrase}".strip().casefold())
