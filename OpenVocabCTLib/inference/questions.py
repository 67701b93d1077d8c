"""From prompts to what is asked of the voxel embedding, or why nothing is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from OpenVocabCTLib.models.config import DecisionConfig
from OpenVocabCTLib.prompts.laterality import split_side
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
        parts: queries whose union answers it; empty when nothing can be asked.
        refusal: why nothing can be asked, "" otherwise.
        note: what the user should know about the answer.
    """

    prompt: Prompt
    parts: tuple[Part, ...]
    refusal: str = ""
    note: str = ""

    def with_threshold(self, threshold: float | None) -> Question:
        """The same question with another voxel threshold; unchanged if None."""
        if threshold is None:
            return self
        return replace(self, parts=tuple(replace(part, threshold=threshold) for part in self.parts))

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
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        bank: EmbeddingBank,
        trained: Mapping[str, int],
        decision: DecisionConfig,
    ) -> None:
        self.vocabulary, self.bank, self.trained = vocabulary, bank, dict(trained)
        self.decision = decision
        self._phrases = [
            (phrase, concept)
            for concept in vocabulary
            if concept.id in self.trained
            for phrase in vocabulary.phrases(concept)
            if phrase in bank
        ]

    def ask(self, prompt: Prompt) -> Question:
        """Turn one prompt into a question."""
        if prompt.concept is not None:
            return self._known(prompt, prompt.concept)
        if prompt.free_text is None:
            return Question(prompt, (), prompt.note)
        return self._free(prompt, prompt.free_text)

    @cached_property
    def _phrase_embeddings(self) -> np.ndarray:
        """(phrases, dim) of everything that free text is compared with."""
        return self.bank.embed([phrase for phrase, _ in self._phrases])

    def _known(self, prompt: Prompt, concept: Concept) -> Question:
        leaves: Sequence[Concept] = (concept,) if concept.id in self.trained else self.vocabulary.leaves(concept)
        seen = [leaf for leaf in leaves if leaf.id in self.trained]
        if not seen:
            return Question(prompt, (), f"this model was not trained on {concept.name}")
        trained = [leaf for leaf in seen if self.is_answered(leaf)]
        if not trained:
            return Question(prompt, (), self._too_few(concept.name, seen))
        notes = []
        if len(trained) < len(leaves):
            notes.append(f"only {', '.join(leaf.name for leaf in trained)}, which the model was trained on")
        scans = min(self.trained[leaf.id] for leaf in trained)
        if scans < _FEW_SCANS:
            notes.append(f"learned from {_scans(scans)} only, check the result")
        return Question(prompt, tuple(self._part(leaf) for leaf in trained), note="; ".join(notes))

    def is_answered(self, concept: Concept) -> bool:
        """Whether enough training scans showed a concept that the model was trained on."""
        return self.trained[concept.id] >= self.decision.minimum_scans

    def _too_few(self, name: str, seen: Sequence[Concept]) -> str:
        """Why nothing is asked: a structure seen in one patient is found in all sorts of places in another."""
        scans = max(self.trained[concept.id] for concept in seen)
        return f"this model has seen {name} in {_scans(scans)} only, too few to answer"

    def _part(self, concept: Concept) -> Part:
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
        similarity = self._phrase_embeddings @ self.bank.embed([text])[0]
        best = int(np.argmax(similarity))
        if similarity[best] < self.decision.text_similarity:
            return Question(prompt, (), "names no structure that this model knows")
        nearest = self._phrases[best][1]
        if not self.is_answered(nearest):
            return Question(prompt, (), self._too_few(nearest.name, [nearest]))
        note = f"read as free text, nearest to {nearest.name} (similarity {similarity[best]:.2f}): check the result"
        part = Part(Wording(text, _side_of(text)), None, self.decision.threshold, self.decision.presence_threshold)
        return Question(prompt, (part,), note=note)


def _scans(number: int) -> str:
    return f"{number} scan{'s' if number > 1 else ''}"


def _wording(concept: Concept) -> Wording:
    return Wording(concept.name, concept.side, concept.id)


def _side_of(text: str) -> Side:
    """The one side that free text names, if it names exactly one."""
    sides = split_side(text.split()).sides
    return next(iter(sides)) if len(sides) == 1 else Side.NONE
