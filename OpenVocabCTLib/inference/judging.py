"""Judging from one scan's embedding whether structures are in it; `presence` turns the evidence into a probability."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
from torch import Tensor

from OpenVocabCTLib.inference.answers import settle, study_logits, study_presence
from OpenVocabCTLib.inference.coverage import landmarks
from OpenVocabCTLib.inference.embedding import VoxelEmbedding
from OpenVocabCTLib.inference.presence import Evidence, expected_volume, in_view, presence
from OpenVocabCTLib.inference.questions import Part, QuestionMaker, Wording
from OpenVocabCTLib.models.config import PresenceConfig
from OpenVocabCTLib.models.heads import Queries
from OpenVocabCTLib.prompts.concepts import Concept

_AT_ONCE = 8  # with the other sides of theirs as many wordings as prompts are answered at once
_LANDMARK_PRESENCE = 0.5
_LANDMARK_ML = 5.0
_WHOLE = 0.5

Logits = Mapping[Wording, Tensor]


def logit(probability: float) -> float:
    """Return the logit of a probability between 0 and 1."""
    return math.log(probability / (1.0 - probability))


class Judge:
    """Knows the logits of one scan; safe to use from several threads.

    Args:
        embedding: of the scan.
        questions: what the model can be asked.
        calibration: how evidence becomes a probability, None where the presence head speaks for itself.
        queries: wordings to queries.
    """

    def __init__(
        self,
        embedding: VoxelEmbedding,
        questions: QuestionMaker,
        calibration: PresenceConfig | None,
        queries: Callable[[Sequence[Wording]], Queries],
    ) -> None:
        self._embedding, self._questions = embedding, questions
        self._calibration, self._queries = calibration, queries
        self._voxel_ml = float(np.prod(embedding.grid.spacing)) / 1000.0
        self._lock = threading.Lock()
        self._landmarks: tuple[tuple[Concept, Evidence], ...] | None = None

    def look(self, parts: Sequence[Part], everywhere: bool = False) -> tuple[Logits, Mapping[Wording, float]]:
        """Ask parts, their rivals with them.

        Args:
            parts: the queries.
            everywhere: look also for parts that no mask, however large, would make believable.

        Returns:
            Voxel logits (s, a, r) of the wordings that were looked for, and presence logits of all of them.
        """
        wordings = wordings_of(parts)
        queries = self._queries(wordings)
        heads = dict(zip(wordings, study_presence(self._embedding, queries).tolist(), strict=True))
        wanted = wordings_of(
            part for part in parts if everywhere or self._ceiling(part, heads[part.wording]) >= part.presence_threshold
        )
        if not wanted:
            return {}, heads
        rows = [wordings.index(wording) for wording in wanted]
        values = study_logits(self._embedding, Queries(*(one[rows] for one in queries)))
        return dict(zip(wanted, values, strict=True)), heads

    def presence(self, part: Part, logits: Logits, head: float) -> float:
        """Probability that what a part asks for is in the scan.

        Args:
            part: the query.
            logits: of its wording and its rival; without them it counts as having no voxel.
            head: presence logit of its wording.
        """
        concept, calibration = self._concept(part), self._calibration
        if calibration is None or part.wording not in logits:
            return presence(Evidence(head, 0.0), concept, calibration)
        volume_ml = expected_volume(logits[part.wording], _rival(part, logits), self._voxel_ml)
        # Landmarks cost a product with the embedding.
        wanted = concept is not None and calibration.weights[-1] != 0.0
        view = in_view(concept, self._landmarks_whole) if wanted and concept is not None else 0.0
        return presence(Evidence(head, volume_ml, view), concept, calibration)

    def _ceiling(self, part: Part, head: float) -> float:
        """Highest presence that any mask and any neighbours would give."""
        extremes = (Evidence(head, volume_ml, view) for volume_ml in (0.0, math.inf) for view in (-1.0, 1.0))
        return max(presence(one, self._concept(part), self._calibration) for one in extremes)

    def evidence(self, concepts: Sequence[Concept], neighbours: bool = True) -> list[Evidence]:
        """Measure what speaks for structures being in the scan, without masks on the native grid.

        Args:
            concepts: structures that the model answers for (``questions.answered``).
            neighbours: whether to look for landmarks around them.
        """
        measured = []
        for start in range(0, len(concepts), _AT_ONCE):
            batch = concepts[start : start + _AT_ONCE]
            parts = [self._questions.part(concept) for concept in batch]
            logits, heads = self.look(parts, everywhere=True)
            for concept, part in zip(batch, parts, strict=True):
                own, rival, limit = logits[part.wording], _rival(part, logits), logit(part.threshold)
                answer = settle(own, rival, limit, 0.0)
                measured.append(
                    Evidence(
                        heads[part.wording],
                        expected_volume(own, rival, self._voxel_ml),
                        in_view(concept, self._landmarks_whole) if neighbours else 0.0,
                        answer.voxels * self._voxel_ml,
                    )
                )
        return measured

    @property
    def landmarks_found(self) -> tuple[Concept, ...]:
        """Landmarks that are in this scan."""
        return tuple(concept for concept, _ in self._found_landmarks())

    def _found_landmarks(self) -> tuple[tuple[Concept, Evidence], ...]:
        with self._lock:
            if self._landmarks is None:
                self._landmarks = tuple(self._look_for_landmarks())
            return self._landmarks

    def _look_for_landmarks(self) -> Iterator[tuple[Concept, Evidence]]:
        asked = landmarks(self._questions.vocabulary, self._questions.answered)
        for concept, evidence in zip(asked, self.evidence(asked, neighbours=False), strict=True):
            # Without the calibration, which is fitted to what the landmarks say.
            if presence(evidence, concept, None) >= _LANDMARK_PRESENCE and evidence.answer_ml >= _LANDMARK_ML:
                yield concept, evidence

    @cached_property
    def _landmarks_whole(self) -> tuple[Concept, ...]:
        """Landmarks of which at least half of the usual volume is in this scan."""
        return tuple(
            concept
            for concept, evidence in self._found_landmarks()
            if concept.volume_ml is None or evidence.answer_ml >= _WHOLE * concept.volume_ml[0]
        )

    def _concept(self, part: Part) -> Concept | None:
        concept = part.wording.concept
        return None if concept is None else self._questions.vocabulary.get(concept)


def wordings_of(parts: Iterable[Part]) -> list[Wording]:
    """Everything that parts ask, each wording once."""
    return list(dict.fromkeys(one for part in parts for one in (part.wording, part.rival) if one is not None))


def _rival(part: Part, logits: Logits) -> Tensor | None:
    return None if part.rival is None else logits[part.rival]
