"""Reading texts that combine structures: "liver minus tumour", "kidneys and ureters", "left lung except lower lobe".

Every part must name something known: a part that does not is never dropped, the text is then no expression.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from OpenVocabCTLib.prompts.concepts import Concept, Side
from OpenVocabCTLib.prompts.expressions import Expression, union
from OpenVocabCTLib.prompts.laterality import SidedWords, split_side
from OpenVocabCTLib.prompts.matching import PhraseIndex
from OpenVocabCTLib.prompts.normalise import sanitise, strip_command, tokens, without_articles
from OpenVocabCTLib.prompts.vocabulary import Vocabulary

Meaning = Concept | Expression

# Longer texts are sentences, not expressions; this also bounds the time.
_LONGEST = 300
_MOST_OPERANDS = 16
_MINUS = re.compile(
    r"\s(?:minus|without|excluding|except(?:ing)?(?:\sfor)?|but\snot|w/o|apart\sfrom|other\sthan|not\sincluding|sparing|"
    r"exclusive\sof|ohne|sans|\u2212|\u2216)\s",
    re.IGNORECASE,
)
_AND = re.compile(
    r"\s*(?:[+&\u222a]|\b(?:and(?:\salso)?|plus|together\swith|along\swith|as\swell\sas|und|et|y)\b)\s*", re.IGNORECASE
)
_LIST = re.compile(r"\s*,\s*")
_OVERLAP = re.compile(r"\s*(?:\u2229|\b(?:intersected\swith|overlapping(?:\swith)?)\b)\s*", re.IGNORECASE)
_OVERLAP_OF = re.compile(r"\A(?:the\s)?(?:intersection|overlap|common\spart)\s(?:of|between)\s", re.IGNORECASE)
_UNION_OF = re.compile(
    r"\A(?:the\s)?(?:(?:union|combination|sum)\s(?:of|between)|combine|merge|join|unite)\s", re.IGNORECASE
)
_EVERYTHING = frozenset({"everything", "all", "whole scan", "everything else", "the whole scan"})


@dataclass
class _Notes:
    """What was filled in, for the person to see."""

    texts: list[str] = field(default_factory=list)

    def add(self, typed: str, concept: Concept) -> None:
        self.texts.append(f"read '{typed}' as {concept.name}")


@dataclass(frozen=True)
class Combined:
    """An expression and what was filled in to read it."""

    meant: Meaning
    notes: tuple[str, ...]


class Combiner:
    """Reads expressions.

    Args:
        vocabulary: the structures.
        index: finds one by its phrase.
        numbered: reads numbered structures that are named together, None for other texts.
    """

    def __init__(self, vocabulary: Vocabulary, index: PhraseIndex, numbered: Callable[[str], Meaning | None]) -> None:
        self._vocabulary, self._index, self._numbered = vocabulary, index, numbered

    def read(self, text: str, correct: bool = False) -> Combined | None:
        """Read a text as an expression.

        Args:
            text: as typed.
            correct: whether one misspelt word in each part may be corrected.

        Returns:
            None where it is none, or where a part of it names nothing known.
        """
        plain = sanitise(text[: _LONGEST + 1]).strip(" .!?")
        if len(plain) > _LONGEST:
            return None
        notes = _Notes()
        meant = self._minus(_without_command(plain), notes, correct)
        if meant is None or isinstance(meant, Concept):
            return None
        return Combined(meant, tuple(dict.fromkeys(notes.texts)))

    def _minus(self, text: str, notes: _Notes, correct: bool) -> Meaning | None:
        base_text, *taken_texts = _MINUS.split(text)
        if len(taken_texts) > _MOST_OPERANDS or (taken_texts and not base_text.strip()):
            return None
        base = self._base(base_text, notes, correct)
        if base is None or not taken_texts:
            return base
        taken: list[Meaning] = []
        for part in taken_texts:
            operands = self._operands(_AND.split(part), notes, correct, base)
            if operands is None:
                return None
            taken += operands
        return Expression("minus", (base, *dict.fromkeys(taken)))

    def _base(self, text: str, notes: _Notes, correct: bool) -> Meaning | None:
        if text.strip().lower() in _EVERYTHING and "body" in self._vocabulary:
            body = self._vocabulary.get("body")
            notes.add(text.strip(), body)
            return body
        if _OVERLAP_OF.match(text) or _OVERLAP.search(text):
            rest = _OVERLAP_OF.sub("", text)
            parts = _OVERLAP.split(rest) if _OVERLAP.search(rest) else _AND.split(rest)
            operands = self._operands(parts, notes, correct)
            return None if operands is None or len(operands) < 2 else Expression("intersection", tuple(operands))
        text = _UNION_OF.sub("", text)
        parts = _AND.split(text)
        if len(parts) > 1:  # "liver, spleen and kidneys"; a bare list is several prompts
            parts = [piece for part in parts for piece in _LIST.split(part) if piece]
        operands = self._operands(parts, notes, correct)
        return None if operands is None else union(operands)

    def _operands(
        self, texts: Sequence[str], notes: _Notes, correct: bool, whole: Meaning | None = None
    ) -> list[Meaning] | None:
        """Read the parts of a list, which may share their side ("left kidney and ureter") or their last words."""
        if not 1 <= len(texts) <= _MOST_OPERANDS:
            return None
        found: list[Meaning] = []
        side = _side_of(whole)
        for place, text in enumerate(texts):
            meant = self._operand(text, texts[place + 1 :], side, notes, correct, whole)
            if meant is None:
                return None
            side = _side_of(meant) if _side_of(meant) is not Side.NONE else side
            found.append(meant)
        return found

    def _operand(
        self,
        text: str,
        following: Sequence[str],
        side: Side,
        notes: _Notes,
        correct: bool,
        whole: Meaning | None,
    ) -> Meaning | None:
        words = without_articles(strip_command(tokens(text)))
        if not words:
            return None
        if isinstance(whole, Concept):
            part = self._in_context(words, whole)
            if part is not None:
                if self._find(words, Side.NONE) is not part:
                    notes.add(" ".join(words), part)
                return part
        plain = self._find(words, Side.NONE)
        if (
            side is not Side.NONE
            and not split_side(words).sides
            and (plain is None or self._index.lacks_side(plain, words))
        ):
            sided = self._find(words, side)
            if sided is not None:
                notes.add(" ".join(words), sided)
                return sided
        return (
            plain
            or self._numbered(text)
            or self._with_shared_end(words, following)
            or self._misspelt(words, notes, correct)
        )

    def _in_context(self, words: tuple[str, ...], whole: Concept) -> Concept | None:
        """Find what is taken from a whole: "tumour" of the liver, "lower lobe" of the left lung."""
        named = tuple(word for word in tokens(whole.name) if not split_side([word]).sides)
        for side in dict.fromkeys((whole.side, Side.NONE)):
            for candidate in ((*named, *words), words) if side is not Side.NONE else ((*named, *words),):
                found = self._find(candidate, Side.NONE if split_side(candidate).sides else side)
                if found is not None and found is not whole and whole.id not in found.members:
                    return found
        return None

    def _find(self, words: tuple[str, ...], side: Side) -> Concept | None:
        sided = split_side(words)
        if side is not Side.NONE:
            sided = SidedWords(frozenset({side}), sided.words, "")
        match = self._index.find(sided)
        return None if match is None else match.concept

    def _with_shared_end(self, words: tuple[str, ...], following: Sequence[str]) -> Concept | None:
        """Find "superior" of "superior and inferior vena cava" with the last words of a part that follows."""
        for text in following:
            end = without_articles(strip_command(tokens(text)))
            for start in range(1, len(end)):
                found = self._find((*words, *end[start:]), Side.NONE)
                if found is not None:
                    return found
        return None

    def _misspelt(self, words: tuple[str, ...], notes: _Notes, correct: bool) -> Concept | None:
        match = self._index.find_misspelt(split_side(words)) if correct else None
        if match is None or match.corrected is None:
            return None
        wrong, right = match.corrected
        notes.texts.append(f"did you mean '{match.concept.name}'? read '{wrong}' as '{right}'")
        return match.concept


def _side_of(meant: Meaning | None) -> Side:
    """Return the side that was last said."""
    if isinstance(meant, Concept):
        return meant.side if meant.mirror is not None else Side.NONE
    return Side.NONE if meant is None else _side_of(meant.operands[-1])


def _without_command(text: str) -> str:
    """Take what asks from the beginning of the text: "please segment the liver minus tumour"."""
    words = text.split()
    kept = len(words)
    while kept and not strip_command(tuple(tokens(words[-kept]))) and not _needed(words[-kept]):
        kept -= 1
    return " ".join(words[len(words) - kept :]) if kept else text


def _needed(word: str) -> bool:
    return word.lower() in _EVERYTHING or not tokens(word)
