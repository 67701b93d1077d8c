"""What a report says is in the scan: finding, side, structure, and the sentence that says so."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from OpenVocabCTLib.prompts.concepts import Concept, Side
from OpenVocabCTLib.prompts.laterality import UNSAID, SidedWords, only_side, split_side
from OpenVocabCTLib.prompts.matching import PhraseIndex, phrase_index
from OpenVocabCTLib.prompts.normalise import tokens
from OpenVocabCTLib.prompts.parsing import PromptSet
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from OpenVocabCTLib.reports.languages import is_foreign
from OpenVocabCTLib.reports.mentions import Mention, find_mentions
from OpenVocabCTLib.reports.places import Places
from OpenVocabCTLib.reports.scopes import Status, find_scopes
from OpenVocabCTLib.reports.sentences import Sentence, split_sentences

# What goes on without the name of the finding.
_OTHER_SIDE = re.compile(
    r"[,;]\s*(?:and\s+|but\s+)?(?:(?:small|tiny|trace|minimal|mild|moderate|large|severe|new|some|still|stable|unchanged)\s+)*"
    r"(?:on\s+the\s+)?(?P<side>left|right)(?:\s+side)?(?:\s+(?:persists|remains|is\s+stable|unchanged|stable|present|yes))?"
    r"\s*(?:\Z|[.,;])",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Finding:
    """One finding of a report.

    Attributes:
        sentence: where it is said.
        phrase: the words that name it, as written.
        concept: what it is, as closely as the sentence tells ("lesion" of the liver is a liver lesion).
        side: of the patient, none where nothing is said or it has no side.
        structures: anatomy that the sentence names with it, the nearest first.
        region: where in the body, as `Concept.region`.
        status: "present", "uncertain" or "absent".
        start, end: where the phrase stands in the text of the sentence, in characters.
    """

    sentence: Sentence
    phrase: str
    concept: Concept
    side: Side
    structures: tuple[Concept, ...]
    region: tuple[str, ...]
    status: Status
    start: int
    end: int

    @property
    def prompts(self) -> tuple[str, ...]:
        """What to segment to see it: the finding on its side, and the structure that it is in; none where absent."""
        if self.status == "absent":
            return ()
        name = self.concept.name
        sided = f"{self.side.value} {name}"
        if (
            self.side is not Side.NONE
            and self.concept.side is Side.NONE
            and PromptSet.parse([sided])[0].match != "unclear"
        ):
            name = sided
        return tuple(dict.fromkeys((name, *(structure.name for structure in self.structures[:1]))))


def read_report(report: str, vocabulary: Vocabulary | None = None) -> tuple[Finding, ...]:
    """Find what a report says is there, is suspected, or is not there.

    Sections that tell why or how the scan was made are left out, and so are sentences that are not in English. Only
    findings and objects of the vocabulary are found.

    Args:
        report: plain text.
        vocabulary: the bundled one by default.
    """
    known = vocabulary or Vocabulary.load()
    index = phrase_index(known)
    return tuple(
        finding
        for sentence in split_sentences(report)
        if not sentence.is_background and not is_foreign(sentence.text)
        for finding in _of_sentence(sentence, known, index)
    )


def _of_sentence(sentence: Sentence, vocabulary: Vocabulary, index: PhraseIndex) -> Iterator[Finding]:
    mentions = find_mentions(sentence.text, vocabulary, index)
    if not any(mention.is_finding for mention in mentions):
        return
    scopes = find_scopes(sentence.text)
    places = Places(sentence.text, mentions, scopes)
    heading = _of_heading(sentence.section, index)
    heading_sides = split_side(tokens(sentence.section))
    for mention, near in _each_place(sentence.text, mentions, places, vocabulary, index, heading):
        concept = _specific(mention.concept, near, vocabulary, index)
        side = _side(concept, places.sides(mention), near, vocabulary)
        if side is Side.NONE and not heading_sides.words and not places.sides(mention):
            side = only_side(heading_sides.sides)  # "Left: effusion"
        concept = _on_side(concept, side, vocabulary)
        structures = tuple(one for one in near if not _contradicts(one.side, side))
        side = side if _has_side(concept, structures, vocabulary) else Side.NONE
        structures = tuple(one for one in structures if _belongs(concept, one, vocabulary)) or _home(
            concept, vocabulary
        )
        finding = Finding(
            sentence,
            sentence.text[mention.start : mention.end],
            concept,
            side,
            structures,
            structures[0].region if structures else concept.region,
            scopes.status(mention.start, mention.end),
            mention.start,
            mention.end,
        )
        yield finding
        if finding.status == "absent" and finding.side is not Side.NONE and finding.side in places.sides(mention):
            yield from _on_other_side(finding, vocabulary)


def _on_other_side(denied: Finding, vocabulary: Vocabulary) -> Iterator[Finding]:
    """Yield what a sentence leaves for the other side: "no effusion on the left, small on the right"."""
    said = _OTHER_SIDE.search(denied.sentence.text, denied.end)
    mirror = denied.concept.mirror
    if said is None or said["side"].lower() == denied.side or mirror is None:
        return
    concept = vocabulary.get(mirror)
    yield replace(denied, concept=concept, side=concept.side, structures=_home(concept, vocabulary), status="uncertain")


def _each_place(
    text: str,
    mentions: Sequence[Mention],
    places: Places,
    vocabulary: Vocabulary,
    index: PhraseIndex,
    heading: tuple[Concept, ...],
) -> Iterator[tuple[Mention, tuple[Concept, ...]]]:
    """Yield every finding with the structures that it lies in, once for each organ that it is said of."""
    for mention in mentions:
        if not mention.is_finding:
            continue
        of_region = bool(mention.concept.part_of) and any(len(one.members) > 2 for one in heading)
        near = _near(mention, places, vocabulary) or (() if of_region else heading)
        organs = [tuple(one.concept for one in item) for item in places.listed(mention)]
        apart = not any(_overlap(one[0], other[0], vocabulary) for one, other in combinations(organs, 2))
        general = _in_general(text[mention.start : mention.end], index)
        if len(organs) > 1 and apart and not mention.concept.part_of and not mention.concept.members:
            yield from ((mention, organ) for organ in organs)
        elif organs and apart and general is not None:
            yield mention, ()
            yield from ((replace(mention, concept=general, sides=UNSAID), organ) for organ in organs)
        else:
            yield mention, near


def _in_general(phrase: str, index: PhraseIndex) -> Concept | None:
    """Return what a finding is that is named with its organ, "metastasis" of "metastases in the liver"."""
    said = re.split(r"\s(?:in|of|at|on)\s", phrase, maxsplit=1)
    match = index.find(split_side(tokens(said[0]))) if len(said) > 1 else None
    return None if match is None else match.concept


def _overlap(one: Concept, other: Concept, vocabulary: Vocabulary) -> bool:
    """Tell whether a structure is part of the other, or the same: "in the upper lobe, right lung"."""
    leaves = [vocabulary.leaves(concept) for concept in (one, other)]
    first, second = ({leaf.id for leaf in some} for some in leaves)
    around, other_around = ({whole.id for leaf in some for whole in _wholes(leaf, vocabulary)} for some in leaves)
    return bool(first & second or around & {other.id, *second} or other_around & {one.id, *first})


def _side(concept: Concept, said: frozenset[Side], structures: Sequence[Concept], vocabulary: Vocabulary) -> Side:
    """Return the side of a finding: by its name, by words beside it, or by all that it lies in."""
    if concept.side is not Side.NONE:
        return concept.side
    sides = said or {
        one.side for one in structures if one.side is not Side.NONE and _is_around(concept, one, vocabulary)
    }
    return only_side(sides)


def _contradicts(one: Side, other: Side) -> bool:
    return Side.NONE not in (one, other) and one is not other


def _is_around(concept: Concept, structure: Concept, vocabulary: Vocabulary) -> bool:
    """Say whether a finding of a structure's side can be meant: a left effusion with "left lung", not "left kidney"."""
    places = (*concept.part_of, *concept.members)
    regions = set(concept.region) & set(structure.region)
    return not places or bool(regions) or (bool(concept.part_of) and _belongs(concept, structure, vocabulary))


