"""Taking a report apart by rules: the sentences, findings and scopes of the library's own report reader."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

from openvocabct_training.reports.items import Decomposition, Item, Polarity, without_repeats
from openvocabct_training.reports.organs import organ_of
from OpenVocabCTLib.prompts.matching import PhraseIndex, phrase_index
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from OpenVocabCTLib.reports import Finding, Sentence, read_report, split_sentences
from OpenVocabCTLib.reports.mentions import Mention, find_mentions
from OpenVocabCTLib.reports.scopes import find_scopes

NAME = "rules"
# Raise it when the rules change, so that their old answers are not taken from a cache.
VERSION = 4
# Between two findings of different polarity the sentence is cut at the last of these.
_CUT = re.compile(r"[,;]|\b(?:but|however|although|though|whereas|while|with|without|and)\b", re.IGNORECASE)
_EDGES = " \t,;:.-"
_AND = re.compile(r"\s*(?:,|/|\band\b|\bor\b|\bnor\b|\bthe\b|\s)+\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Clause:
    """A stretch of a sentence whose findings have one polarity.

    Attributes:
        start, end: in characters of the sentence.
        findings: in it.
    """

    start: int
    end: int
    findings: tuple[Finding, ...]


class RulesBackend:
    """Decomposes reports without a model.

    Args:
        vocabulary: the bundled one by default.
    """

    name = NAME

    def __init__(self, vocabulary: Vocabulary | None = None) -> None:
        self.vocabulary = vocabulary or Vocabulary.load()

    @cached_property
    def identity(self) -> str:
        """Changes with the rules and with the words that they know."""
        words = repr([(concept.id, concept.name, concept.synonyms) for concept in self.vocabulary])
        return f"{NAME} {VERSION} {hashlib.sha256(words.encode()).hexdigest()[:16]}"

    def decompose(self, report: str) -> Decomposition:
        """Take a report apart; whatever it holds, in time linear in its length."""
        findings: dict[Sentence, list[Finding]] = {}
        for finding in read_report(report, self.vocabulary):
            findings.setdefault(finding.sentence, []).append(finding)
        items: list[Item] = []
        dropped = 0
        index = phrase_index(self.vocabulary)
        for sentence in split_sentences(report):
            if sentence.is_background:
                continue
            for clause in _clauses(sentence, findings.get(sentence, [])):
                found = list(self._items(report, sentence, clause, index))
                dropped += not found and bool(clause.findings)
                items += found
        return Decomposition(without_repeats(items), NAME, dropped=dropped)

    def _items(self, report: str, sentence: Sentence, clause: Clause, index: PhraseIndex) -> Iterator[Item]:
        text = sentence.text[clause.start : clause.end]
        mentions = find_mentions(text, self.vocabulary, index)
        organs: dict[str, Polarity] = {}
        for finding in self._reread(clause, text, sentence.text):
            for organ in (*self._organs(finding), *self._listed(finding, text, mentions)):
                organs.setdefault(organ, finding.status)
        if not clause.findings:
            organs = self._described(text, mentions)
        span = sentence.place(report, clause.start, clause.end)
        for organ, polarity in organs.items():
            yield Item(organ, text, polarity, span)

    def _organs(self, finding: Finding) -> Iterator[str]:
        """Yield the organ of a finding: where it lies, or where its name says that it lies."""
        for place in (*finding.structures[:1], finding.concept):
            organ = organ_of(place, finding.side, self.vocabulary)
            if organ is not None:
                yield organ
                return

    def _reread(self, clause: Clause, text: str, whole: str) -> Iterator[Finding]:
        """Yield the findings of a clause with the place and the side that the clause itself gives them.

        A doubt or denial may stand in another clause, so what the sentence says of that counts.
        """
        if text == whole:
            yield from clause.findings
            return
        again: dict[str, dict[str, Finding]] = {}
        for one in read_report(text, self.vocabulary):
            again.setdefault(one.phrase, {})[one.concept.id] = one
        for finding in clause.findings:
            same = again.get(finding.phrase, {})
            own = same.get(finding.concept.id) or next(iter(same.values()), None)
            yield replace(own, status=finding.status) if own is not None and own.structures else finding

    def _listed(self, finding: Finding, text: str, mentions: Sequence[Mention]) -> Iterator[str]:
        """Yield the other organs of a list: "no lesion in the spleen, pancreas or adrenal glands"."""
        named = [one for one in mentions if text[one.start : one.end] == finding.phrase and one.is_finding]
        anatomy = [one for one in mentions if not one.is_finding]
        if named and self._within(named[0], finding):
            listed = [named[0], *(one for one in anatomy if one.start >= named[0].end)]
        else:
            first = next((place for place, one in enumerate(anatomy) if one.concept in finding.structures[:1]), None)
            listed = [] if first is None else anatomy[first:]
        for one, other in pairwise(listed):
            if not _AND.fullmatch(text[one.end : other.start]):
                return
            organ = organ_of(other.concept, other.concept.side, self.vocabulary)
            if organ is not None:
                yield organ

    def _within(self, mention: Mention, finding: Finding) -> bool:
        """Say whether the words of a finding name its organ too: "lesion in the spleen"."""
        return any(one.id in mention.concept.part_of for one in finding.structures[:1])

    def _described(self, text: str, mentions: Sequence[Mention]) -> dict[str, Polarity]:
        """Return the organs that a clause without findings describes: "the liver is of normal size"."""
        scopes = find_scopes(text)
        organs: dict[str, Polarity] = {}
        for mention in mentions:
            organ = organ_of(mention.concept, mention.concept.side, self.vocabulary)
            if organ is not None:
                organs.setdefault(organ, scopes.status(mention.start, mention.end))
        return organs


def _clauses(sentence: Sentence, findings: Sequence[Finding]) -> Iterator[Clause]:
    """Cut a sentence where the polarity of its findings changes."""
    ordered = sorted(findings, key=lambda finding: finding.start)
    start, group = 0, list[Finding]()
    for finding in ordered:
        if group and finding.status != group[-1].status:
            between = sentence.text[group[-1].end : finding.start]
            cuts = list(_CUT.finditer(between))
            cut = group[-1].end + (cuts[-1].start() if cuts else len(between))
            yield _trimmed(sentence.text, start, cut, group)
            start, group = cut, []
        group.append(finding)
    clause = _trimmed(sentence.text, start, len(sentence.text), group)
    if clause.end > clause.start:
        yield clause


def _trimmed(text: str, start: int, end: int, findings: Sequence[Finding]) -> Clause:
    while start < end and text[start] in _EDGES:
        start += 1
    while end > start and text[end - 1] in " \t,;:-":
        end -= 1
    return Clause(start, end, tuple(findings))
