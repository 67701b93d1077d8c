"""Which words of a sentence are denied, and which are only suspected.

After the idea of NegEx (Chapman et al., J Biomed Inform 2001;34:301): a trigger reaches forwards or backwards until a
word that ends its scope.  Words and rules are our own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Status = Literal["present", "uncertain", "absent"]

_SEEN = r"(?:seen|identified|present|visuali[sz]ed|evident|demonstrated|detected|appreciated|noted|found|observed)"
# Negated, but not what they stand before: "no change of the nodule".
_HARMLESS = re.compile(
    r"\b(?:no|without|not)\s+(?:(?:significant|interval|substantial|appreciable|definite|further)\s+)*"
    r"(?:changes?|changed|increase[ds]?|decrease[ds]?|enlargement|growth|progression|enlarged)\b"
    r"|\bnot\s+only\b|\bno\s+doubt\b|\bunchanged\b",
    re.IGNORECASE,
)
_DENIES_AFTER = re.compile(
    r"\b(?:no|without|not|negative\s+for|free\s+(?:of|from)|(?:absence|lack)\s+of|neither|nor|never|resolution\s+of|"
    r"ruled?\s+out|rather\s+than|instead\s+of|resected|status\s+post\s+resection\s+of)\b",
    re.IGNORECASE,
)
_DENIES_BEFORE = re.compile(
    rf"\b(?:(?:is|are|was|were|has\s+been|have\s+been)\s+(?:not|no\s+longer)\s+{_SEEN}|not\s+{_SEEN}|"
    rf"(?:is|are)\s+(?:\w+ly\s+)?absent|(?:has|have)\s+resolved|(?:is|are|was|were)\s+(?:ruled\s+out|excluded))\b",
    re.IGNORECASE,
)
_DOUBTS_AFTER = re.compile(
    r"\b(?:possibl[ey]|probabl[ey]|likely|suspicious\s+(?:for|of)|suspected|suspicion\s+of|suggest(?:ive\s+of|ing|s)?|"
    r"(?:may|might|could)\s+(?:represent|be|reflect|indicate)|(?:cannot|can\s?not|can't)\s+(?:be\s+)?exclude|"
    r"concern(?:ing)?\s+for|questionable|presumed|presumably|versus|vs|differential)\b",
    re.IGNORECASE,
)
_DOUBTS_BEFORE = re.compile(
    r"\b(?:(?:cannot|can\s?not|can't)\s+be\s+(?:excluded|ruled\s+out)|not\s+excluded|(?:is|are)\s+(?:possible|suspected|"
    r"questionable|likely|favou?red))\b",
    re.IGNORECASE,
)
_ENDS = re.compile(
    r"[;:]|\b(?:but|however|although|though|except|apart\s+from|aside\s+from|other\s+than|besides|yet|whereas|while|"
    r"there\s+(?:is|are)|with(?!out)|which|because)\b"
    r"|\band\b(?=[^,;]*\b(?:is|are|was|were|shows?|demonstrates?|has|have|measures?|measuring|contains?)\b)"
    r"|,(?=[^,;]*\b(?:is|are|was|were|shows?|demonstrates?|has|have|measures?|contains?)\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Scopes:
    """Stretches of one sentence, in characters.

    Attributes:
        absent: denied.
        uncertain: suspected.
    """

    absent: tuple[tuple[int, int], ...]
    uncertain: tuple[tuple[int, int], ...]

    def status(self, start: int, end: int) -> Status:
        """Say what the sentence says of the words from `start` to `end`; a doubt weighs more than a denial."""
        if any(first <= start and end <= last for first, last in self.uncertain):
            return "uncertain"
        return "absent" if any(first <= start and end <= last for first, last in self.absent) else "present"


def find_scopes(sentence: str) -> Scopes:
    """Find what a sentence denies and what it suspects."""
    harmless = [match.span() for match in _HARMLESS.finditer(sentence)]
    doubted = [match.span() for pattern in (_DOUBTS_AFTER, _DOUBTS_BEFORE) for match in pattern.finditer(sentence)]
    ends = [match.span() for match in _ENDS.finditer(sentence)]
    length = len(sentence)
    absent = (
        *_forwards(_DENIES_AFTER, sentence, ends, [*harmless, *doubted], length),
        *_backwards(_DENIES_BEFORE, sentence, ends, doubted),
    )
    uncertain = (*_forwards(_DOUBTS_AFTER, sentence, ends, [], length), *_backwards(_DOUBTS_BEFORE, sentence, ends, []))
    return Scopes(absent, uncertain)


Span = tuple[int, int]


def _forwards(
    trigger: re.Pattern[str], text: str, ends: list[Span], skipped: list[Span], length: int
) -> Iterator[Span]:
    for match in trigger.finditer(text):
        if not _overlaps(match.span(), skipped):
            yield match.end(), min((end for end, _ in ends if end >= match.end()), default=length)


def _backwards(trigger: re.Pattern[str], text: str, ends: list[Span], skipped: list[Span]) -> Iterator[Span]:
    for match in trigger.finditer(text):
        if not _overlaps(match.span(), skipped):
            yield max((last for _, last in ends if last <= match.start()), default=0), match.start()


def _overlaps(span: Span, others: list[Span]) -> bool:
    return any(span[0] < last and first < span[1] for first, last in others)
