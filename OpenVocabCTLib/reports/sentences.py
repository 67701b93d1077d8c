"""Splitting a report into its sections and sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from OpenVocabCTLib.prompts.matching import phrase_index
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from OpenVocabCTLib.reports.mentions import find_mentions

# What is asked, how it was done and what it is compared with: nothing that these say need be in this scan.
BACKGROUND_SECTIONS = frozenset(
    {
        *("indication", "indications", "clinical", "history", "hx", "pmh", "past medical history", "medical history"),
        *("surgical history", "past surgical history", "family history", "social history", "symptoms", "request"),
        *("reason", "technique", "procedure", "comparison", "comparisons", "comparison study", "prior studies"),
        *("previous studies", "protocol", "contrast", "exam", "examination", "study", "question", "dose"),
        *("recommendation", "recommendations", "ruled out", "rule out", "excluded", "not excluded"),
    }
)
_BACKGROUND_BEGINNINGS = ("clinical ", "reason for ", "indication for ", "indications for ")
# What looks like a heading and says how sure a finding is.
_DOUBTS = frozenset(
    {"ddx", "differential", "differentials", "differential diagnosis", "differential diagnoses", "possible", "probable"}
    | {"suspected", "query", "likely"}
)
# Headings stand on a line with a colon; some also on a line of their own, or after a full stop in a line.
_ALONE = (
    r"findings|impression|conclusion|opinion|results?|report|indication|technique|comparison|history|"
    r"(?:clinical|medical|past\s+medical|surgical|family)\s+(?:history|indication|information|details)"
)
_HEADING = re.compile(
    r"(?:\A|(?<=\n))[ \t]*([A-Za-z][A-Za-z /]{2,40}|hx):"
    rf"|(?:\A|(?<=\n))[ \t]*({_ALONE})[ \t]*(?=\n)"
    r"|(?<=[.!?])[ \t]+(findings|impression|conclusion|technique|comparison|indication|clinical history):",
    re.IGNORECASE,
)
_BULLETS = "-*\u2022\u25aa\u25e6\u25cb\u25cf\u25a0\u25ba\u25b6\u00b7>+\u2013\u2014"
_BULLET = (
    rf"\n[ \t]*(?:[{_BULLETS}]+(?:[ \t]+|(?=[^\W\d]|\[))|\(?\d{{1,2}}[.)](?:[ \t]+|(?=[^\W\d]))|\(?[a-z][.)][ \t]+)"
    r"|[ \t][\u2022\u25aa\u25e6\u25cb\u25cf\u25a0\u25ba\u25b6][ \t]|(?<=\s)\(\d{1,2}\)[ \t]+"
)
# The full stop of "1.2 cm", "Dr. Who" and "No. 3" ends nothing, nor does the sign of "? embolism" and the full stop of
# "2 cm. in the liver"; an empty line and a bullet do, and so may the end of a line.
_NEXT = r"(?=[\"'(\[]?\w)(?!(?:in|of|at|on|to|from|by|with|within|and|or|nor|which|that|is|are|was|were)\b)"
_END = re.compile(
    rf"(?:(?:(?<=[.!])|(?<=\S\?))(?<!\b[A-Za-z]\.)[\"')\]]*\s+{_NEXT}|(?<=[a-z]{{3}}\.)(?=[A-Z][a-z]|[a-z]{{3}})"
    rf"|(?<=\S)\s+(?P<said>period|full\s+stop)\b[.]?(?:\s+|\Z)"
    rf"|{_BULLET}|(?<=;)\s*\n|(?P<line>(?<![ \t])[ \t]*\n[ \t]*{_NEXT}))"
)
_ABBREVIATIONS = re.compile(
    r"\b(?:dr|mr|mrs|ms|prof|approx|ca|cf|e\.g|i\.e|vs|resp|incl|excl|max|min|ant|post|sup|inf|lat|med|prox|dist|lt|rt|"
    r"st|bilat|mod|diam|susp|poss|prob|abd|pulm|thor|lumb|cerv|vert|seg|art|asc|desc|calc|sm|lg)\.$",
    re.IGNORECASE,
)
# "Effusion period" was dictated; "over this time period" and "a period of two years" tell a time.
_A_TIME = re.compile(
    r"\b(?:an?|the|this|that|same|time|interval|follow-?\s?up|\w*operative|study|observation|year|month|week|day|brief|"
    r"short|long|early|late|same|each|per|previous|prior|acute|latent|waiting|gestational|neonatal|menstrual)\Z",
    re.IGNORECASE,
)
_OF_A_TIME = re.compile(r"(?:of|between|from|since|for|in|during|after|before|was|is|has)\b", re.IGNORECASE)
_BEFORE_NUMBERS = re.compile(r"\b(?:no|nr|fig|im|se)\.$", re.IGNORECASE)
# Lines after which a sentence goes on, those that begin one, and what tells sentences from a list without full stops.
_GOES_ON = re.compile(
    r"(?:[,(/&]|\b(?:an?|the|this|that|these|its|of|in|on|at|to|for|from|by|with|without|within|non|and|or|nor|but|"
    r"is|are|was|were|be|been|has|have|per|as|than|into|between|which|new|small|large|acute|left|right|both))\s*\Z",
    re.IGNORECASE,
)
# "Pneumothorax no" is all, "there is no" is not.
_NO_GOES_ON = re.compile(
    r"(?:\A\W*|\b(?:is|are|was|were|has|have|had|shows?|demonstrates?|reveals?|contains?|there|with|but|and)\b[^.;:]*)"
    r"\b(?:no|not)\s*\Z",
    re.IGNORECASE,
)
_ENDS_WITH_NO = re.compile(r"\bnot?\s*\Z", re.IGNORECASE)
_BEGINS = re.compile(r"[\"'(\[]?(?:[A-Z][a-z]|\d{1,2}[ \t]+[A-Z])")
# What ends a line on other computers and in documents.
_NEW_LINES = dict.fromkeys(map(ord, "\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"), "\n")
_BLANK = re.compile(r"\n\s*\n")
_STOP = re.compile(r"[.!?](?:\s|\Z)")
_LONGEST_OF_LIST = 60
_FEWEST_LINES = 3


@dataclass(frozen=True)
class Sentence:
    """One sentence of a report.

    Attributes:
        text: as written, white space collapsed.
        start, end: where it stands in the report, in characters.
        section: heading in lower case, "" before the first.
    """

    text: str
    start: int
    end: int
    section: str

    @property
    def is_background(self) -> bool:
        """Whether its section says why or how the scan was made, not what it shows."""
        return self.section in BACKGROUND_SECTIONS or self.section.startswith(_BACKGROUND_BEGINNINGS)

    def place(self, report: str, start: int, end: int) -> tuple[int, int]:
        """Return where characters of `text` stand in the report that it was split from.

        Args:
            report: that report.
            start: first character of a stretch of `text`.
            end: last+1 character of it.
        """
        places: list[int] = []
        before_is_space = False
        for index in range(self.start, self.end):
            is_space = report[index].isspace()
            if not (is_space and before_is_space):
                places.append(index)  # a run of white space is one character of `text`
            before_is_space = is_space
        return places[start], places[end - 1] + 1 if end > start else places[start]


def split_sentences(report: str) -> tuple[Sentence, ...]:
    """Split a report, in time linear in its length.

    Args:
        report: plain text; lines may be wrapped anywhere.
    """
    lines = report.replace("\r\n", " \n").translate(_NEW_LINES)  # of the same length
    return tuple(
        sentence for start, end, section in _sections(lines) for sentence in _of_section(lines, start, end, section)
    )


def _sections(report: str) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and heading of every section."""
    named = (
        (heading, " ".join(heading[heading.lastindex or 1].lower().split())) for heading in _HEADING.finditer(report)
    )
    headings = [(heading, name) for heading, name in named if name not in _DOUBTS and not _names_finding(name)]
    first = headings[0][0].start() if headings else len(report)
    yield 0, first, ""
    for place, (heading, name) in enumerate(headings, 1):
        end = headings[place][0].start() if place < len(headings) else len(report)
        yield heading.end(), end, name