def _of_heading(section: str, index: PhraseIndex) -> tuple[Concept, ...]:
    """Return the structure that a section is about: "LIVER: no focal lesion"."""
    match = index.find(split_side(tokens(section))) if section else None
    return () if match is None else (match.concept,)


def _near(finding: Mention, places: Places, vocabulary: Vocabulary) -> tuple[Concept, ...]:
    """Return the structures that a finding lies in, what stands nearest to it first.

    Where none is said, those of a finding that says the same: "liver lesion, possibly a cyst".
    """
    said = [mention.concept for mention in places.structures(finding)]
    # What has a place of its own may lie elsewhere: "nodule in the left lung and effusion".
    if not said and not finding.concept.part_of and not finding.concept.members:
        for other, own in places.related(finding):
            said += [mention.concept for mention in own]
            said += [vocabulary.get(whole) for whole in other.concept.part_of]
    return tuple(dict.fromkeys(said))


def _specific(concept: Concept, structures: Sequence[Concept], vocabulary: Vocabulary, index: PhraseIndex) -> Concept:
    """Read "lesion" in a sentence on the liver as "liver lesion", where the vocabulary has that."""
    if concept.part_of:
        return concept
    words = tokens(concept.name)
    for structure in structures[:1]:
        for whole in (structure, *_wholes(structure, vocabulary)):
            core = split_side(tokens(whole.name)).words
            match = index.find(SidedWords(UNSAID, (*core, *words), ""))
            if match is not None and match.concept is not structure and match.concept.id != concept.id:
                return match.concept
    return concept


