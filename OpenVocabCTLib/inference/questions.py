"""From prompts to what is asked of the voxel embedding, or why nothing is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from OpenVocabCTLib.inference.composition import Formula
from OpenVocabCTLib.models.config import DecisionConfig, may_answer
from OpenVocabCTLib.prompts.expressions import Expression, Operation
from OpenVocabCTLib.prompts.kinds import foreign_word, told_apart
from OpenVocabCTLib.prompts.laterality import only_side, split_side
from OpenVocabCTLib.prompts.parsing import Prompt
from OpenVocabCTLib.prompts.vocabulary import Concept, Side, Vocabulary
from OpenVocabCTLib.text.bank import EmbeddingBank

# Below this, how a structure looks in other patients is a guess.
_FEW_SCANS = 10


@dataclass(frozen=True)
class Wording:
    """What a query is made from.

    Attributes:
        text: words for the text encoder.
        side: side of the patient that they speak of.
        concept: id of the concept that they name, None for free text.
    """

    text: str
    side: Side
    concept: str | None = None


@dataclass(frozen=True)
class Part:
    """One query of the voxel embedding.

    Attributes:
        wording: what the query is made from.
        rival: wording of the same structure on the other side; a voxel goes to the better of the two.
        threshold: voxel probability from which on a voxel belongs to the part.
        presence_threshold: presence probability from which on the part counts as being in the scan.
    """

    wording: Wording
    rival: Wording | None
    threshold: float
    presence_threshold: float


@dataclass(frozen=True)
class Question:
    """A prompt as it will be answered.

    Attributes:
        prompt: the prompt.
        parts: queries that answer it; empty when nothing can be asked.
        refusal: why nothing can be asked, "" otherwise.
        note: what the user should know about the answer.
        formula: how the masks of the parts make up the answer; None is their union.
    """

    prompt: Prompt
    parts: tuple[Part, ...]
    refusal: str = ""
    note: str = ""
    formula: Formula | None = None

    @property
    def recipe(self) -> Formula:
        """How the parts make up the answer; without a formula it is their union."""
        return self.formula or Formula("union", tuple(Formula(None, part=place) for place in range(len(self.parts))))

    def with_threshold(self, threshold: float | None) -> Question:
        """The same question with another voxel threshold; unchanged if None."""
        if threshold is None:
            return self
        return replace(self, parts=tuple(replace(part, threshold=threshold) for part in self.parts))

    @property
    def needs_middle(self) -> bool:
        """Whether the answer depends on where the patient's middle is; that for both sides together does not."""
        return self._needs_middle(self.recipe)

    def _needs_middle(self, formula: Formula) -> bool:
        joined = [self.parts[one.part] for one in formula.alternatives if one.operation is None]
        asked = {part.wording for part in joined}
        if any(part.wording.side is not Side.NONE and part.rival not in asked for part in joined):
            return True
        others = [one for one in formula.alternatives if one.operation is not None]
        return any(one.operation == "half" or any(map(self._needs_middle, one.operands)) for one in others)

    @property
    def notes(self) -> tuple[str, ...]:
        """How the prompt was read and how far the answer can be trusted."""
        return tuple(note for note in (self.prompt.note, self.note) if note and note != self.refusal)


