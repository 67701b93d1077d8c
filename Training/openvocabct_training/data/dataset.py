"""Training samples: a patch, the prompts that its case can answer, and their masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from openvocabct_training.data.augment import (
    AugmentationConfig,
    change_intensity,
    on_voxels,
    patch_positions,
    random_displacement,
    random_matrix,
    sample_patch,
)
from openvocabct_training.data.sampling import PromptChooser, SamplingConfig, dataset_chances, sampled_records
from openvocabct_training.data.store import CaseRecord, CaseStore
from openvocabct_training.phrases import PhraseBook
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.inference.midline import leftness, midline
from OpenVocabCTLib.prompts.vocabulary import Vocabulary

# Easy and everywhere: rarely worth centring a patch on.
_BACKGROUND_CONCEPTS = frozenset({"body", "adipose_tissue", "bones"})
_VOXELS_REMEMBERED = 400


class Sample(NamedTuple):
    """One patch.

    Attributes:
        hu: (D, H, W).
        text: (P, dim) unit-length embeddings.
        target: (P, D, H, W) bool.
        valid: (P,) bool; False for padding.
        side: (P,) 1 where the words speak of the patient's left, -1 for the right, 0 for no side.
        leftness: (D, H, W) place left (1) or right (-1) of the patient's middle.
        concept: (P,) row of the concept among those with a query of their own, -1 for others.
    """

    hu: Tensor
    text: Tensor
    target: Tensor
    valid: Tensor
    side: Tensor
    leftness: Tensor
    concept: Tensor


def _focusable(concepts: Iterable[str]) -> list[str]:
    return [concept for concept in concepts if concept not in _BACKGROUND_CONCEPTS]


def _normalised(weights: Sequence[float]) -> np.ndarray:
    """Chances that add up to 1; equal ones where no weight says otherwise."""
    chances = np.asarray(weights, float) + 1e-9
    normalised: np.ndarray = chances / chances.sum()
    return normalised


class PatchDataset(Dataset[Sample]):
    """Sample ``index`` of epoch ``epoch`` is a pure function of (seed, epoch, index), so training resumes exactly.

    Args:
        store: where the voxels are.
        split: "train" or "validation".
        trained: concepts that some training case shows.  Others are never asked for, although they may be known to
            be absent: a structure that is always absent would teach nothing but its name.
        phrases: embeddings of the wordings.
        vocabulary: concepts and their mirror images.
        sampling: how patches and prompts are drawn.
        augmentation: ranges of the random changes; ``None`` for validation, where concepts go by their names.
        seed: of all randomness.
        epoch: number of the epoch.
        length: samples in an epoch.
        concepts: those with a query of their own, in the network's order.

    Raises:
        InputError: no case belongs to a data set that is sampled.
    """

    def __init__(
        self,
        store: CaseStore,
        split: str,
        trained: Collection[str],
        phrases: PhraseBook,
        vocabulary: Vocabulary,
        sampling: SamplingConfig,
        augmentation: AugmentationConfig | None,
        seed: int,
        epoch: int,
        length: int,
        concepts: Sequence[str] = (),
    ) -> None:
        self.store, self.trained, self.phrases, self.vocabulary = store, frozenset(trained), phrases, vocabulary
        self.sampling, self.augmentation = sampling, augmentation
        self.seed, self.epoch, self.length = seed, epoch, length
        self.concepts = tuple(concepts)
        self.chooser = PromptChooser(self.trained, vocabulary, sampling)
        training = store.records("train")
        self.by_dataset: dict[str, list[CaseRecord]] = {}
        for record in sampled_records(store.records(split), sampling, training):
            if self.trained.intersection((*record.present, *record.absent)):
                self.by_dataset.setdefault(record.dataset, []).append(record)
        if not self.by_dataset:
            raise InputError(
                f"the data sets in dataset_weights have no {split} case in {store.root}",
                "prepare one that has, or name another",
            )
        counts = {name: Counter(c for case in cases for c in case.present) for name, cases in self.by_dataset.items()}
        # Rare structures would hardly be seen if all cases and all their structures were equally likely.
        self._rarity = {name: {c: 1.0 / count for c, count in each.items()} for name, each in counts.items()}
        self._case_chances = {
            name: _normalised([sum(self._rarity[name][c] for c in _focusable(case.present)) for case in cases])
            for name, cases in self.by_dataset.items()
        }
        chances = dataset_chances(sampling, training)
        self._names = [name for name in chances if name in self.by_dataset]
        self._chances = _normalised([chances[name] for name in self._names])
        self._midlines: dict[str, float] = {}
        self._voxels: dict[tuple[str, str], np.ndarray] = {}

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        generator = np.random.default_rng([self.seed, self.epoch, index])
        name = self._names[generator.choice(len(self._names), p=self._chances)]
        cases = self.by_dataset[name]
        return self.draw(cases[generator.choice(len(cases), p=self._case_chances[name])], generator)

    def draw(self, record: CaseRecord, generator: np.random.Generator) -> Sample:
        """A random patch of a case with random prompts."""
        mirrored = self.augmentation is not None and record.symmetric and generator.random() < 0.5
        positives, negatives = self.chooser.choose(record, mirrored, generator)
        centre = self._choose_centre(record, positives, generator)
        matrix = random_matrix(self.augmentation, generator, record.spacing) if self.augmentation else np.eye(3)
        displacement = (
            random_displacement(self.augmentation, generator, self.sampling.patch, record.spacing)
            if self.augmentation
            else None
        )
        if displacement is None and np.array_equal(matrix, np.eye(3)):
            # No interpolation where none is needed: at inference the network sees the working voxels as they are.
            centre = on_voxels(centre, self.sampling.patch)
        hu, target = self._cut(record, positives, centre, matrix, displacement)
        position = patch_positions(centre, matrix, self.sampling.patch, displacement)
        left = leftness(position, self._midline(record), record.spacing[2])
        if self.augmentation:
            hu = change_intensity(hu, self.augmentation, generator)
        if mirrored:
            # Right is at the high end of the last axis: a mirrored patient has left and right swapped in words.
            hu, target, left = hu.flip(-1), target.flip(-1), -left.flip(-1)
        asked = [self.chooser.name(concept, mirrored) for concept in (*positives, *negatives)]
        text = [
            self.phrases.sample(concept, generator) if self.augmentation else self.phrases.name(concept)
            for concept in asked
        ]
        sides = [self.vocabulary.get(concept).side.sign for concept in asked]
        rows = [self.concepts.index(concept) if concept in self.concepts else -1 for concept in asked]
        if not asked or generator.random() < self.sampling.nonsense_probability:
            text.append(self.phrases.nonsense(generator))
            sides.append(float(generator.choice((-1.0, 0.0, 1.0))))
        sample = self._pad(hu, text, sides, target, left, generator)
        sample.concept[: len(rows)] = torch.tensor(rows)
        return sample

    def _choose_centre(
        self, record: CaseRecord, positives: Sequence[str], generator: np.random.Generator
    ) -> np.ndarray:
        """(3,) index, not necessarily whole: near a voxel of a structure, or anywhere well inside the scan."""
        focus = _focusable(positives)
        if focus and generator.random() < self.sampling.foreground_probability:
            chances = _normalised([self._rarity[record.dataset][concept] for concept in focus])
            voxels = self._voxels_of(record, focus[generator.choice(len(focus), p=chances)])
            jitter = generator.uniform(-0.3, 0.3, 3) * np.asarray(self.sampling.patch)
            return np.clip(voxels[generator.integers(len(voxels))] + jitter, 0, np.asarray(record.shape) - 1)
        low = np.minimum(np.asarray(self.sampling.patch) / 3, np.asarray(record.shape) / 2)
        return generator.uniform(low, np.asarray(record.shape) - low)

    def _midline(self, record: CaseRecord) -> float:
        """Index along R of the patient's middle, as inference finds it in the whole scan."""
        if record.case not in self._midlines:
            hu = torch.from_numpy(self.store.image(record)[:].astype(np.float32))
            self._midlines[record.case] = midline(hu)
        return self._midlines[record.case]

    def _voxels_of(self, record: CaseRecord, concept: str) -> np.ndarray:
        """(n, 3) indices of some voxels of a concept, always the same ones."""
        key = (record.case, concept)
        if key not in self._voxels:
            where = np.argwhere(self.store.labels(record)[list(record.present).index(concept)])
            keep = np.random.default_rng(0).permutation(len(where))[:_VOXELS_REMEMBERED]
            self._voxels[key] = where[keep].astype(np.int16)
        return self._voxels[key]

    def _cut(
        self,
        record: CaseRecord,
        concepts: Sequence[str],
        centre: np.ndarray,
        matrix: np.ndarray,
        displacement: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Read the block that the patch needs, and sample it: (D, H, W) HU and (P, D, H, W) bool."""
        reach = np.abs(matrix) @ (np.asarray(self.sampling.patch) / 2.0) + 2
        if displacement is not None:
            reach = reach + displacement.abs().amax((1, 2, 3)).numpy()
        low = np.clip(np.floor(centre - reach), 0, np.asarray(record.shape) - 1).astype(int)
        high = np.clip(np.ceil(centre + reach), low + 1, record.shape).astype(int)
        block = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        image = self.store.image(record)[block]
        order = list(record.present)
        stored = self.store.labels(record)
        labels = np.zeros((len(concepts), *image.shape), np.uint8)
        for plane, concept in zip(labels, concepts, strict=True):
            plane[...] = stored[(order.index(concept), *block)]
        return sample_patch(image, labels, centre - low, matrix, self.sampling.patch, displacement)

    def _pad(
        self,
        hu: Tensor,
        text: list[np.ndarray],
        sides: list[float],
        target: Tensor,
        left: Tensor,
        generator: np.random.Generator,
    ) -> Sample:
        """Pad to as many prompts as any sample can have, and blur the words a little."""
        prompts = self.sampling.positives + self.sampling.negatives + 1
        embeddings = np.zeros((prompts, text[0].shape[0]), np.float32)
        embeddings[: len(text)] = np.stack(text)
        if self.augmentation and self.sampling.text_noise:
            noise = generator.normal(size=embeddings.shape) * self.sampling.text_noise / np.sqrt(embeddings.shape[1])
            embeddings = (embeddings + noise).astype(np.float32)
        full = torch.zeros(prompts, *hu.shape, dtype=torch.bool)
        full[: target.shape[0]] = target
        side = torch.zeros(prompts)
        side[: len(sides)] = torch.tensor(sides)
        return Sample(
            hu=hu,
            text=torch.from_numpy(embeddings),
            target=full,
            valid=torch.arange(prompts) < len(text),
            side=side,
            leftness=left,
            concept=torch.full((prompts,), -1),
        )
