"""Numbered structures named together: "C2-C5", "ribs 3 to 6 on the right", "liver segments II and III"."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from OpenVocabCTLib.prompts.concepts import Concept, Side
from OpenVocabCTLib.prompts.expressions import Expression, union
from OpenVocabCTLib.prompts.laterality import split_side
from OpenVocabCTLib.prompts.normalise import READ_LENGTH, sanitise, spell_bilateral, strip_command
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from OpenVocabCTLib.prompts.words import ARTICLES, ORDINALS

_LONGEST = 400
_WORD = re.compile(r"[a-z]+\d*[a-z]?|\d+(?:st|nd|rd|th)?|[-\u2010-\u2015,/&+]", re.IGNORECASE)
_LEVEL = re.compile(r"(?P<section>c|th|t|d|l|s)(?P<number>\d{1,2})")
_NUMBER = re.compile(r"0*(?P<number>\d{1,2})(?:st|nd|rd|th)?")
_TO = frozenset({"-", "to", "through", "thru", "until", "till", "bis"})
_AND = frozenset({",", "/", "&", "+", "and", "plus"})
_ROMAN = {"i": 1, "ii": 2, "iii": 3, "iv": 4, "v": 5, "vi": 6, "vii": 7, "viii": 8, "ix": 9, "x": 10}
_SECTIONS = {"c": ("c", 7), "t": ("t", 12), "th": ("t", 12), "d": ("t", 12), "l": ("l", 5), "s": ("s", 5)}
_SPINE = tuple(f"{name}{n}" for name, last in (("c", 7), ("t", 12), ("l", 5), ("s", 5)) for n in range(1, last + 1))
_FILLERS = ARTICLES | frozenset(
    {"of", "on", "in", "side", "number", "numbers", "no", "level", "levels", "from", "between"}
)
_VERTEBRA_WORDS = frozenset(
    {"vertebra", "vertebrae", "vertebras", "vertebral", "body", "bodies", "spine", "spinal", "bone", "bones", "segment"}
    | {"segments"}
)


@dataclass(frozen=True)
class Numbered:
    """How a text that numbers structures was read.

    Attributes:
        meant: the structures, None where a number does not exist.
        problem: why nothing is meant, "" otherwise.
    """

    meant: Concept | Expression | None
    problem: str = ""


@dataclass(frozen=True)
class _Family:
    """Structures that are told apart by a number.

    Attributes:
        one, many: what one and several of them are called.
        needed: one of these words must be there.
        words: words that may be there besides.
        last: the highest number.
        paired: whether there is one on each side.
        id_of: number and side ("left", "right" or "") to the id of the concept.
    """

    one: str
    many: str
    needed: tuple[frozenset[str], ...]
    words: frozenset[str]
    last: int
    paired: bool
    id_of: Callable[[int, str], str]


def _sided(sided: str, both: str) -> Callable[[int, str], str]:
    return lambda number, side: sided.format(side=side, n=number) if side else both.format(n=number)


_FAMILIES = (
    _Family(
        "rib",
        "ribs",
        (frozenset({"rib", "ribs", "costa", "costae"}),),
        frozenset({"bone", "bones"}),
        12,
        True,
        _sided("{side}_rib_{n}", "ribs_{n}"),
    ),
    _Family(
        "liver segment",
        "liver segments",
        (frozenset({"segment", "segments"}), frozenset({"liver", "hepatic", "couinaud"})),
        frozenset(),
        8,
        False,
        lambda number, side: f"liver_segment_{number}",
    ),
    _Family(
        "lung segment",
        "lung segments",
        (frozenset({"segment", "segments"}), frozenset({"lung", "pulmonary", "bronchopulmonary"})),
        frozenset(),
        10,
        True,
        _sided("{side}_lung_segment_{n}", "lung_segments_{n}"),
    ),
)


def read_numbered(text: str, vocabulary: Vocabulary) -> Numbered | None:
    """Read several numbered structures of one kind, or one whose number does not exist.

    Args:
        text: as typed.
        vocabulary: where the structures come from.

    Returns:
        None where the text is something else; one existing structure is left to the phrases of the vocabulary.
    """
    if len(text) > _LONGEST or not any(character.isdigit() or character in "ivxIVX" for character in text):
        return _ordinals_only(text, vocabulary)
    return _read(text, vocabulary)


def _ordinals_only(text: str, vocabulary: Vocabulary) -> Numbered | None:
    return _read(text, vocabulary) if len(text) <= _LONGEST and any(word in text.lower() for word in ORDINALS) else None


def _read(text: str, vocabulary: Vocabulary) -> Numbered | None:
    words = _words(text)
    return _vertebrae(words, vocabulary) or next(
        (found for family in _FAMILIES if (found := _family(words, family, vocabulary)) is not None), None
    )


def _words(text: str) -> tuple[str, ...]:
    """Split into lower-case words, numbers and separators, without what asks; "C 2" becomes "c2"."""
    plain = spell_bilateral(sanitise(text[:READ_LENGTH])).lower().replace("_", " ")
    plain = re.sub(r"[\u2010-\u2015\u2212]", "-", plain)
    plain = re.sub(r"\b(c|th|t|d|l|s)[ -]?(\d{1,2})\b", r"\1\2", plain)
    plain = re.sub(r"\b([a-z]{3,})(\d{1,2})\b", r"\1 \2", plain)
    return strip_command(tuple(_WORD.findall(plain)))


def _vertebrae(words: Sequence[str], vocabulary: Vocabulary) -> Numbered | None:
    items: list[str] = []
    section = ""
    for word in words:
        level = _LEVEL.fullmatch(word)
        if level is not None or word in _TO or word in _AND:
            items.append(word)
            section = section if level is None else level["section"]
        elif section and items[-1] in _TO | _AND and word.isdecimal():  # "L2-4"
            items.append(section + word)
        elif word not in _VERTEBRA_WORDS and word not in _FILLERS:
            return None
    if not section:
        return None
    for item in items:
        level = _LEVEL.fullmatch(item)
        if level and not 1 <= int(level["number"]) <= _SECTIONS[level["section"]][1]:
            name, last = _SECTIONS[level["section"]]
            return Numbered(None, f"there is no {item.upper()}: {name.upper()}1 to {name.upper()}{last} are known")
    places = _spans(items, _place_in_spine)
    if places is None or len(places) < 2:
        return None
    return Numbered(_section_or_union([vocabulary.get(f"vertebra_{_SPINE[place]}") for place in places], vocabulary))


def _place_in_spine(word: str) -> int | None:
    level = _LEVEL.fullmatch(word)
    return None if level is None else _SPINE.index(f"{_SECTIONS[level['section']][0]}{int(level['number'])}")


def _family(words: Sequence[str], family: _Family, vocabulary: Vocabulary) -> Numbered | None:
    if not all(needed.intersection(words) for needed in family.needed):
        return None
    sided = split_side([word for word in words if word not in _FILLERS])
    known = frozenset().union(*family.needed, family.words)
    items = [word for word in sided.words if word not in known]
    numbers = _spans(items, _number)
    if not numbers:
        return None
    wrong = [number for number in numbers if not 1 <= number <= family.last]
    if wrong:
        return Numbered(None, f"there is no {family.one} {wrong[0]}: {family.many} 1 to {family.last} are known")
    if len(numbers) < 2 or (sided.sides and not family.paired):
        return None
    sides = [side.value for side in (Side.LEFT, Side.RIGHT) if side in sided.sides]
    side = sides[0] if len(sides) == 1 else ""
    return Numbered(union([vocabulary.get(family.id_of(number, side)) for number in numbers]))


def _number(word: str) -> int | None:
    found = _NUMBER.fullmatch(word) or _NUMBER.fullmatch(ORDINALS.get(word, ""))
    if found is not None:
        return int(found["number"])
    return _ROMAN.get(word) or (_ROMAN.get(word[1:]) if word[:1] == "s" else None)


def _spans(items: Sequence[str], place: Callable[[str], int | None]) -> list[int] | None:
    """Read "2 to 4 and 7" as [2, 3, 4, 7]; None where it is not such a list."""
    found: list[int] = []
    waiting: str | None = "and"
    in_range = False
    for item in items:
        here = place(item)
        if here is None:
            if item not in _TO and item not in _AND:
                return None
            # ", and" is one separator.
            if waiting is not None and not (waiting in _AND and item in _AND and found):
                return None
            waiting = item
        # The second sign of "L1-L5 - L3" is no range.
        elif waiting is None or (waiting in _TO and in_range):
            return None
        else:
            in_range = waiting in _TO and bool(found)
            found += _up_to(found[-1], here) if in_range else [here]
            waiting = None
    return sorted(set(found)) if waiting is None else None


def _up_to(first: int, last: int) -> Iterator[int]:
    """Yield what lies between, the ends included, in either order."""
    yield from range(min(first, last), max(first, last) + 1)


def _section_or_union(concepts: list[Concept], vocabulary: Vocabulary) -> Concept | Expression:
    """Return the section of the spine that these vertebrae make up, if they are all of it; else their union."""
    ids = tuple(concept.id for concept in concepts)
    whole = next((one for one in vocabulary if one.parts == ids), None)
    return union([*concepts]) if whole is None else whole
