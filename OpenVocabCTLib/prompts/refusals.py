"""What must be refused, because an encoder of text would lose the point: denials, margins, sides of the screen."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from OpenVocabCTLib.prompts.laterality import side_of_word
from OpenVocabCTLib.prompts.normalise import canonical_word, sanitise
from OpenVocabCTLib.prompts.words import AUXILIARIES, EXCLUSIONS, ON_SCANS, ON_SCREENS, TO_SCREENS

PATIENT_SIDE = "left and right are the patient's, not those of the screen: name the side of the patient"

_TWO_WORDS = frozenset(
    {
        ("other", "than"),
        ("rather", "than"),
        ("instead", "of"),
        ("apart", "from"),
        ("aside", "from"),
        ("w", "o"),
        ("w", "out"),
    }
)
_SHORTEST_DENIED = 4
_DENYING_SIGN = re.compile(
    r"[\u00ac\u2201\u2209\u2260\u2296\u2716-\u2718\u274c\u274e\u26d4\U0001f6ab]|(?:\A|\s)[!~](?=\s?\w)|\A[\u2212\u2216\u2796]"
)
_MARGIN = re.compile(
    r"\d\s?(?:mm|cm|millimet\w*|centimet\w*)\b|(?:prv|ptv|ctv|itv)(?![a-z])|(?<![a-z])(?:prv|ptv|ctv|itv)|"
    r"\b(?:margins?|expansions?|expand(?:ed|ing)?|rings?|shells?|rind)\b|\+\s?\d+(?:[.,]\d+)?\s*\Z",
    re.IGNORECASE,
)


def exclusion_in(words: Sequence[str], knows: Callable[[str], bool]) -> str:
    """Return the word that says what is not wanted or not there, "" for none.

    Args:
        words: tokens as typed.
        knows: whether a canonical word occurs in the name of a structure.
    """
    for place, word in enumerate(words):
        following = words[place + 1] if place + 1 < len(words) else ""
        if word == "non" and following in {"contrast", "enhanced"}:
            continue  # how the scan was made
        if word in EXCLUSIONS or word.endswith("ectomy"):
            return word
        if (word, following) in _TWO_WORDS:
            return f"{word}{'/' if word == 'w' else ' '}{following}"
        if word in AUXILIARIES and following == "t":
            return f"{word}'t"
        denied = word.removeprefix("non")
        if denied != word and len(denied) >= _SHORTEST_DENIED and knows(canonical_word(denied)):
            return word
    return ""


def denying_sign_in(text: str) -> str:
    """Return the sign that denies what stands behind it, "" for none: words are compared without signs."""
    found = _DENYING_SIGN.search(sanitise(text))
    return "" if found is None else found[0].strip()


def margin_in(text: str) -> str:
    """Return what asks for a margin, a size or a volume of planning: "5mm", "PRV", "ring"; "" for none."""
    found = _MARGIN.search(sanitise(text).replace("_", " "))
    return "" if found is None else found[0].strip()


def names_screen_side(words: Sequence[str]) -> bool:
    """Tell whether a side is that of an image or of who looks at it: "left of the screen", "viewer's left"."""
    return any(
        _is_before_screen(words, place) or _is_after_screen(words, place)
        for place, word in enumerate(words)
        if word in ON_SCREENS or word in ON_SCANS
    )


def _is_before_screen(words: Sequence[str], place: int) -> bool:
    """Tell whether a screen stands there and a side before it: "on the left side of the image"."""
    start = place
    while start and words[start - 1] in TO_SCREENS:
        start -= 1
    if not start or not side_of_word(words[start - 1]):
        return False
    # "kidney left on this scan" speaks of the patient, "left of the scan" does not.
    return words[place] in ON_SCREENS or (words[place] in ON_SCANS and "of" in words[start:place])


def _is_after_screen(words: Sequence[str], place: int) -> bool:
    """Tell whether a screen stands there and a side after it: "image left", "in the image on the left"."""
    if words[place] not in ON_SCREENS or (words[place] == "display" and not _is_noun(words, place)):
        return False
    rest = [word for word in words[place + 1 : place + 4] if word != "s"]
    if rest[:1] and rest[0] in {"on", "at", "to"}:
        rest = [word for word in rest[1:] if word != "the"]
    return bool(rest) and bool(side_of_word(rest[0]))


def _is_noun(words: Sequence[str], place: int) -> bool:
    return place > 0 and words[place - 1] in {"the", "this", "my", "on", "of", "in", "a"}