@lru_cache(maxsize=1024)
def _names_finding(heading: str) -> bool:
    """Tell whether a heading says something of the scan itself: "Pleural effusion: small, left", "Two nodules: ..."."""
    vocabulary = Vocabulary.load()
    return any(mention.is_finding for mention in find_mentions(heading, vocabulary, phrase_index(vocabulary)))


def _of_section(report: str, start: int, end: int, section: str) -> Iterator[Sentence]:
    for begin, last in _paragraphs(report, start, end):
        is_list = _STOP.search(report, begin, last) is None and report.count("\n", begin, last) >= _FEWEST_LINES - 1
        for break_ in _END.finditer(report, begin, last):
            if not _is_end(report, begin, break_, is_list):
                continue
            yield from _sentence(report, begin, break_.start(), section)
            begin = break_.end()
        yield from _sentence(report, begin, last, section)


def _paragraphs(report: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    for blank in _BLANK.finditer(report, start, end):
        yield start, blank.start()
        start = blank.end()
    yield start, end


def _is_end(report: str, begin: int, break_: re.Match[str], is_list: bool) -> bool:
    """Tell whether a sentence ends where it may.

    Args:
        report: the whole one.
        begin: of the sentence.
        break_: where it may end.
        is_list: whether no sentence around it ends with a full stop.
    """
    last = max(begin, break_.start() - 8)
    if break_["said"]:
        before = max(begin, break_.start() - _LONGEST_OF_LIST)
        return not (_A_TIME.search(report, before, break_.start()) or _OF_A_TIME.match(report, break_.end()))
    if break_["line"] is None:
        is_number = report[break_.end() : break_.end() + 1].isdecimal()
        return not (
            _ABBREVIATIONS.search(report, last, break_.start())
            or (is_number and _BEFORE_NUMBERS.search(report, last, break_.start()))
        )
    line = report[max(begin, report.rfind("\n", begin, break_.start()) + 1) : break_.start()]
    end_of_line = line[-_LONGEST_OF_LIST:]
    if _GOES_ON.search(end_of_line) or _NO_GOES_ON.search(end_of_line):
        return False
    begins = _BEGINS.match(report, break_.end()) is not None
    # "Pneumothorax no" is all, "there is no" is not, and only the next line tells.
    return begins or (is_list and len(line) < _LONGEST_OF_LIST and not _ENDS_WITH_NO.search(end_of_line))


def _sentence(report: str, start: int, end: int, section: str) -> Iterator[Sentence]:
    while start < end and (report[start].isspace() or report[start] in _BULLETS):
        start += 1
    while end > start and report[end - 1].isspace():
        end -= 1
    kept = report[start:end]
    if any(character.isalpha() for character in kept):
        yield Sentence(" ".join(kept.split()), start, end, section)
