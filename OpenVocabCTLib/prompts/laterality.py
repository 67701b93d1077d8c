"""Finding the side that a prompt speaks of.

Left and right are the patient's. Side words are taken out before anything is compared, so that no spelling correction
and no loose match can ever turn one side into the other.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

from OpenVocabCTLib.prompts.vocabulary import Side

LEFT_ONLY = frozenset({Side.LEFT})
RIGHT_ONLY = frozenset({Side.RIGHT})
BOTH = frozenset({Side.LEFT, Side.RIGHT})
UNSAID: frozenset[Side] = frozenset()
_NAMES = {LEFT_ONLY: "left", RIGHT_ONLY: "right", BOTH: "both"}

_PLAIN = {
    **dict.fromkeys(("left", "lefthand", "leftsided", "sinistral"), LEFT_ONLY),
    **dict.fromkeys(("right", "righthand", "rightsided", "dextral"), RIGHT_ONLY),
    **dict.fromkeys(("both", "bilateral", "bilaterally"), BOTH),
}
# Abbreviations and slips of the finger; reading them is worth telling the person about.
_READ_AS = {
    **dict.fromkeys(("l", "lt", "lft", "lhs", "sin", "lfet", "letf", "leftt"), LEFT_ONLY),
    **dict.fromkeys(("r", "rt", "rgt", "rhs", "dex", "dext", "rigth", "rihgt", "rght"), RIGHT_ONLY),
    **dict.fromkeys(("bilat", "bil", "bl"), BOTH),
}
# Latin adjectives stand behind their noun ("ren sin."), the Spanish preposition "sin" (without) before it.
_LATIN_LEFT_OR_WITHOUT = "sin"
_AFTER_LATIN = frozenset({"and", "et", "dex", "dext"})
# German, French and Spanish, in every form that agrees with a noun.
_OTHER_LANGUAGES = re.compile(
    r"(?P<left>linke[rnsm]?|links(?:seitige[rnsm]?)?|gauches?|izquierd[oa]s?)"
    r"|(?P<right>rechte[rnsm]?|rechts(?:seitige[rnsm]?)?|droite?s?|derech[oa]s?)"
    r"|(?P<both>beide[rnsm]?|beidseitige?|ambos|ambas)"
)
_GROUPS = {"left": LEFT_ONLY, "right": RIGHT_ONLY, "both": BOTH}
# Sides that only the rest of a report could tell.
RELATIVE_SIDES = frozenset({"contralateral", "ipsilateral", "opposite", "other", "same", "homolateral", "unilateral"})
# Structures that the middle of the body cuts into a left and a right half; the "left half of the liver" is another cut.
MIDLINE = frozenset(
    {"body", "skin", "mandible", "maxilla", "skull", "brain", "cerebrum", "cerebellum", "brainstem", "pons", "midbrain"}
    | {"medulla_oblongata", "spinal_cord", "vertebrae", "sternum", "sacrum", "tongue", "larynx", "prostate", "bones"}
    | {"urinary_bladder"}
)
_LATIN_ENDING = "(?:a|ae|am|i|o|um|os|as|is|orum|arum)"
_LATIN_LEFT = re.compile(f"sinist(?:er|r{_LATIN_ENDING})")
_LATIN_RIGHT = re.compile(f"dext(?:er|r{_LATIN_ENDING})")


@dataclass(frozen=True)
class SidedWords:
    """Tokens with the side words taken out.

    Attributes:
        sides: the sides named: empty, one or both.
        words: the remaining tokens, in order.
        note: how an abbreviation was read, "" when the side was plain.
    """

    sides: frozenset[Side]
    words: tuple[str, ...]
    note: str


@lru_cache(maxsize=8192)
def side_of_word(word: str) -> frozenset[Side]:
    """Return the sides that one lower-case token names, empty for any other token."""
    if word in _PLAIN:
        return _PLAIN[word]
    if word in _READ_AS:
        return _READ_AS[word]
    if _LATIN_LEFT.fullmatch(word):
        return LEFT_ONLY
    if _LATIN_RIGHT.fullmatch(word):
        return RIGHT_ONLY
    other = _OTHER_LANGUAGES.fullmatch(word)
    return UNSAID if other is None or other.lastgroup is None else _GROUPS[other.lastgroup]


def spell_out_sides(words: Sequence[str]) -> tuple[str, ...]:
    """Return the tokens with every abbreviated side written as "left", "right" or "both"."""
    return tuple(
        _NAMES[_READ_AS[word]] if word in _READ_AS and not _is_without(words, place) else word
        for place, word in enumerate(words)
    )


def _is_without(words: Sequence[str], place: int) -> bool:
    """Tell whether the token there is the Spanish "sin": denying, and no side."""
    if words[place] != _LATIN_LEFT_OR_WITHOUT:
        return False
    following = words[place + 1] if place + 1 < len(words) else None
    return place == 0 or not (following is None or following in _AFTER_LATIN)


def only_side(sides: Collection[Side]) -> Side:
    """Return the side of a set that holds just one, else no side."""
    return next(iter(sides)) if len(sides) == 1 else Side.NONE


def split_side(words: Sequence[str]) -> SidedWords:
    """Take the side words out of the tokens, wherever they stand."""
    sides: set[Side] = set()
    rest: list[str] = []
    notes: list[str] = []
    for place, word in enumerate(words):
        named = UNSAID if _is_without(words, place) else side_of_word(word)
        sides |= named
        if not named:
            rest.append(word)
        elif word in _READ_AS:
            notes.append(f"read '{word}' as {_NAMES[named]}")
    if sides == BOTH:
        # "left and right kidney": the conjunction belonged to the sides.
        rest = [word for word in rest if word not in {"and", "or", "plus"}]
    return SidedWords(frozenset(sides), tuple(rest), "; ".join(dict.fromkeys(notes)))
