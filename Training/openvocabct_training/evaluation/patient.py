"""A scan while it is measured: its image pass is done once, and no prompt is asked twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

from openvocabct_training.clicks import centre_most_voxel
from openvocabct_training.evaluation.cases import EvaluationCase
from openvocabct_training.evaluation.predictors import Answer, EncodedScan, Predictor, Query
from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.output.masks import CroppedMask, Index3
from OpenVocabCTLib.prompts.vocabulary import Concept, Vocabulary
from OpenVocabCTLib.volume import CTVolume


class Patient:
    """One case with everything that the suites need.

    Args:
        case: what is known about the scan.
        predictor: the system under evaluation.
        vocabulary: names of the concepts.
        held_out: concepts that the system was not trained on, asked by their words alone.

    Raises:
        InputError: the case cannot be read.
    """

    def __init__(
        self, case: EvaluationCase, predictor: Predictor, vocabulary: Vocabulary, held_out: Iterable[str] = ()
    ) -> None:
        self.case, self.predictor, self.vocabulary = case, predictor, vocabulary
        self.held_out = frozenset(held_out)
        self.volume: CTVolume
        self.references: dict[str, CroppedMask]
        self.volume, self.references = case.read()
        self._answers: dict[Query, Answer] = {}
        self._clicks: dict[str, tuple[Index3, tuple[Index3, Index3]]] = {}

    @cached_property
    def scan(self) -> EncodedScan:
        """The scan after the image pass, which is done when first needed."""
        return self.predictor.encode(self.volume)

    @property
    def drawn(self) -> list[str]:
        """Concepts whose reference has voxels."""
        return [concept for concept, mask in self.references.items() if mask.count]

    def concept(self, concept_id: str) -> Concept:
        """Return a concept of the vocabulary."""
        return self.vocabulary.get(concept_id)

    def query(self, concept_id: str, text: str | None = None) -> Query:
        """Return the query for a concept by its name, or in other words."""
        text = self.concept(concept_id).name if text is None else text
        free = concept_id in self.held_out
        reference = self.references.get(concept_id)
        if reference is None or not reference.count:
            return Query(text, free=free)
        if concept_id not in self._clicks:
            self._clicks[concept_id] = click(reference, self.volume.geometry)
        point, box = self._clicks[concept_id]
        return Query(text, point, box, free)

    def ask(self, queries: Sequence[Query]) -> list[Answer]:
        """Answer queries in one go; those that were asked before cost nothing."""
        new = [query for query in dict.fromkeys(queries) if query not in self._answers]
        if new:
            self._answers.update(zip(new, self.scan.segment(new), strict=True))
        return [self._answers[query] for query in queries]

    def answer(self, concept_id: str) -> Answer:
        """Answer for a concept by its name."""
        return self.ask([self.query(concept_id)])[0]


def click(mask: CroppedMask, geometry: Geometry) -> tuple[Index3, tuple[Index3, Index3]]:
    """Return where a person would click and the box a person would draw.

    Args:
        mask: not empty.
        geometry: its grid.

    Returns:
        (k, j, i) of the voxel that is farthest, in mm, from the surface, and first and last (k, j, i) of the box.
    """
    k, j, i = (
        first + n for first, n in zip(mask.start, centre_most_voxel(mask.array, geometry.spacing[::-1]), strict=True)
    )
    last_k, last_j, last_i = (a + n - 1 for a, n in zip(mask.start, mask.array.shape, strict=True))
    return (k, j, i), (mask.start, (last_k, last_j, last_i))
