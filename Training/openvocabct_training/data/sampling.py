"""What is drawn: data sets, cases and prompts, and which sample of an epoch goes where."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from torch.utils.data import DistributedSampler

from openvocabct_training.data.store import CaseRecord
from OpenVocabCTLib.prompts.vocabulary import Vocabulary

AUTO: Literal["auto"] = "auto"


@dataclass(frozen=True)
class SamplingConfig:
    """How patches and prompts are drawn.

    Attributes:
        patch: (S, A, R) working voxels.
        dataset_weights: chance of each data set, where data sets that are not named are not used; or "auto": all data
            sets of the store, every case with a weight of 1/sqrt(n), n cases being in its data set, so that a data set
            of a hundred times as many cases is drawn ten times as often (Ulrich et al. 2023, arXiv:2303.14444).
        foreground_probability: chance that a patch is centred on a structure.
        positives: prompts about structures of the case, at most.
        negatives: prompts about structures that are annotated as absent, at most.
        nonsense_probability: chance of one prompt that names nothing anatomical.
        text_noise: standard deviation of noise on text embeddings, relative to their length.
        pair_probability: chance that a structure of one side brings that of the other side with it.  Both are then
            asked of the same patch, and each one's voxels are the other one's negatives; where the other side is
            known to be absent, it is asked first among what is absent.
        exclude_concepts: never asked in training, neither where they are nor where they are not, nor as the mirror
            image of their other side: concepts that are held out to be asked by name afterwards.
    """

    patch: tuple[int, int, int] = (64, 96, 96)
    dataset_weights: Mapping[str, float] | Literal["auto"] = field(default_factory=lambda: {"openkbp": 1.0})
    foreground_probability: float = 0.8
    positives: int = 10
    negatives: int = 3
    nonsense_probability: float = 0.2
    text_noise: float = 0.1
    pair_probability: float = 0.5
    exclude_concepts: tuple[str, ...] = ()


def dataset_chances(sampling: SamplingConfig, records: Sequence[CaseRecord]) -> dict[str, float]:
    """Weight of every data set.

    Args:
        sampling: the configuration.
        records: the training cases of the store, which "auto" counts.
    """
    if isinstance(sampling.dataset_weights, Mapping):
        return dict(sampling.dataset_weights)
    counts = Counter(record.dataset for record in records)
    return {name: count / math.sqrt(count) for name, count in sorted(counts.items())}


def sampled_records(
    records: Sequence[CaseRecord], sampling: SamplingConfig, training: Sequence[CaseRecord] | None = None
) -> list[CaseRecord]:
    """The cases of the data sets that are sampled at all.

    Args:
        records: cases to choose from.
        sampling: the configuration.
        training: the training cases, if ``records`` are others.
    """
    chances = dataset_chances(sampling, records if training is None else training)
    return [record for record in records if chances.get(record.dataset, 0.0) > 0.0]


def count_concepts(records: Sequence[CaseRecord]) -> dict[str, int]:
    """Concept id -> number of cases that show it, in alphabetical order."""
    return dict(sorted(Counter(concept for record in records for concept in record.present).items()))


class PromptChooser:
    """Chooses the concepts that a patch is asked about; nothing that its case does not answer.

    Args:
        trained: concepts that some training case shows.
        vocabulary: concepts and their mirror images.
        sampling: numbers and chances.
    """

    def __init__(self, trained: frozenset[str], vocabulary: Vocabulary, sampling: SamplingConfig) -> None:
        self.trained, self.vocabulary, self.sampling = trained, vocabulary, sampling
        self._excluded = frozenset(sampling.exclude_concepts)

    def name(self, concept: str, mirrored: bool) -> str:
        """What a structure is called, in a mirrored patient the name of its other side."""
        return (self.vocabulary.get(concept).mirror or concept) if mirrored else concept

    def choose(self, record: CaseRecord, mirrored: bool, generator: np.random.Generator) -> tuple[list[str], list[str]]:
        """Concepts that the case shows, and concepts that it is known not to show, by their names in the record.

        Args:
            record: the case.
            mirrored: the patient will be mirrored, and what is asked renamed with ``name``.
            generator: of the randomness.
        """
        present = [concept for concept in record.present if self._may_be_asked(concept, mirrored)]
        absent = [concept for concept in record.absent if self._may_be_asked(concept, mirrored)]
        positives = self._with_mirrors(_shuffled(present, generator), generator)[: self.sampling.positives]
        negatives = _shuffled(absent, generator)
        if generator.random() < self.sampling.pair_probability:
            others = {self.vocabulary.get(concept).mirror for concept in positives}
            negatives.sort(key=lambda concept: concept not in others)
        return positives, negatives[: self.sampling.negatives]

    def _may_be_asked(self, concept: str, mirrored: bool) -> bool:
        # In a mirrored patient an excluded left side is an ordinary right one, and a right side the excluded left one.
        known = concept in self.trained or (mirrored and concept in self._excluded)
        return known and self.name(concept, mirrored) not in self._excluded

    def _with_mirrors(self, concepts: list[str], generator: np.random.Generator) -> list[str]:
        """The same concepts, the two of a pair often one after the other."""
        result: list[str] = []
        for concept in concepts:
            if concept in result:
                continue
            result.append(concept)
            mirror = self.vocabulary.get(concept).mirror
            if mirror in concepts and mirror not in result and generator.random() < self.sampling.pair_probability:
                result.append(mirror)
        return result


def _shuffled(concepts: Sequence[str], generator: np.random.Generator) -> list[str]:
    shuffled: list[str] = generator.permutation(np.array(concepts, object)).tolist()
    return shuffled


def place_in_epoch(steps: int, batches: int, accumulated: int = 1) -> tuple[int, int]:
    """Where a run is after a number of optimiser steps: epoch, and batches of it that are done.

    An epoch ends with a step, be it from fewer batches than are usually added up.

    Args:
        steps: of the optimiser, since the run began.
        batches: of an epoch, for one process.
        accumulated: batches whose gradients are added up for one step.
    """
    epoch, done = divmod(steps, math.ceil(batches / accumulated))
    return epoch, done * accumulated


class PatchSampler(DistributedSampler[int]):
    """Indices of an epoch in order, dealt out to the processes of a run, from the middle where it was interrupted.

    With W processes and b patches a step, the processes together draw the W*b patches that one process with W*b
    patches a step would draw.

    Args:
        samples: what has as many samples as the epoch.
        processes: of the run.
        rank: of this process.
        done: samples of this epoch that this process has already trained on.
    """

    def __init__(self, samples: Sized, processes: int = 1, rank: int = 0, done: int = 0) -> None:
        super().__init__(samples, processes, rank, shuffle=False)  # type: ignore[arg-type]
        self.done = done

    def __iter__(self) -> Iterator[int]:
        """Go through what is left; ``len`` stays that of the whole epoch, as Lightning counts."""
        return iter(list(super().__iter__())[self.done :])
