"""A scan that a model with class tables is asked about: the image passes that its prompts have needed so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from OpenVocabCTLib.inference.answers import Answer
from OpenVocabCTLib.inference.devices import memory_errors
from OpenVocabCTLib.inference.embedding import VoxelEmbedding
from OpenVocabCTLib.inference.image_pass import Progress
from OpenVocabCTLib.inference.judging import logit
from OpenVocabCTLib.inference.questions import Part, Question, Wording
from OpenVocabCTLib.inference.segmenter import Stream, Study, Thresholds
from OpenVocabCTLib.inference.tables import classes
from OpenVocabCTLib.inference.tables.classes import Contest, Winners
from OpenVocabCTLib.inference.tables.patches import encode_network
from OpenVocabCTLib.inference.tables.preprocessing import network_grid
from OpenVocabCTLib.models.class_table import ClassTable
from OpenVocabCTLib.output.masks import CroppedMask
from OpenVocabCTLib.output.segmentation import Segmentation
from OpenVocabCTLib.prompts.parsing import PromptSet
from OpenVocabCTLib.volume import CTVolume

if TYPE_CHECKING:
    from OpenVocabCTLib.inference.tables.segmenter import TableSegmenter

_NOWHERE = (slice(0, 0), slice(0, 0), slice(0, 0))


@dataclass(frozen=True)
class ClassAnswer(Answer):
    """One part of a prompt, decided among classes; ``logits`` stay empty, ``box`` is on the working grid.

    Attributes:
        network: number of the network that knows it.
        contest: the query and its rivals.
    """

    network: int = 0
    contest: Contest | None = None


@dataclass(frozen=True)
class Embeddings:
    """The voxel embeddings that a study has so far, by number of the network."""

    by_network: dict[int, VoxelEmbedding] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Memory of all of them."""
        return sum(embedding.bytes for embedding in self.by_network.values())

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of them, each note once."""
        return tuple(dict.fromkeys(note for embedding in self.by_network.values() for note in embedding.notes))


class TableStudy(Study):
    """A scan, with the image passes that its prompts have needed so far.

    Args:
        segmenter: the model.
        volume: the scan.
        progress: of image passes that a prompt starts.
    """

    def __init__(self, segmenter: TableSegmenter, volume: CTVolume, progress: Progress | None = None) -> None:
        self.segmenter: TableSegmenter = segmenter
        self.volume = volume
        self.embedding: Any = Embeddings()
        self._winners: dict[int, Winners] = {}
        self._progress = progress

    @property
    def seconds(self) -> float:  # type: ignore[override]
        """What the image passes took, when they were done."""
        return sum(one.seconds for one in self.embedding.by_network.values())

    def prepare(self, prompts: PromptSet | Iterable[str] | None, progress: Progress | None = None) -> None:
        """Run the networks that prompts need and that have not been run; all of them for None.

        Raises:
            Cancelled: ``progress`` returned False; what was finished before is kept.
            ResourceError: out of memory.
        """
        missing = self._missing(prompts)
        for place, number in enumerate(missing):
            self.embedding.by_network[number] = self._encoded(number, _share(progress, place, len(missing)))

    def is_ready_for(self, prompts: PromptSet | Iterable[str] | None) -> bool:
        """Whether every network that prompts need has been run."""
        return not self._missing(prompts)

    def _missing(self, prompts: PromptSet | Iterable[str] | None) -> list[int]:
        if prompts is None:
            needed = set(range(len(self.segmenter.tables)))
        else:
            prompt_set = prompts if isinstance(prompts, PromptSet) else PromptSet.parse(prompts)
            needed = self._needed([self.segmenter.questions.ask(prompt) for prompt in prompt_set])
        return sorted(needed - self.embedding.by_network.keys())

    def _needed(self, questions: Iterable[Question]) -> set[int]:
        return {self._query(part.wording)[0] for question in questions for part in question.parts}

    def _encoded(self, number: int, progress: Progress | None) -> VoxelEmbedding:
        segmenter = self.segmenter
        tower, config = segmenter.network_tower(number), segmenter.table_config.networks[number].preprocessing
        return segmenter.kept(
            (self.volume.content_hash(), segmenter.fingerprint, number, config, tower.name),
            lambda: network_grid(self.volume, config),
            lambda: encode_network(self.volume, tower, config, progress),
        )

    def stream(self, prompts: PromptSet | Iterable[str], threshold: Thresholds = None) -> Stream:
        """See ``Study.stream``; networks that are missing are run first."""
        prompt_set = prompts if isinstance(prompts, PromptSet) else PromptSet.parse(prompts)
        self.prepare(prompt_set, self._progress)
        return super().stream(prompt_set, threshold)

    def segment(self, prompts: PromptSet | Iterable[str], threshold: Thresholds = None) -> Segmentation:
        """See ``Study.segment``."""
        return super().segment(prompts, threshold)

    def probabilities(self, prompt: str) -> np.ndarray:
        """See ``Study.probabilities``; they are softmax probabilities, and networks that are missing are run first."""
        self.prepare([prompt], self._progress)
        return super().probabilities(prompt)

    def _probability_of(self, question: Question) -> Callable[[int], np.ndarray]:
        def native(place: int) -> np.ndarray:
            number, query = self._query(question.parts[place].wording)
            with memory_errors():
                return classes.native_probability(self.embedding.by_network[number], self._contest(number, query, None))

        return native

    def _query(self, wording: Wording) -> tuple[int, int | ClassTable]:
        """Network that is asked, and the row of its table or a new query."""
        questions = self.segmenter.questions
        place = questions.places.get(wording.concept or "")
        if place is not None:
            return place.network, place.row
        number, vector = questions.new_query(wording.text)
        row = torch.from_numpy(vector)
        return number, ClassTable(row[None, :-1], row[-1:])

    def _contest(self, number: int, query: int | ClassTable, lead: float | None) -> Contest:
        table = self.segmenter.tables[number]
        if isinstance(query, int):
            return Contest(query, table, lead)
        joined = ClassTable(torch.cat((query.vectors, table.vectors)), torch.cat((query.biases, table.biases)))
        return Contest(0, joined, lead)

    def _best(self, number: int) -> Winners:
        if number not in self._winners:
            self._winners[number] = classes.winners(self.embedding.by_network[number], self.segmenter.tables[number])
        return self._winners[number]

    def _parts(self, questions: Sequence[Question], everywhere: bool = False) -> list[list[Answer]]:
        with memory_errors():
            return [[self._part(part) for part in question.parts] for question in questions]

    def _part(self, part: Part) -> ClassAnswer:
        number, query = self._query(part.wording)
        nothing = torch.empty(0, 0, 0)
        if isinstance(query, int) and part.threshold == self._decision.threshold:
            best = self._best(number)
            box, presence = best.boxes[query], best.probability[query]
            if box is None:
                return ClassAnswer(nothing, _NOWHERE, presence, network=number)
            rows = classes.rivals(best, box, query)
            contest = Contest(0, classes.of_classes(self.segmenter.tables[number], rows))
            return ClassAnswer(nothing, box, presence, network=number, contest=contest)
        lead = None if part.threshold == self._decision.threshold else logit(part.threshold)
        contest = self._contest(number, query, lead)
        margin: Tensor = classes.working_margin(self.embedding.by_network[number], contest)
        box = classes.positive_box(margin)
        highest = float((margin.max() + (lead or 0.0)).sigmoid())
        return ClassAnswer(nothing, box or _NOWHERE, highest, network=number, contest=contest)

    def _mask(self, part: Part, answer: Answer) -> CroppedMask | None:
        if not isinstance(answer, ClassAnswer) or answer.contest is None or not answer.positive:
            return None
        mask = classes.native_mask(self.embedding.by_network[answer.network], answer.contest, answer.box)
        return mask if mask.count else None

    def _needs_middle(self, question: Question) -> bool:
        # The classes have learned their sides; only what is cut at the middle depends on it.
        return question.recipe.halves

    @property
    def _in_numpy(self) -> bool:
        return False

    def _any_embedding(self) -> VoxelEmbedding:
        return next(iter(self.embedding.by_network.values()))

    @cached_property
    def _landmarks_found(self) -> tuple[Any, ...]:
        # A network that has not been run is not run to explain why something else was not found.
        return ()


def _share(progress: Progress | None, place: int, count: int) -> Progress | None:
    """Progress of one image pass as a part of several."""
    if progress is None:
        return None
    return lambda done, total: progress(place * total + done, count * total)
