"""Splitting a report into its sections and sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# What is asked, how it was done and what it is compared with: nothing that these say need be in this scan.
BACKGROUND_SECTIONS = frozenset(
    {
        *("indication", "clinical indication", "history", "clinical history", "clinical information", "clinical data"),
        *(
            "reason for exam",
            "reason for examination",
            "technique",
            "procedure",
            "comparison",
            "comparisons",
            "protocol",
        ),
        *("contrast", "exam", "examination", "study", "question", "clinical question", "dose", "recommendation"),
        *("recommendations", "ruled out", "rule out", "excluded", "not excluded"),
    }
)
_BULLETS = "-*\u2022"
_HEADING = re.compile(r"(?:\A|(?<=\n))[ \t]*([A-Za-z][A-Za-z /]{2,40}):", re.MULTILINE)
_BULLET = r"\n[ \t]*(?:[-*\u2022\u2013]|\(?\d{1,2}[.)])[ \t]+"
# The full stop of "1.2 cm", "Dr. Who" and "No. 3" ends nothing; a line that begins with a capital after one that is
# complete, an empty line and a bullet do.
_END = re.compile(rf"(?:(?<=[.!?])(?<!\b[A-Z]\.)[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9])|\n\s*\n|{_BULLET}|(?<=;)\s*\n)")
_ABBREVIATIONS = re.compile(
    r"\b(?:dr|mr|mrs|ms|prof|approx|ca|cf|e\.g|i\.e|vs|no|nr|fig|im|se|resp|incl|max|min|ant|post|sup|inf|lt|rt|st)\.$",
    re.IGNORECASE,
)


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
        return self.section in BACKGROUND_SECTIONS

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
    return tuple(
        sentence for start, end, section in _sections(report) for sentence in _of_section(report, start, end, section)
    )


def _sections(report: str) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and heading of every section."""
    headings = list(_HEADING.finditer(report))
    first = headings[0].start() if headings else len(report)
    yield 0, first, ""
    for place, heading in enumerate(headings, 1):
        end = headings[place].start() if place < len(headings) else len(report)
        yield heading.end(), end, " ".join(heading[1].lower().split())


def _of_section(report: str, start: int, end: int, section: str) -> Iterator[Sentence]:
    begin = start
    for break_ in _END.finditer(report, start, end):
        if _ABBREVIATIONS.search(report, max(begin, break_.start() - 8), break_.start()):
            continue
        yield from _sentence(report, begin, break_.start(), section)
        begin = break_.end()
    yield from _sentence(report, begin, end, section)


def _sentence(report: str, start: int, end: int, section: str) -> Iterator[Sentence]:
    while start < end and _is_edge(report[start]):
        start += 1
    while end > start and _is_edge(report[end - 1]):
        end -= 1
    kept = report[start:end]
    if any(character.isalpha() for character in kept):
        yield Sentence(" ".join(kept.split()), start, end, section)


def _is_edge(character: str) -> bool:
    """Whether a character at an end of a sentence is none of it; all that `split` takes for white space is not."""
    return character.isspace() or character in _BULLETS
