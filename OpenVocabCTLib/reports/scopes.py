"""Which words of a sentence are denied, and which are only suspected.

After the idea of NegEx (Chapman et al., J Biomed Inform 2001;34:301): a trigger reaches forwards or backwards until a
word that ends its scope.  Words and rules are our own.  What could be read either way is uncertain.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from OpenVocabCTLib.reports import triggers

Status = Literal["present", "uncertain", "absent"]
Span = tuple[int, int]

# Nothing is looked for further on, which bounds the time for hostile input.
LONGEST_SENTENCE = 2000


@dataclass(frozen=True)
class Scopes:
    """Stretches of one sentence, in characters.

    Attributes:
        absent: denied.
        uncertain: suspected.
        clauses: the commas and conjunctions after which it speaks of something else.
    """

    absent: tuple[Span, ...]
    uncertain: tuple[Span, ...]
    clauses: tuple[Span, ...]

    def status(self, start: int, end: int) -> Status:
        """Say what the sentence says of the words from `start` to `end`; a doubt weighs more than a denial."""
        if any(first <= start and end <= last for first, last in self.uncertain):
            return "uncertain"
        return "absent" if any(first <= start and end <= last for first, last in self.absent) else "present"


def find_scopes(sentence: str) -> Scopes:
    """Find what a sentence denies and what it suspects."""
    text = sentence[:LONGEST_SENTENCE]
    clear = _spans(triggers.CLEAR_ENDS, text)
    clauses = _new_clauses(text, clear)
    ends = [*clear, *clauses]
    harmless = _spans(triggers.HARMLESS, text)
    forward = [span for span in _spans(triggers.DENIES_AFTER, text) if not _overlaps(span, harmless)]
    doubts_before = _spans(triggers.DOUBTS_BEFORE, text)
    doubts_after = [
        span for span in _spans(triggers.DOUBTS_AFTER, text) if not _is_denied_suspicion(text, span, forward, ends)
    ]
    skipped = [*harmless, *doubts_before, *doubts_after]
    absent = [match.span(1) for match in triggers.TAKEN_OUT.finditer(text)]
    absent += [span for span in _spans(triggers.GROWTH, text) if _overlaps(span, harmless)]
    uncertain: list[Span] = []
    used = _denied_before(text, ends, skipped, absent, uncertain)
    for span in forward:
        if not _overlaps(span, [*doubts_before, *doubts_after, *used]):
            _split_list(text, span[1], _next_end(span[1], ends, len(text)), absent, uncertain)
    denials = [*ends, *(_with_comma(text, span) for span in forward)]
    uncertain += [_onwards(text, last, denials) for _, last in doubts_after]
    for span in doubts_before:
        is_first = _opens(text, span, ends)
        uncertain.append(_onwards(text, span[1], ends) if is_first else (_begin(text, span[0], ends), span[0]))
    return Scopes(tuple(absent), tuple(uncertain), tuple(clauses))


def _new_clauses(text: str, clear: Sequence[Span]) -> list[Span]:
    """Return the commas and conjunctions after which a sentence speaks of something else.

    Not those of a list with one verb: "nodules, cysts and effusions are not seen".
    """
    found: list[Span] = []
    for match in triggers.NEW_CLAUSE.finditer(text):
        begin = max((last for _, last in [*clear, *found] if last <= match.start()), default=0)
        shared = triggers.SHARED_VERB.match(text, match.end())
        is_list = shared and (match[0] != "," or triggers.AND.search(shared["list"]))
        if not is_list or triggers.VERB.search(text, begin, match.start()):
            found.append(match.span())
    return found


def _denied_before(
    text: str, ends: Sequence[Span], skipped: Sequence[Span], absent: list[Span], uncertain: list[Span]
) -> list[Span]:
    """Add what triggers deny that stand behind it; return those triggers."""
    used = [span for span in _spans(triggers.DENIES_BEFORE, text) if not _overlaps(span, skipped)]
    bare = [span for span in _spans(triggers.DENIES_AROUND, text) if not _overlaps(span, [*skipped, *used])]
    for span in (*used, *bare):
        phrase = triggers.NOUN_PHRASE_END.search(text, span[1])
        if span in bare and not triggers.PREDICATE_FOLLOWED_BY.match(text, span[1]):
            absent.append((span[1], phrase.start() if phrase else len(text)))  # "resolved pneumothorax, small effusion"
        elif _opens(text, span, ends):
            absent.append(_onwards(text, span[1], ends))  # "no longer seen is the left lung nodule"
        else:
            _reach_back(text, span, ends, absent, uncertain)
    return [*used, *bare]


def _reach_back(text: str, trigger: Span, ends: Sequence[Span], absent: list[Span], uncertain: list[Span]) -> None:
    """Deny what stands before a trigger; of "liver cyst, hemangioma not seen" only the last is sure to be denied."""
    end = _antecedent_end(text, trigger[0])
    begin = _begin(text, trigger[0], ends)
    if triggers.ONE_SIDE.match(text, trigger[1]):
        uncertain.append((begin, end))
        return
    comma = text.rfind(",", begin, end)
    if "," in text[begin : max(comma, begin)] and text[comma:end].strip() == "," and _is_verb(text, trigger[0]):
        comma = -1  # "the cyst, seen previously, is not seen"
    if comma < 0 or re.search(r"\b(?:and|or|nor)\b", text[comma:end], re.IGNORECASE):
        absent.append((begin, end))
    else:
        absent.append((comma, end))
        uncertain.append((begin, comma))
    attached = re.search(r"\bwith\s*\Z", text[:begin], re.IGNORECASE)
    if attached and _is_verb(text, trigger[0]):
        # "The mass with calcification is no longer seen": both may be gone.
        uncertain.append((_begin(text, attached.start(), ends), attached.start()))


def _is_verb(text: str, trigger: int) -> bool:
    return triggers.SENTENCE_VERB.match(text, trigger) is not None


def _split_list(text: str, start: int, end: int, absent: list[Span], uncertain: list[Span]) -> None:
    """Deny from `start` on, up to what is there or may be there: "no pneumonia, stable nodule in the right lung"."""
    breaks = [match.span() for match in triggers.LIST_BREAK.finditer(text, start, end)]
    unspecific = bool(breaks) and triggers.UNSPECIFIC.search(text[start : breaks[0][0]]) is not None
    for place, (first, last) in enumerate(breaks):
        item = text[last : breaks[place + 1][0] if place + 1 < len(breaks) else end]
        if triggers.DENIED_AGAIN.match(item) or triggers.LIST_GOES_ON.search(text, last, end) or not item.strip():
            continue
        after_comma = text[first:last].lower() != "and"
        if triggers.IS_THERE.search(item) or (after_comma and triggers.IS_THERE_AFTER_COMMA.search(item)):
            absent.append((start, first))
            return
        if triggers.MAY_BE_THERE.search(item) or unspecific:
            absent.append((start, first))
            uncertain.append((first, end))
            return
    absent.append((start, end))


def _is_denied_suspicion(text: str, doubt: Span, denials: Sequence[Span], ends: Sequence[Span]) -> bool:
    """Say whether a denial reaches a suspicion: "no findings suspicious for metastasis"."""
    if not triggers.SUSPECTS.match(text, doubt[0]):
        return False
    last = max((end for _, end in denials if end <= doubt[0]), default=-1)
    return last >= 0 and "," not in text[last : doubt[0]] and _next_end(last, ends, len(text)) >= doubt[0]


def _antecedent_end(text: str, trigger: int) -> int:
    """Return where the words end that a trigger behind them speaks of: before "which" in "a nodule, which is gone"."""
    relative = triggers.RELATIVE.search(text, 0, trigger)
    return relative.start() if relative else trigger


def _begin(text: str, trigger: int, ends: Iterable[Span]) -> int:
    """Return where the words begin that a trigger behind them speaks of."""
    place = _antecedent_end(text, trigger)
    return max((last for _, last in ends if last <= place), default=0)


def _opens(text: str, trigger: Span, ends: Iterable[Span]) -> bool:
    """Say whether no word stands before a trigger in its clause."""
    return not re.search(r"\w", text[_begin(text, trigger[0], ends) : trigger[0]])


def _onwards(text: str, place: int, ends: Sequence[Span]) -> Span:
    """Return the stretch after a trigger that stands first: "ruled out: pulmonary embolism"."""
    colon = re.compile(r"\s*:").match(text, place)
    start = colon.end() if colon else place
    return start, _next_end(start, ends, len(text))


def _next_end(place: int, ends: Iterable[Span], length: int) -> int:
    return min((first for first, _ in ends if first >= place), default=length)


def _with_comma(text: str, span: Span) -> Span:
    """Return a denial with the comma or "and" before it, which ends what is suspected; elsewhere an empty stretch."""
    before = re.search(r"(?:,|\band)\s*\Z", text[: span[0]], re.IGNORECASE)
    return (before.start(), span[1]) if before else (0, 0)


def _spans(pattern: re.Pattern[str], text: str) -> list[Span]:
    return [match.span() for match in pattern.finditer(text)]


def _overlaps(span: Span, others: Iterable[Span]) -> bool:
    return any(span[0] < last and first < span[1] for first, last in others)