def _wholes(structure: Concept, vocabulary: Vocabulary) -> Iterator[Concept]:
    """Yield what a structure is part of, outwards."""
    seen = {structure.id}
    waiting = list(structure.part_of)
    while waiting:
        whole = vocabulary.get(waiting.pop(0))
        if whole.id not in seen:
            seen.add(whole.id)
            yield whole
            waiting += whole.part_of


def _belongs(concept: Concept, structure: Concept, vocabulary: Vocabulary) -> bool:
    """Say whether a finding can lie in a structure: a gallstone does not lie in the liver that is named with it."""
    wholes = {*concept.part_of, *(whole for one in concept.members for whole in vocabulary.get(one).part_of)}
    places = {place for whole in wholes for place in (whole, *vocabulary.get(whole).members)}
    around = {structure.id, *structure.members, *(whole.id for whole in _wholes(structure, vocabulary))}
    outside = {whole.id for place in places for whole in _wholes(vocabulary.get(place), vocabulary)}
    return not places or bool(places & around) or structure.id in outside


def _home(concept: Concept, vocabulary: Vocabulary) -> tuple[Concept, ...]:
    """Return the organs that a finding lies in by its name; spaces are no organs."""
    wholes = (vocabulary.get(whole) for whole in concept.part_of)
    return tuple(whole for whole in wholes if whole.kind != "space" and whole.id != concept.kind)


def _on_side(concept: Concept, side: Side, vocabulary: Vocabulary) -> Concept:
    """Return the one of a pair that lies on a side; anything else as it is."""
    if side is Side.NONE:
        return concept
    members = [vocabulary.get(member) for member in concept.members]
    if len(members) == 2 and {member.side for member in members} == {Side.LEFT, Side.RIGHT}:
        return next(member for member in members if member.side is side)
    return concept


def _has_side(concept: Concept, structures: Sequence[Concept], vocabulary: Vocabulary) -> bool:
    """Say whether a side means anything for a finding: the liver has none, so its lesions have none."""
    if concept.side is not Side.NONE:
        return True
    wholes = [vocabulary.get(whole) for whole in concept.part_of]
    if wholes:
        return any(len(whole.members) == 2 for whole in wholes)
    return any(structure.side is not Side.NONE for structure in structures)