class QuestionMaker:
    """Decides which prompts a model can answer.

    Args:
        vocabulary: concepts and groups.
        bank: embeddings of the phrases that the model was trained with.
        trained: ids of the concepts that the model was trained on -> number of scans that showed them.
        decision: thresholds.
        guarded: whether free text is refused where it is far from all that is known, or another thing than what it is
            near to. Without it everything is asked, for measurements.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        bank: EmbeddingBank,
        trained: Mapping[str, int],
        decision: DecisionConfig,
        guarded: bool = True,
    ) -> None:
        self.vocabulary, self.bank, self.trained = vocabulary, bank, dict(trained)
        self.decision, self.guarded = decision, guarded
        self._phrases = [
            (phrase, concept)
            for concept in vocabulary
            if concept.id in self.trained
            for phrase in vocabulary.phrases(concept)
            if phrase in bank
        ]

    def ask(self, prompt: Prompt) -> Question:
        """Turn one prompt into a question."""
        meant = prompt.concept or prompt.expression
        if meant is not None:
            asked = self._asked(meant)
            if isinstance(asked, str):
                return Question(prompt, (), asked)
            notes = (*dict.fromkeys(asked.notes), *self._few(asked.scans))
            return Question(prompt, asked.parts, note="; ".join(notes), formula=asked.formula)
        if prompt.free_text is None:
            return Question(prompt, (), prompt.note)
        return self._free(prompt, prompt.free_text)

    @cached_property
    def _phrase_embeddings(self) -> np.ndarray:
        """(phrases, dim) of everything that free text is compared with."""
        return self.bank.embed([phrase for phrase, _ in self._phrases])

    def _asked(self, meant: Concept | Expression) -> _Asked | str:
        """What is asked for a structure or an expression, or why nothing is."""
        if isinstance(meant, Concept):
            return self._structure(meant)
        operands = [self._asked(operand) for operand in meant.operands]
        refusals = [operand for operand in operands if isinstance(operand, str)]
        if refusals:
            return "; ".join(dict.fromkeys(refusals))
        asked = [operand for operand in operands if not isinstance(operand, str)]
        cut = [f"{meant.in_words}: cut at the middle of the body"] if meant.operation == "half" else []
        return _combined(meant.operation, asked, cut, meant.side)

    def _structure(self, concept: Concept) -> _Asked | str:
        """Ask for a structure itself, else for its members, its parts, or a half of what lies on both sides."""
        if self._is_asked(concept):
            return self._single(concept)
        if concept.members and concept.id not in self.trained:
            return self._group(concept)
        if concept.id not in self.trained:
            parts = [self._structure(self.vocabulary.get(part)) for part in concept.parts]
            asked = [part for part in parts if not isinstance(part, str)]
            if parts and len(asked) == len(parts):
                return _combined("union", asked, [f"{concept.name}: put together from its parts"])
            whole = self.vocabulary.pair_of(concept)
            if whole is not None and self._is_asked(whole):
                return _combined(
                    "half",
                    [self._single(whole)],
                    [f"{concept.name}: the {concept.side} half of {whole.name}, cut at the middle of the body"],
                    concept.side,
                )
            return f"this model was not trained on {concept.name}{self._known_whole(concept)}"
        return self._too_few(concept.name, [concept])

    def _group(self, group: Concept) -> _Asked | str:
        """Ask for those members that can be asked for."""
        leaves = self.vocabulary.leaves(group)
        asked = [(leaf, one) for leaf in leaves if not isinstance(one := self._member(leaf), str)]
        if not asked:
            seen = [leaf for leaf in leaves if leaf.id in self.trained]
            return self._too_few(group.name, seen) if seen else f"this model was not trained on {group.name}"
        notes = []
        if len(asked) < len(leaves):
            notes.append(f"only {', '.join(leaf.name for leaf, _ in asked)}, which the model was trained on")
        return _combined("union", [one for _, one in asked], notes)

    def _member(self, leaf: Concept) -> _Asked | str:
        """Ask for a member of a group; never for half of that group, which is not there to be cut."""
        whole = self.vocabulary.pair_of(leaf)
        if leaf.id in self.trained or whole is None or not self._is_asked(whole):
            return self._structure(leaf)
        return self._single(whole)

    def _is_asked(self, concept: Concept) -> bool:
        return concept.id in self.trained and self.is_answered(concept)

    def _single(self, concept: Concept) -> _Asked:
        return _Asked((self.part(concept),), Formula(None, part=0), (), self.trained[concept.id])

    def _known_whole(self, concept: Concept) -> str:
        """What the model knows that the structure is part of, to be said after a refusal."""
        for whole in concept.part_of:
            if self._is_asked(self.vocabulary.get(whole)):
                return f", but on {self.vocabulary.get(whole).name}, which it belongs to"
        return ""

    @staticmethod
    def _few(scans: int) -> tuple[str, ...]:
        return (f"learned from {_scans(scans)} only, check the result",) if scans < _FEW_SCANS else ()

    @cached_property
    def answered(self) -> frozenset[str]:
        """Ids of the concepts that can be asked for directly."""
        return frozenset(one for one in self.trained if self._is_answered(one))

    def is_answered(self, concept: Concept) -> bool:
        """Whether enough training scans showed a concept that the model was trained on, and it may be found at all."""
        return self._is_answered(concept.id)

    def _is_answered(self, concept: str) -> bool:
        presence = self.decision.concept_presence_thresholds.get(concept, 0.0)
        return may_answer(self.trained[concept], self.decision.minimum_scans, presence)

    def _too_few(self, name: str, seen: Sequence[Concept]) -> str:
        """Why nothing is asked: a structure seen in one patient is found in all sorts of places in another."""
        scans = max(self.trained[concept.id] for concept in seen)
        if scans >= self.decision.minimum_scans:
            return f"this model does not answer for {name}, which it finds where there is none"
        return f"this model has seen {name} in {_scans(scans)} only, too few to answer"

    def part(self, concept: Concept) -> Part:
        """Return the query of a structure that can be asked for directly."""
        rival = self.vocabulary.get(concept.mirror) if concept.mirror in self.trained and concept.mirror else None
        return Part(
            _wording(concept),
            _wording(rival) if rival else None,
            self.decision.concept_thresholds.get(concept.id, self.decision.threshold),
            self.decision.concept_presence_thresholds.get(concept.id, self.decision.presence_threshold),
        )

    def _free(self, prompt: Prompt, text: str) -> Question:
        if not self._phrases:
            return Question(prompt, (), "names no structure that this model knows")
        similarities = self._phrase_embeddings @ self.bank.embed([text])[0]
        best = int(np.argmax(similarities))
        nearest, similarity = self._phrases[best][1], float(similarities[best])
        refusal = self._refusal(text, nearest, similarity) if self.guarded else ""
        if refusal:
            return Question(prompt, (), refusal)
        note = f"read as free text, nearest to {nearest.name} (similarity {similarity:.2f}): check the result"
        part = Part(Wording(text, side_of(text)), None, self.decision.threshold, self.decision.presence_threshold)
        return Question(prompt, (part,), note=note)

    def _refusal(self, text: str, nearest: Concept, similarity: float) -> str:
        """Why free text is not asked, "" where it is."""
        if similarity < self.decision.text_similarity:
            return "names no structure that this model knows"
        if not self.is_answered(nearest):
            return self._too_few(nearest.name, [nearest])
        other = foreign_word(text, nearest, self.vocabulary)
        if other:
            return told_apart(other, nearest.name)
        if side_of(text) is not Side.NONE or nearest.side is not Side.NONE:
            # A side is geometry to the model: for words without a query of their own it draws half of all there is. And
            # a side that was said in words that are not known ("pulmao dir") was not understood.
            return f"no structure that this model knows; {nearest.name} is near in words"
        return ""


@dataclass(frozen=True)
class _Asked:
    """What is asked for a structure or an expression.

    Attributes:
        parts: queries.
        formula: how they make up the answer.
        notes: what the user should know.
        scans: the least number of training scans that showed one of them.
    """

    parts: tuple[Part, ...]
    formula: Formula
    notes: tuple[str, ...]
    scans: int


def _combined(operation: Operation, asked: Sequence[_Asked], notes: Sequence[str], side: Side = Side.NONE) -> _Asked:
    """Combine what is asked; the parts follow each other."""
    parts: tuple[Part, ...] = ()
    operands = []
    for one in asked:
        operands.append(one.formula.moved(len(parts)))
        parts += one.parts
    return _Asked(
        parts,
        operands[0] if operation == "union" and len(operands) == 1 else Formula(operation, tuple(operands), side=side),
        (*notes, *(note for one in asked for note in one.notes)),
        min(one.scans for one in asked),
    )


def _scans(number: int) -> str:
    return f"{number} scan{'s' if number > 1 else ''}"


def _wording(concept: Concept) -> Wording:
    return Wording(concept.name, concept.side, concept.id)


def side_of(text: str) -> Side:
    """The one side that a text names, if it names exactly one."""
    return only_side(split_side(text.split()).sides)
