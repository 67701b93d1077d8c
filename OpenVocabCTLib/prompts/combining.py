"""Reading texts that combine structures: "liver minus tumour", "kidneys and ureters", "left lung except lower lobe".

Every part must name something known: a part that does not is never dropped, the text is then no expression.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from OpenVocabCTLib.prompts.concepts import Concept, Side
from OpenVocabCTLib.prompts.expressions import Expression, union
from OpenVocabCTLib.prompts.laterality import SidedWords, only_side, split_side
from OpenVocabCTLib.prompts.matching import PhraseIndex
from OpenVocabCTLib.prompts.normalise import naming_words, sanitise, strip_command, tokens
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from OpenVocabCTLib.prompts.words import FOREIGN_ARTICLES

Meaning = Concept | Expression

# Longer texts are sentences, not expressions; this also bounds the time.
LONGEST = 300
_MOST_OPERANDS = 16
_MINUS_WORDS = (
    r"(?:minus|without|excluding|except(?:ing)?(?:\sfor)?|but\snot|but\swithout|w/o(?:ut)?|apart\sfrom|other\sthan|"
    r"not\sincluding|sparing|exclusive\sof|excl\.?|less|leaving\sout|omitting|ohne|au(?:ss|ß)er|sans|sauf|hormis|moins|"
    r"sin|menos|excepto|salvo)"
)
_AND_WORDS = r"(?:and(?:\salso)?|together\swith|along\swith|as\swell\sas|und|et|y)"
_OVERLAP_WORDS = r"(?:intersected\swith|overlapping(?:\swith)?)"
_MINUS = re.compile(rf"\s{_MINUS_WORDS}\s", re.IGNORECASE)
# What a sum adds goes on from left to right, where "and" also joins what is taken away.
_PLUS = re.compile(r"\s*(?:[+\u222a]|\bplus\b)\s*", re.IGNORECASE)
_AND = re.compile(rf"\s*(?:[+&\u222a]|\b(?:plus|{_AND_WORDS})\b)\s*", re.IGNORECASE)
_LIST = re.compile(r"\s*,\s*")
_OVERLAP = re.compile(rf"\s*(?:\u2229|\b{_OVERLAP_WORDS}\b)\s*", re.IGNORECASE)
_OVERLAP_OF = re.compile(r"\A(?:the\s)?(?:intersection|overlap|common\spart)\s(?:of|between)\s", re.IGNORECASE)
_UNION_OF = re.compile(
    r"\A(?:the\s)?(?:(?:union|combination|sum)\s(?:of|between)|combine|merge|join|unite)\s", re.IGNORECASE
)
# "remove the tumour from the liver"
_TAKE_FROM = re.compile(
    r"\A(?:subtract|remove|exclude|delete|erase|take|cut)\s(?P<taken>.+)\s(?:from|out\sof)\s(?P<base>.+)\Z",
    re.IGNORECASE,
)
_ALL_BUT = re.compile(
    r"\A(?P<all>everything|all|(?:the\s)?whole\sscan)\s(?:outside(?:\sof)?|but(?!\s(?:not|without)\b))\s", re.IGNORECASE
)

_OPERATOR_WORDS = rf"(?:plus|{_MINUS_WORDS}|{_AND_WORDS}|{_OVERLAP_WORDS})"
# What parts the operands, signs apart.
SEPARATOR = re.compile(rf"[,;:+&\u222a\u2229]|\s{_OPERATOR_WORDS}\s", re.IGNORECASE)

_BRACKET = re.compile(r"\s*([()\[\]{}])\s*")
_INNERMOST = re.compile(r"[(\[{]([^()\[\]{}]*)[)\]}]")
_LAST_TAKEN = re.compile(rf"\A([^()\[\]{{}}]*)[(\[{{](\s{_MINUS_WORDS}\s[^()\[\]{{}}]*)[)\]}}]\Z", re.IGNORECASE)
_ENDS_WITH_OPERATOR = re.compile(rf"(?:\A|[+&,(\[{{\u222a\u2229]|\s{_OPERATOR_WORDS}|\A.*\b(?:of|between))\s*\Z", re.I)
_BEGINS_WITH_OPERATOR = re.compile(rf"\s*(?:\Z|[+&,)\]}}\u222a\u2229]|{_OPERATOR_WORDS}\s)", re.IGNORECASE)
_HOLDS_OPERATOR = re.compile(rf"[+&,\u222a\u2229]|(?:\A|\s){_OPERATOR_WORDS}\s", re.IGNORECASE)
# Stand for the meaning of what was in brackets; nobody can type them, because `sanitise` takes them out.
_FIRST_PLACEHOLDER, _LAST_PLACEHOLDER = 0xE000, 0xE0FF
_PLACEHOLDER = re.compile(f"[{chr(_FIRST_PLACEHOLDER)}-{chr(_LAST_PLACEHOLDER)}]")
_EVERYTHING = frozenset({"everything", "all", "whole scan", "everything else", "the whole scan"})


@dataclass
class _Reading:
    """What is known while one text is read.

    Attributes:
        correct: whether one misspelt word in each part may be corrected.
        notes: what was filled in, for the person to see.
        groups: meanings of what stood in brackets, by placeholder.
    """

    correct: bool
    notes: list[str] = field(default_factory=list)
    groups: dict[str, Meaning] = field(default_factory=dict)

    def add(self, typed: str, concept: Concept) -> None:
        self.notes.append(f"read '{typed}' as {concept.name}")

    def stand_in(self, meant: Meaning) -> str:
        """Return a placeholder for a meaning."""
        placeholder = chr(_FIRST_PLACEHOLDER + len(self.groups))
        self.groups[placeholder] = meant
        return placeholder


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
        plain = sanitise(text[: LONGEST + 1]).strip(" .!?")
        if len(plain) > LONGEST:
            return None
        reading = _Reading(correct)
        meant = self._bracketed(_plainly(plain), reading)
        if meant is None or isinstance(meant, Concept):
            return None
        return Combined(meant, tuple(dict.fromkeys(reading.notes)))

    def named(self, text: str, correct: bool = False) -> Meaning | None:
        """Return what a text without operators names, None for nothing."""
        if text.lower() in _EVERYTHING and "body" in self._vocabulary:
            return self._vocabulary.get("body")
        words = naming_words(text)
        if not words:
            return None
        return self._find(words, Side.NONE) or self._numbered(text) or self._misspelt(words, _Reading(correct))

    def _bracketed(self, text: str, reading: _Reading) -> Meaning | None:
        """Read a text whose brackets may hold expressions, from the innermost outwards."""
        place = 0
        while (group := _INNERMOST.search(text, place)) is not None:
            before, inside, after = text[: group.start()], group[1], text[group.end() :]
            if not (_ENDS_WITH_OPERATOR.search(before) and _BEGINS_WITH_OPERATOR.match(after)):
                if _HOLDS_OPERATOR.search(inside):
                    return None  # "left (kidney and ureter)"
                place = group.end()  # "kidney (left)"
                continue
            meant = self._chain(inside.strip(), reading)
            if meant is None:
                return None
            text, place = f"{before}{reading.stand_in(meant)}{after}", 0
        return self._chain(text.strip(), reading)

    def _chain(self, text: str, reading: _Reading) -> Meaning | None:
        """Read a text without brackets: a base, what is taken from it and what is added, from left to right."""
        base_text, *taken_texts = _MINUS.split(text)
        if len(taken_texts) > _MOST_OPERANDS or (taken_texts and not base_text.strip()):
            return None
        meant = whole = self._base(base_text, reading)
        for part in taken_texts:
            taken_text, *added_texts = _PLUS.split(part)
            taken = self._operands(_AND.split(taken_text), reading, whole)
            if meant is None or taken is None:
                return None
            meant = _without(meant, taken)
            if added_texts:
                parts = [piece for one in added_texts for piece in _AND.split(one)]
                added = self._operands(parts, reading, side=_side_of(meant))
                if added is None:
                    return None
                meant = whole = union([meant, *added])
        return meant

    def _base(self, text: str, reading: _Reading) -> Meaning | None:
        if text.strip().lower() in _EVERYTHING and "body" in self._vocabulary:
            body = self._vocabulary.get("body")
            reading.add(text.strip(), body)
            return body
        if _OVERLAP_OF.match(text) or _OVERLAP.search(text):
            rest = _OVERLAP_OF.sub("", text)
            parts = _OVERLAP.split(rest) if _OVERLAP.search(rest) else _AND.split(rest)
            operands = self._operands(parts, reading)
            return None if operands is None or len(operands) < 2 else Expression("intersection", tuple(operands))
        text = _UNION_OF.sub("", text)
        parts = _AND.split(text)
        if len(parts) > 1:  # "liver, spleen and kidneys"; a bare list is several prompts
            parts = [piece for part in parts for piece in _LIST.split(part) if piece]
        operands = self._operands(parts, reading)
        return None if operands is None else union(operands)

    def _operands(
        self, texts: Sequence[str], reading: _Reading, whole: Meaning | None = None, side: Side = Side.NONE
    ) -> list[Meaning] | None:
        """Read the parts of a list, which may share their side ("left kidney and ureter") or their last words.

        Once both sides were named, no side is left to share: "left and right kidney and ureter".
        """
        if not 1 <= len(texts) <= _MOST_OPERANDS:
            return None
        found: list[Meaning] = []
        named = _sides_of(whole) or {side} - {Side.NONE}
        for place, text in enumerate(texts):
            meant = self._operand(text, texts[place + 1 :], only_side(named), reading, whole)
            if meant is None:
                return None
            if len(named) > 1:
                self._note_missing_side(text, meant, reading)
            named |= _sides_of(meant)
            found.append(meant)
        return found

    def _note_missing_side(self, text: str, meant: Meaning, reading: _Reading) -> None:
        words = naming_words(text)
        if isinstance(meant, Concept) and self._index.lacks_side(meant, words):
            reading.notes.append(f"no side given for '{' '.join(words)}': both")

    def _operand(
        self, text: str, following: Sequence[str], side: Side, reading: _Reading, whole: Meaning | None
    ) -> Meaning | None:
        if _PLACEHOLDER.search(text):
            return reading.groups.get(text.strip())
        words = naming_words(text)
        if not words or _has_loose_bracket(text):
            return None
        if isinstance(whole, Concept):
            part = self._in_context(words, whole)
            if part is not None:
                if self._find(words, Side.NONE) is not part:
                    reading.add(" ".join(words), part)
                return part
        plain = self._find(words, Side.NONE)
        if (
            side is not Side.NONE
            and not split_side(words).sides
            and (plain is None or self._index.lacks_side(plain, words))
        ):
            sided = self._find(words, side)
            if sided is not None:
                reading.add(" ".join(words), sided)
                return sided
        return (
            plain or self._numbered(text) or self._with_shared_end(words, following) or self._misspelt(words, reading)
        )

    def _in_context(self, words: tuple[str, ...], whole: Concept) -> Concept | None:
        """Find what is taken from a whole: "tumour" of the liver, "lower lobe" of the left lung."""
        named = tuple(word for word in tokens(whole.name) if not split_side([word]).sides)
        # "both parotids but not the left one", "pulmones excepto el izquierdo"
        words = tuple(word for word in words if word not in FOREIGN_ARTICLES | {"one", "ones"})
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
            end = naming_words(text)
            for start in range(1, len(end)):
                found = self._find((*words, *end[start:]), Side.NONE)
                if found is not None:
                    return found
        return None

    def _misspelt(self, words: tuple[str, ...], reading: _Reading) -> Concept | None:
        match = self._index.find_misspelt(split_side(words)) if reading.correct else None
        if match is None or match.corrected is None:
            return None
        wrong, right = match.corrected
        reading.notes.append(f"did you mean '{match.concept.name}'? read '{wrong}' as '{right}'")
        return match.concept


def _has_loose_bracket(text: str) -> bool:
    return any(text.count(first) != text.count(last) for first, last in ("()", "[]", "{}"))


def takes_away(text: str) -> bool:
    """Tell whether something stands on both sides of a word that takes away."""
    return _MINUS.search(sanitise(text[: LONGEST + 1])) is not None


def holds_brackets(text: str) -> bool:
    """Tell whether operators stand within brackets: "left (kidney and ureter)"."""
    plain = sanitise(text[: LONGEST + 1])
    return any(_HOLDS_OPERATOR.search(group[1]) is not None for group in _INNERMOST.finditer(plain))


def _without(meant: Meaning, taken: Sequence[Meaning]) -> Meaning:
    """Take more away; what was taken before stays in the same list."""
    whole, *earlier = meant.operands if isinstance(meant, Expression) and meant.operation == "minus" else (meant,)
    return Expression("minus", (whole, *dict.fromkeys((*earlier, *taken))))


def _sides_of(meant: Meaning | None) -> set[Side]:
    """Return the sides that were said; what is taken away says none."""
    if isinstance(meant, Concept):
        return {meant.side} if meant.mirror is not None else set()
    if meant is None:
        return set()
    if meant.operation == "half":
        return {meant.side}
    kept = meant.operands[:1] if meant.operation == "minus" else meant.operands
    return {side for operand in kept for side in _sides_of(operand)}


def _side_of(meant: Meaning) -> Side:
    """Return the only side that was said."""
    return only_side(_sides_of(meant))


def _plainly(text: str) -> str:
    """Take away what asks, and write the other ways to take away as "minus"."""
    text = _without_command(text)
    text = _TAKE_FROM.sub(lambda said: f"{said['base']} minus {said['taken']}", text)
    text = _ALL_BUT.sub(lambda said: f"{said['all']} minus ", text)
    text = _BRACKET.sub(r" \1 ", text).strip()
    return _LAST_TAKEN.sub(r"\1\2", text).strip()


def _without_command(text: str) -> str:
    """Take what asks from the beginning of the text: "please segment the liver minus tumour"."""
    words = text.split()
    kept = len(words)
    while kept and not strip_command(tuple(tokens(words[-kept]))) and not _needed(words[-kept]):
        kept -= 1
    return " ".join(words[len(words) - kept :]) if kept else text


def _needed(word: str) -> bool:
    return word.lower() in _EVERYTHING or not tokens(word)
