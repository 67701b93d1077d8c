"""Is a statement that a model made in the report?  What is not is rejected, however plausible it sounds."""

from __future__ import annotations

import re

from openvocabct_training.reports.items import Item, Polarity
from openvocabct_training.reports.organs import organ_of, pair_of
from OpenVocabCTLib.prompts.concepts import Side
from OpenVocabCTLib.prompts.laterality import split_side
from OpenVocabCTLib.prompts.matching import phrase_index
from OpenVocabCTLib.prompts.normalise import tokens
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from OpenVocabCTLib.reports import read_report, split_sentences
from OpenVocabCTLib.reports.mentions import find_mentions

_WORD = re.compile(r"\d+(?:[.,]\d+)?|[^\W\d_]+")
_SHORTEST_QUOTE = 3
# Words that may join what a quote says into a caption; none of them says anything of the patient.
_JOINING = frozenset(
    {"the", "a", "an", "of", "in", "on", "at", "is", "are", "was", "were", "with", "and", "or", "to", "there", "has",
     "have", "by", "for", "its", "this", "that", "which", "be", "been", "it", "seen", "noted", "present", "shows",
     "from"}
)  # fmt: skip
_NEGATIONS = frozenset({"no", "not", "without", "absent", "negative", "free", "never", "none", "nor", "neither"})


class Grounding:
    """Checks statements against their reports.

    Args:
        vocabulary: the bundled one by default.
    """

    def __init__(self, vocabulary: Vocabulary | None = None) -> None:
        self.vocabulary = vocabulary or Vocabulary.load()

    def item(self, report: str, organ: str, text: str, polarity: Polarity, quote: str) -> Item | None:
        """Return the statement with its place in the report, or None if it is not grounded there.

        It is grounded if the quote stands in the report (letter case and white space apart), if the text says nothing
        that the quote does not say (its words and numbers are the quote's, the organ's or joining ones, and it denies
        what the quote denies), if the polarity is not the opposite of what the report says there, and if the sentence,
        with its heading, says the organ's side and does not speak of other organs only.

        Args:
            report: the whole report.
            organ: id of the closed list.
            text: the statement.
            polarity: as the model has it.
            quote: the words of the report that it was made from.
        """
        span = locate(quote, report)
        if span is None or not text.strip():
            return None
        quoted = report[slice(*span)]
        if not self._entails(quoted, organ, text) or not self._polarity_holds(report, span, polarity):
            return None
        if not self._speaks_of(report, span, organ):
            return None
        return Item(organ, " ".join(text.split()), polarity, span)

    def holds(self, report: str, item: Item) -> bool:
        """Say whether a finished item stands in the report: its span is there, and gives every word of its text."""
        start, end = item.source_span
        if not 0 <= start < end <= len(report):
            return False
        return self._entails(report[start:end], item.organ, item.text)

    def _entails(self, quoted: str, organ: str, text: str) -> bool:
        said, stated = set(_words(quoted)), set(_words(text))
        concept = self.vocabulary.get(organ)
        names = {word for phrase in self.vocabulary.phrases(concept) for word in _words(phrase)}
        if stated & {"left", "right"} - said:
            return False
        new = stated - said - names - _JOINING
        return not new and bool(stated & _NEGATIONS) == bool(said & _NEGATIONS)

    def _polarity_holds(self, report: str, span: tuple[int, int], polarity: Polarity) -> bool:
        """Say whether any finding in the quote has this polarity; a quote without findings cannot contradict it."""
        said = {
            finding.status
            for finding in read_report(report, self.vocabulary)
            if finding.sentence.start < span[1] and span[0] < finding.sentence.end
            and _overlap(finding.sentence.place(report, finding.start, finding.end), span)
        }  # fmt: skip
        return not said or polarity in said

    def _speaks_of(self, report: str, span: tuple[int, int], organ: str) -> bool:
        index = phrase_index(self.vocabulary)
        named: set[str] = set()
        sides: set[Side] = set()
        for sentence in split_sentences(report):
            if not _overlap((sentence.start, sentence.end), span):
                continue
            for text in (sentence.text, sentence.section):
                sides |= set(split_side(tokens(text)).sides)
                for mention in find_mentions(text, self.vocabulary, index):
                    found = organ_of(mention.concept, mention.concept.side, self.vocabulary)
                    if found is not None:
                        named.add(pair_of(found, self.vocabulary))
        side = self.vocabulary.get(organ).side
        if side is not Side.NONE and side not in sides:
            return False
        return not named or pair_of(organ, self.vocabulary) in named


def locate(quote: str, report: str) -> tuple[int, int] | None:
    """Find a quote in a report, letter case and white space apart; None if it is not there."""
    parts = quote.split()
    if sum(character.isalnum() for character in quote) < _SHORTEST_QUOTE:
        return None
    match = re.search(r"\s+".join(re.escape(part) for part in parts), report, re.IGNORECASE)
    return match.span() if match else None


def _words(text: str) -> list[str]:
    return [word.lower().replace(",", ".") for word in _WORD.findall(text)]


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]
