"""Telling the sign that takes away ("lungs - left lung") from the hyphen of a name ("brain-stem", "Parotid-L")."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from OpenVocabCTLib.prompts.combining import LONGEST, SEPARATOR, Meaning
from OpenVocabCTLib.prompts.concepts import Concept
from OpenVocabCTLib.prompts.kinds import is_finding
from OpenVocabCTLib.prompts.laterality import split_side
from OpenVocabCTLib.prompts.matching import Match, PhraseIndex
from OpenVocabCTLib.prompts.normalise import is_plural, naming_words, sanitise
from OpenVocabCTLib.prompts.vocabulary import Vocabulary

Decision = Literal["minus", "name", "unclear"]

# A minus, a set minus or a backslash joins no words; a hyphen or a dash may.
_MINUS_SIGNS = "\u2212\u2216\u2796\u29f5\\\\"
_SIGN = re.compile(rf"\s*(?:[{_MINUS_SIGNS}]+|[-\u2010-\u2015\ufe63\uff0d]+)\s*")
_BRACKETS = " ()[]{}"
# "body - (lungs - left lung)", but not "kidney - (left)"
_BEGINS_WITH_GROUP = re.compile(rf"[(\[{{][^()\[\]{{}}]*(?:{_SIGN.pattern}|{SEPARATOR.pattern})", re.IGNORECASE)
_ENDS_WITH_GROUP = re.compile(rf"(?:{_SIGN.pattern}|{SEPARATOR.pattern})[^()\[\]{{}}]*[)\]}}]\Z", re.IGNORECASE)
_LEVEL = re.compile(r"(?:c|th|t|d|l|s)\d{1,2}")
_LEVEL_OR_NUMBER = re.compile(rf"{_LEVEL.pattern}|\d{{1,2}}")


@dataclass(frozen=True)
class Signed:
    """A text whose signs were read.

    Attributes:
        text: the text with "minus" for every sign that takes away.
        problem: why a sign cannot be read, "" when all can.
    """

    text: str
    problem: str = ""


@dataclass(frozen=True)
class _Place:
    """A sign and what stands around it."""

    sign: str
    before: str
    after: str

    @property
    def is_spaced(self) -> bool:
        return self.sign != self.sign.strip()

    @property
    def is_minus(self) -> bool:
        return self.sign.strip()[0] in _MINUS_SIGNS and (self.is_spaced or "\\" not in self.sign)


class SignReader:
    """Reads signs between structures.

    Args:
        vocabulary: the structures.
        index: finds one by its phrase.
        numbered: reads numbered structures, whose hyphens are theirs ("C2-C5").
        named: what a text without signs names, None for nothing; with a misspelt word if that may be corrected.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        index: PhraseIndex,
        numbered: Callable[[str], Meaning | None],
        named: Callable[[str, bool], Meaning | None],
    ) -> None:
        self._vocabulary, self._index, self._numbered, self._named = vocabulary, index, numbered, named

    def read(self, text: str) -> Signed:
        """Write "minus" where a sign stands between two structures to take one from the other."""
        plain = sanitise(text[: LONGEST + 1])
        if len(plain) > LONGEST or _SIGN.search(plain) is None or self._numbered(plain) or self._is_hyphened(plain):
            return Signed(text)
        written, start, changed = "", 0, False
        for sign in _SIGN.finditer(plain):
            written += plain[start : sign.start()]
            start = sign.end()
            before = SEPARATOR.split(written)[-1].strip(_BRACKETS)
            place = _Place(sign[0], before, self._after(plain[start:]))
            takes_group = _ENDS_WITH_GROUP.search(written) or _BEGINS_WITH_GROUP.match(plain[start:])
            decision: Decision = "minus" if takes_group and place.is_spaced else self._decide(place)
            if decision == "unclear" and place.is_spaced and (changed or self._is_held_before(place, written)):
                decision = "minus"  # "body - lungs - heart", "lungs and heart - left lung"
            if decision == "unclear":
                return Signed(text, _problem(place))
            changed |= decision == "minus"
            written += " minus " if decision == "minus" else sign[0]
        return Signed(written + plain[start:] if changed else text)

    def _is_held_before(self, place: _Place, written: str) -> bool:
        """Tell whether what a sign would take away lies in something that was named before it."""
        part = self._named(place.after, True)
        wholes = (self._named(piece.strip(_BRACKETS), False) for piece in SEPARATOR.split(written)[:-1])
        return part is not None and any(whole is not None and self._holds(whole, part) for whole in wholes)

    def _is_hyphened(self, text: str) -> bool:
        """Tell whether hyphens join all words of one name: "sacro-iliac-joint-left"."""
        signs = [_Place(sign[0], "", "") for sign in _SIGN.finditer(text)]
        if len(signs) < 2 or any(sign.is_spaced or sign.is_minus for sign in signs):
            return False
        match = self._index.find(split_side(naming_words(text)))
        return match is not None and match.how == "exact"

    def _after(self, text: str) -> str:
        """Return what a sign would take away; a hyphen within it does not end it."""
        text = SEPARATOR.split(text)[0]
        ends = [sign.start() for sign in _SIGN.finditer(text)]
        outer = [sign.start() for sign in _SIGN.finditer(text) if _Place(sign[0], "", "").is_spaced]
        longest = text[: outer[0]] if outer else text
        return (longest if not ends or self._named(longest, False) is not None else text[: ends[0]]).strip(_BRACKETS)

    def _decide(self, place: _Place) -> Decision:
        before, after = naming_words(place.before), naming_words(place.after)
        if not before or not after or self._is_span(place, before[-1], after[0]):
            return "name"
        together = self._index.find(split_side((*before, *after)))
        if place.is_minus:
            return self._minus_sign(place, together)
        # What is misspelt must not be corrected across a sign: "lungs - left lugn" is not the left lung.
        first, second = (self._named(text, place.is_spaced) for text in (place.before, place.after))
        if first is None or second is None:
            return "name"
        if after == ("gtv",):
            return "minus"  # "Lungs-GTV", as structures are named in radiotherapy
        if place.is_spaced:
            return self._spaced_hyphen(first, second, is_plural(before), together)
        joins = together is not None and not (together.concept is second and is_plural(before))
        return "name" if joins else "unclear"

    def _is_span(self, place: _Place, last: str, first: str) -> bool:
        """Tell whether a hyphen stands between two spinal levels: "C2-C5", "L5-S1 disc", but not "L1-L5 - L3"."""
        is_range = place.is_spaced and self._numbered(place.before) is not None
        return _LEVEL.fullmatch(last) is not None and _LEVEL_OR_NUMBER.fullmatch(first) is not None and not is_range

    def _minus_sign(self, place: _Place, together: Match | None) -> Decision:
        before, after = naming_words(place.before), naming_words(place.after)
        if not split_side(after).words:
            return "minus" if is_plural(before) and place.is_spaced else "name"
        if place.is_spaced or together is None:
            return "minus"
        if self._named(place.before, False) is None or self._named(place.after, False) is None:
            return "name"  # a hyphen that a word processor made longer
        return "unclear" if together.how == "exact" else "minus"

    def _spaced_hyphen(self, first: Meaning, second: Meaning, is_several: bool, together: Match | None) -> Decision:
        """Read "lungs - left lung" and "body - heart", but not "liver - tumor" and "left lung - upper lobe"."""
        if together is None:
            return "minus" if self._holds(first, second) else "unclear"
        # A pancreas holds no head that could be taken from it: "pancreas - head".
        is_new = together.concept not in (first, second) and not self._holds(together.concept, second)
        if is_new and isinstance(second, Concept) and not is_finding(second, self._vocabulary):
            return "unclear" if self._holds(first, second) else "name"
        return "minus" if together.concept is second and is_several else "unclear"

    def _holds(self, whole: Meaning, part: Meaning) -> bool:
        """Tell whether one structure is known to lie in the other."""
        inside = {leaf.id for concept in _concepts(part) for leaf in self._vocabulary.leaves(concept)}
        outside = {leaf.id for concept in _concepts(whole) for leaf in self._vocabulary.leaves(concept)}
        outside |= {concept.id for concept in _concepts(whole)}
        around = {above for one in inside for above in self._vocabulary.get(one).part_of}
        return "body" in outside or inside <= outside or bool(around & outside)


def _concepts(meant: Meaning) -> tuple[Concept, ...]:
    return (meant,) if isinstance(meant, Concept) else tuple(meant.concepts())


def _problem(place: _Place) -> str:
    sign = place.sign.strip()
    return (
        f"'{sign}' between '{place.before}' and '{place.after}' may take away or join: write 'minus' or 'and', "
        "or leave it out of a name"
    )
