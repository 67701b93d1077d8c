"""Finding the side that a prompt speaks of.

Left and right are the patient's. Side words are taken out before anything is compared, so that no spelling correction
and no loose match can ever turn one side into the other.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

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
# German, Spanish, Portuguese and Italian abbreviations in names of structures ("Parotis li", "pulmón izq.").  In
# sentences they are other words: "re-examined", "dx".
_READ_AS_IN_NAMES = {
    **dict.fromkeys(("li", "lks", "izq", "izqda", "izqdo", "izda", "izdo", "esq", "gche", "sx"), LEFT_ONLY),
    **dict.fromkeys(("re", "rts", "dcha", "dcho", "drcha", "drcho", "dta", "dto", "dte", "dx"), RIGHT_ONLY),
    **dict.fromkeys(("bds", "beids"), BOTH),
}
_READ_AS_AT_THE_END = {"der": RIGHT_ONLY}
# Between the sides of a structure that lies on both.
_JOINERS = frozenset({"and", "or", "plus", "und", "oder", "et", "ou", "y", "e", "u"})
IN_NAMES_ONLY = frozenset({*_READ_AS_IN_NAMES, *_READ_AS_AT_THE_END})
# "Les deux poumons", "los dos riñones".
_THE_TWO = frozenset(
    {("les", "deux"), ("los", "dos"), ("las", "dos"), ("i", "due"), ("le", "due"), ("os", "dois"), ("as", "duas")}
)
# Latin adjectives stand behind their noun ("ren sin."), the Spanish preposition "sin" (without) before it.
_LATIN_LEFT_OR_WITHOUT = "sin"
_AFTER_LATIN = frozenset({"and", "et", "dex", "dext"})
# German, Dutch, French, Spanish, Portuguese and Italian, in every form that agrees with a noun.
_OTHER_LANGUAGES = re.compile(
    r"(?P<left>linke[rnsm]?|links(?:seitige[rnsm]?)?|linkse|gauches?|izquierd[oa]s?|esquerd[oa]s?|sinistre)"
    r"|(?P<right>rechte[rnsm]?|rechts(?:seitige[rnsm]?)?|rechtse|droite?s?|derech[oa]s?|direit[oa]s?|destr[oaie])"
    r"|(?P<both>beide[rnsm]?|beidseit(?:s|ige[rnsm]?)|ambos|ambas|ambedue|entramb[ie]|bilateral(?:e|es|i|en)|bilateraal)"
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
    return tuple(_NAMES.get(_abbreviated(words, place), word) for place, word in enumerate(words))


def _abbreviated(words: Sequence[str], place: int) -> frozenset[Side]:
    """Return the sides that the token there abbreviates, empty for a token that is no abbreviation of a side."""
    word = words[place]
    if word in _READ_AS:
        return UNSAID if _is_without(words, place) else _READ_AS[word]
    if word in _READ_AS_AT_THE_END and place and place == len(words) - 1:
        return _READ_AS_AT_THE_END[word]
    # "Re left kidney" is about the left kidney.
    is_about = word == "re" and not place and bool(side_of_word(words[1] if len(words) > 1 else ""))
    return UNSAID if is_about else _READ_AS_IN_NAMES.get(word, UNSAID)


def _is_without(words: Sequence[str], place: int) -> bool:
    """Tell whether the token there is the Spanish "sin": denying, and no side."""
    if words[place] != _LATIN_LEFT_OR_WITHOUT:
        return False
    following = words[place + 1] if place + 1 < len(words) else None
    return place == 0 or not (following is None or following in _AFTER_LATIN)


def contradicts_itself(words: Sequence[str]) -> bool:
    """Tell whether one side stands before a structure and the other behind it: "left kidney right".

    "Kidney left kidney right" names the structure once for each side.
    """
    named = [
        (place, sides)
        for place, word in enumerate(words)
        if (sides := _abbreviated(words, place) or side_of_word(word))
    ]
    if len(named) != 2 or named[0][1] | named[1][1] != BOTH or BOTH in (named[0][1], named[1][1]):
        return False
    (first, _), (second, _) = named
    is_repeated = first > 0 and words[:first] == words[first + 1 : second]
    return second - first > 1 and second == len(words) - 1 and not is_repeated


def _without_hand_side(words: Sequence[str]) -> tuple[str, ...]:
    """Return "left hand side" as "left side": no hand is meant."""
    if "hand" not in words and "handed" not in words:
        return tuple(words)
    return tuple(
        word
        for place, word in enumerate(words)
        if not (
            word in ("hand", "handed")
            and place
            and side_of_word(words[place - 1])
            and (word == "handed" or words[place + 1 : place + 2] in (("side",), ["side"]))
        )
    )


def only_side(sides: Collection[Side]) -> Side:
    """Return the side of a set that holds just one, else no side."""
    return next(iter(sides)) if len(sides) == 1 else Side.NONE


def split_side(words: Sequence[str]) -> SidedWords:
    """Take the side words out of the tokens, wherever they stand."""
    words = _without_hand_side(words)
    sides: set[Side] = set()
    rest: list[str] = []
    notes: list[str] = []
    the_two = {place + n for place, pair in enumerate(pairwise(words)) if pair in _THE_TWO for n in (0, 1)}
    for place, word in enumerate(words):
        abbreviated = _abbreviated(words, place)
        named = abbreviated or (UNSAID if word in _READ_AS else side_of_word(word))
        if place in the_two:
            named = BOTH
        sides |= named
        if not named:
            rest.append(word)
        elif abbreviated:
            notes.append(f"read '{word}' as {_NAMES[named]}")
    if sides == BOTH:
        # "left and right kidney": the conjunction belonged to the sides.
        rest = [word for word in rest if word not in _JOINERS]
    return SidedWords(frozenset(sides), tuple(rest), "; ".join(dict.fromkeys(notes)))
