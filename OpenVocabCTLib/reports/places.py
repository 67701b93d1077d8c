"""Which structure and which side of a sentence belong to which finding.

A place that cannot be given to a finding for sure is given to none.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from OpenVocabCTLib.prompts.concepts import Side
from OpenVocabCTLib.prompts.laterality import side_of_word
from OpenVocabCTLib.reports import triggers
from OpenVocabCTLib.reports.mentions import BETWEEN_SIDES, WORD, Mention
from OpenVocabCTLib.reports.scopes import LONGEST_SENTENCE, Scopes
from OpenVocabCTLib.reports.triggers import pattern

_BREAKS = (
    r"(?:in|of|at|on|within|and|or|but|with|without|is|are|was|were|has|have|shows?|demonstrates?|than|to|from|by)"
)
_FILLER = rf"(?:[\s-]+(?!{_BREAKS}\b)\w+)"
_DIRECTION = (
    r"(?:(?:antero|postero|supero|infero)?-?(?:lateral|medial|anterior|posterior|superior|inferior)|caudal|cranial|cephalad|"
    r"dorsal|ventral|proximal|distal|adjacent|close|next|contiguous|external|peripheral)(?:ly)?"
)
_BY_THE_WAY = (
    rf"(?:{_DIRECTION}\s+to|near(?:by)?(?!-|\s+(?:complete|total))|abut(?:s|ting)?|below|above|beneath|under|underneath|overlying|underlying|behind|"
    r"beside|alongside|outside(?:\s+of)?|between|beyond|around|surrounding|touch(?:es|ing)|contact(?:s|ing)|"
    r"in\s+front\s+of|(?:in\s+)?(?:contact|continuity)\s+with|proximity\s+(?:to|of)|vicinity\s+of|level\s+of|"
    r"border(?:s|ing)(?:\s+on)?|displac(?:es?|ing)|compress(?:es|ing)?|indent(?:s|ing)?|effac(?:es?|ing)|push(?:es|ing)|"
    r"deviat(?:es?|ing)|spar(?:es?|ing)|encas(?:es?|ing)|surrounds?|invad(?:es?|ing)|infiltrat(?:es?|ing)|"
    r"(?:extend(?:s|ing)?|extension|reach(?:es|ing)|growing|grows)(?:\s+(?:in)?to|\s+towards?)?|towards?|up\s+to|"
    r"(?:invasion|infiltration|involvement|compression|displacement|encasement|effacement)\s+of|(?:not|without)\s+involv\w+|"
    r"(?:\d\s*(?:mm|cm)|away|separate|separable|distinct|distant|remote|originating\s+outside|inseparable)\s+from|"
    r"(?:relative|compared|similar|identical)\s+(?:to|with)|(?:hypo|hyper|iso)-?\s?(?:dense|attenuating|intense)\s+to|than|"
    r"instead\s+of|rather\s+than)"
)
_LANDMARK_BEFORE = pattern(rf"\b{_BY_THE_WAY}{_FILLER}{{0,4}}(?:\s+of(?:\s+(?:the|both))?)?\s*\Z")
_LANDMARK_AFTER = pattern(
    r"\s+(?:is|are|was|were|appears?)\s+(?:\w+ly\s+)?(?:displaced|compressed|spared|effaced|deviated|indented|abutted|"
    r"encased|surrounded|not\s+(?:\w+ly\s+)?(?:involved|affected|invaded|infiltrated))\b"
)
_JOINED = pattern(r"\s*(?:\([^()]*\)\s*)?(?:,|and|or|/|&|as\s+well\s+as|nor|\s)+\s*(?:(?:the|both|in|of|a)\s+)*")
_LINK = pattern(
    r"\b(?:in|of|within|inside|at|on|from|to|throughout|along|involving|affecting|into|through|for)"
    rf"{_FILLER}{{0,3}}(?:\s+of(?:\s+(?:the|both))?)?\s*\Z"
)
_LINK_WORD = pattern(r"\b(?:in|of|at|on)\b")
_UNLINKED = pattern(r"\bwith\b")
_MODIFIES = pattern(rf"(?:{_FILLER}{{0,2}}[\s-]*)")
_LIST = pattern(r"[\s,]*(?:(?:,|and|or|nor|/)\s*)+(?:(?P<own>[\w-]+)\s+){0,2}")
_WITH = pattern(r"\s*with\s+(?:\w+\s+)?")
_DETACHED = pattern(r"[\s,:(\u2013-]*(?:[\w.]+[\s,:(\u2013-]+){0,3}")
_VERB_OR_CONJUNCTION = pattern(rf"\b(?:{_BREAKS}|while|no)\b")
_ENDS_THERE = pattern(r"\s*(?:\Z|[.,;:()]|and\b|or\b)")
_SEPARATOR = pattern(r"\s*(?:\([^()]*\)\s*)?(?:[,/&]|(?:and|or|nor|as\s+well\s+as)\b)")
_LIST_ENDS = pattern(
    r"\s*(?:\Z|[.;,(]|(?:with|without|measuring|up\s+to|consistent|compatible|suspicious|suggest\w*|seen|noted|on|as|"
    r"unchanged|stable|new|likely|which|but|and)\b)"
)
_APPOSITION = pattern(r"\A\s*(?:[,(:\u2013-]|or\b|and\s+(?:contains?|shows?|has|have)\b|with\b|without\b|except)")
# "Liver cysts and hemangiomas", but not "cysts in the liver and hemangiomas".
_DISTRIBUTED = pattern(r"\s*and\s*")
_SAYS_THE_SAME = pattern(r"\b(?:not|rather\s+than|instead\s+of|other\s+than|apart\s+from|aside\s+from|versus|vs)\b")
_ON_THE = pattern(r"\b(?:on|at|to|in|from|of|also)\s+(?:the\s+)?\Z")
# Mentions further apart do not explain each other; this bounds the time for hostile input too.
_FARTHEST = 6
_READ_BACK = 40
# "And on the left a pneumothorax", "on the right there is an effusion".
_OPENS_WITH_SIDE = pattern(r"(?:\A|[,;:]|\band\b)\s*(?:on|at|in)\s+(?:the\s+)?\Z")
_LEADS_TO = pattern(rf"[\s,-]*(?:side\s*,?\s*)?(?:there\s+(?:is|are)\s+)?(?:{_FILLER}|\w+\b){{0,3}}\s*")
_HEADS = pattern(r"\s*:")


@dataclass(frozen=True)
class _LooseSide:
    """A side word that is part of no phrase."""

    start: int
    end: int
    sides: frozenset[Side]


class Places:
    """The structures and sides that a sentence gives to its findings.

    Args:
        text: of the sentence.
        mentions: in it, from left to right.
        scopes: what it denies, and where it begins anew.
    """

    def __init__(self, text: str, mentions: Sequence[Mention], scopes: Scopes) -> None:
        self._text = text[:LONGEST_SENTENCE]
        self._mentions = mentions
        self._scopes = scopes
        self._place = {one: place for place, one in enumerate(mentions)}

    def structures(self, finding: Mention) -> tuple[Mention, ...]:
        """Return the anatomy that a finding lies in, the nearest first; what it only lies beside is none."""
        found = self._owned.get(finding) or self._shared(finding) or self._before(finding) or self._detached(finding)
        return tuple(one for one in found if self._agrees(one.start, one.end, finding))

    def listed(self, finding: Mention) -> tuple[tuple[Mention, ...], ...]:
        """Return the anatomy that a finding lies in by the items of its list: "in the liver and both adrenals"."""
        items: list[list[Mention]] = []
        named = _LINK_WORD.search(self._said(finding.start, finding.end))  # "metastases in the liver" and more
        found = self._owned.get(finding, ()) if named else self.structures(finding)
        structures = sorted(found, key=lambda one: one.start)
        # "Cyst in the liver, spleen normal" says nothing of a cyst in the spleen.
        if not structures or not _LIST_ENDS.match(self._text, max(structures[-1].end, finding.end)):
            return ()
        if named and not self._is_next_item(finding, structures[0]):
            return ()
        for one in structures:
            if items and not self._is_next_item(items[-1][-1], one):
                items[-1].append(one)
            else:
                items.append([one])
        return tuple(map(tuple, items))

    def _is_next_item(self, before: Mention, one: Mention) -> bool:
        return bool(_JOINED.fullmatch(self._said(before.end, one.start)) and _SEPARATOR.match(self._text, before.end))

    def sides(self, finding: Mention) -> frozenset[Side]:
        """Return the sides that words give to a finding, not those of the structure that it lies in."""
        own = self._own_sides(finding)
        if own or self._owned.get(finding):
            return own
        after = next((one for one in self._listed(finding) if self._own_sides(one) or one in self._owned), None)
        # Of "effusion and left pneumothorax" the side is that of the second only.
        is_shared = (
            after
            and self._trails(after)
            and not side_of_word(WORD.findall(self._said(after.start, after.end))[0].lower())
        )
        return self._own_sides(after) if after and is_shared else frozenset()

    def _own_sides(self, finding: Mention) -> frozenset[Side]:
        return finding.sides or self._loose.get(finding, frozenset())

    def related(self, finding: Mention) -> Iterator[tuple[Mention, tuple[Mention, ...]]]:
        """Yield other findings that say the same thing more closely, or less, each with the anatomy that is its own.

        For example "lesion in the liver" of "lesion in the liver, possibly a cyst".
        """
        place = self._place[finding]
        before = self._mentions[max(place - _FARTHEST, 0) : place]
        for other in (*reversed(before), *self._mentions[place + 1 : place + 1 + _FARTHEST]):
            if other.is_finding and self._is_apposition(*sorted((other, finding), key=lambda one: one.start)):
                yield other, self._owned.get(other, ())

    @cached_property
    def _clause_starts(self) -> list[int]:
        findings = [one.start for one in self._mentions if one.is_finding]
        starts = [match.end() for match in triggers.PLACE_ENDS.finditer(self._text)]
        for first, last in self._scopes.clauses:
            begin = max((start for start in starts if start <= first), default=0)
            # "In the liver, a cyst is seen" is one clause, and "it is enlarged and contains a cyst" is about one thing.
            goes_on = triggers.VERB_FOLLOWS.match(self._text, last)
            if not goes_on and any(begin <= finding < first for finding in findings):
                starts.append(last)
        return sorted(starts)

    def _clause(self, place: int) -> int:
        return bisect_right(self._clause_starts, place)

    def _said(self, start: int, end: int) -> str:
        return self._text[start:end]

    def _agrees(self, start: int, end: int, finding: Mention) -> bool:
        """Say whether words are not denied, or denied with the finding: "the mass does not involve the liver"."""
        denied = self._scopes.status(start, end) == "absent"
        return not denied or self._scopes.status(finding.start, finding.end) == "absent"

    @cached_property
    def _landmarks(self) -> set[Mention]:
        """Anatomy that only tells where something else lies."""
        found: set[Mention] = set()
        before: Mention | None = None
        for one in self._mentions:
            begin = before.end if before else 0
            between = self._said(begin, one.start)
            if not one.is_finding and (
                _LANDMARK_BEFORE.search(between)
                or _LANDMARK_AFTER.match(self._text, one.end)
                or (before in found and re.fullmatch(r"\s*(?:,|and|or)\s*(?:the\s+)?", between))
            ):
                found.add(one)
            before = one
        return found

    @cached_property
    def _owners(self) -> dict[Mention, Mention]:
        """Anatomy -> the finding that it is said of: "cyst in the liver and spleen", "left lung nodule"."""
        owners: dict[Mention, Mention] = {}
        last: Mention | None = None
        for before, one, after in zip(
            [None, *self._mentions], self._mentions, [*self._mentions[1:], None], strict=False
        ):
            if one.is_finding:
                last = one
                continue
            if one in self._landmarks:
                continue
            follows = before if last and self._clause(last.start) == self._clause(one.start) else None
            if last and follows and _LINK.search(between := self._said(follows.end, one.start)):
                if not _UNLINKED.search(between):
                    owners[one] = last
            elif after and after.is_finding and _MODIFIES.fullmatch(self._said(one.end, after.start)):
                owners[one] = after
            elif last and follows and self._goes_on(follows, one, owners):
                owners[one] = last
        return owners

    def _goes_on(self, before: Mention, one: Mention, owners: dict[Mention, Mention]) -> bool:
        between = self._said(before.end, one.start)
        # "Metastases in the liver" is one name, and "and the adrenals" goes on with it.
        if before.is_finding and _LINK_WORD.search(self._said(before.start, before.end)) and between.strip():
            return _JOINED.fullmatch(between) is not None
        return (before in owners and _JOINED.fullmatch(between) is not None) or re.fullmatch(
            r"[\s(]*", between
        ) is not None

    @cached_property
    def _owned(self) -> dict[Mention, tuple[Mention, ...]]:
        owned: dict[Mention, tuple[Mention, ...]] = {}
        for one, owner in self._owners.items():
            owned[owner] = (*owned.get(owner, ()), one)
        return owned

    @cached_property
    def _next(self) -> dict[Mention, Mention]:
        """Findings with the one that a list goes on with: "no mass, hemorrhage or edema"."""
        return {one: after for one, after in pairwise(self._mentions) if self._is_list(one, after)}

    def _is_list(self, one: Mention, after: Mention) -> bool:
        if not (one.is_finding and after.is_finding) or self._clause(after.start) != self._clause(one.start):
            return False
        between = self._said(one.end, after.start)
        if _WITH.fullmatch(between) and not after.concept.part_of and not after.concept.members:
            return True  # "nodule with calcification in the left lung"
        joined = _LIST.fullmatch(between)
        if joined is None or (joined["own"] and self._is_own(joined["own"])):
            return False
        return self._agrees(one.start, one.end, after)

    def _listed(self, finding: Mention) -> Iterator[Mention]:
        """Yield what follows a finding in its list."""
        for _ in range(_FARTHEST):
            if finding not in self._next:
                return
            finding = self._next[finding]
            yield finding

    def _is_own(self, word: str) -> bool:
        """Say whether a word begins something of its own in a list: "effusion and a nodule in the right lung"."""
        return bool(triggers.BEGINS_ANEW.fullmatch(word)) or bool(side_of_word(word.lower()))

    def _shared(self, finding: Mention) -> tuple[Mention, ...]:
        owner = next((one for one in self._listed(finding) if one in self._owned), None)
        return self._owned[owner] if owner and self._trails(owner) else ()

    def _trails(self, finding: Mention) -> bool:
        """Say whether what belongs to a finding stands behind it, so that a list before it shares it."""
        return all(one.start > finding.start for one in self._owned.get(finding, ()))

    def _before(self, finding: Mention) -> tuple[Mention, ...]:
        """Return what the clause is about: "the liver and the spleen show cysts"."""
        found: list[Mention] = []
        for one in reversed(self._mentions[: self._place[finding]]):
            if self._clause(one.start) != self._clause(finding.start):
                break
            if found and not _JOINED.fullmatch(self._said(one.end, found[-1].start)):
                break
            if not one.is_finding and one not in self._owners and one not in self._landmarks:
                found.append(one)
        return tuple(found)

    def _detached(self, finding: Mention) -> tuple[Mention, ...]:
        """Return what is only put behind: "cyst 2 cm, left kidney"."""
        place = self._place[finding] + 1
        after = self._mentions[place] if place < len(self._mentions) else None
        if after is None or after.is_finding or after in self._landmarks or after in self._owners:
            return ()
        between = self._said(finding.end, after.start)
        follows = _DETACHED.fullmatch(between) and not _VERB_OR_CONJUNCTION.search(between)
        return (after,) if follows and _ENDS_THERE.match(self._text, after.end) else ()

    def _is_apposition(self, first: Mention, second: Mention) -> bool:
        if self._clause(first.start) != self._clause(second.start):
            return False
        behind = [one.end for one in self._owned.get(first, ()) if first.end <= one.start < second.start]
        between = self._said(max([*behind, first.end]), second.start)
        placed = bool(behind) or _LINK_WORD.search(self._said(first.start, first.end))
        if triggers.DOUBTS_AFTER.search(between) or _SAYS_THE_SAME.search(between):
            return True
        anew = _LIST.fullmatch(between) and any(self._is_own(word) for word in WORD.findall(between)[:2])
        joined = _APPOSITION.search(between) or (not placed and _DISTRIBUTED.fullmatch(between))
        return bool(joined) and not anew and not _LANDMARK_BEFORE.search(between)

    @cached_property
    def _loose(self) -> dict[Mention, frozenset[Side]]:
        """Findings with the side words that stand near them."""
        found: dict[Mention, frozenset[Side]] = {}
        following: tuple[_LooseSide, Mention | None] | None = None
        for one in reversed(self._side_words()):
            joined = following and BETWEEN_SIDES.fullmatch(self._text, one.end, following[0].start)
            owner = following[1] if following and joined else self._owner_of_side(one)
            if owner is not None and self._agrees(one.start, one.end, owner):
                found[owner] = found.get(owner, frozenset()) | one.sides
            following = (one, owner)
        return found

    def _side_words(self) -> list[_LooseSide]:
        words = (
            _LooseSide(word.start(), word.end(), side_of_word(word[0].lower())) for word in WORD.finditer(self._text)
        )
        taken = {place for one in self._mentions for place in range(one.start, one.end)}
        # A single letter may be anything: "r/o".
        return [one for one in words if one.sides and one.end - one.start > 1 and one.start not in taken]

    def _owner_of_side(self, side: _LooseSide) -> Mention | None:
        clause = [one for one in self._mentions if self._clause(one.start) == self._clause(side.start)]
        before = next((one for one in reversed(clause) if one.is_finding and one.end <= side.start), None)
        after = next((one for one in clause if one.start >= side.end), None)
        said = self._said(max(side.start - _READ_BACK, 0), side.start)
        if _HEADS.match(self._text, side.end):
            return after if after and after.is_finding else None  # "left: effusion"
        opens = _OPENS_WITH_SIDE.search(said)
        if opens and after and after.is_finding and _LEADS_TO.fullmatch(self._said(side.end, after.start)):
            return after
        if _ON_THE.search(said):
            return before or (after if after and after.is_finding else None)
        if after is not None and _MODIFIES.fullmatch(self._said(side.end, after.start)):
            return after if after.is_finding else None
        return before
