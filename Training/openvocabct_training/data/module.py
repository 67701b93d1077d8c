"""Lightning's view of the store: loaders of training patches and of fixed validation patches."""

from __future__ import annotations

import hashlib
import logging
import math
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from openvocabct_training.data.augment import AugmentationConfig
from openvocabct_training.data.dataset import PatchDataset, Sample
from openvocabct_training.data.sampling import (
    PatchSampler,
    SamplingConfig,
    count_concepts,
    place_in_epoch,
    sampled_records,
)
from openvocabct_training.data.store import MANIFEST, CaseStore
from openvocabct_training.phrases import PhraseBook
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.prompts.vocabulary import Vocabulary

log = logging.getLogger(__name__)

PHRASES_FILE = "phrases.safetensors"


class ResumableLoader(DataLoader[Sample]):
    """Says to Lightning that it can go on from the middle of an epoch: its sampler was told where that is."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the trainer counts the steps of an epoch."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to do."""


class PatchDataModule(pl.LightningDataModule):
    """Patches of the store for training, and fixed patches of validation patients.

    Args:
        store: folder written by ``openvocabct-train prepare``.
        sampling: how patches and prompts are drawn.
        augmentation: ranges of the random changes.
        batch_size: patches a step of every process.
        samples_per_epoch: patches an epoch, of all processes together.
        validation_samples: fixed patches for validation.
        workers: processes that draw patches, for every process that trains.
        seed: of all randomness.
    """

    def __init__(
        self,
        store: str,
        sampling: SamplingConfig,
        augmentation: AugmentationConfig,
        batch_size: int = 1,
        samples_per_epoch: int = 250,
        validation_samples: int = 24,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.store = CaseStore(Path(store))
        self.sampling, self.augmentation = sampling, augmentation
        self.batch_size, self.samples_per_epoch = batch_size, samples_per_epoch
        self.validation_samples, self.workers, self.seed = validation_samples, workers, seed
        self.concepts: tuple[str, ...] = ()
        self.vocabulary = Vocabulary.load()
        self._phrases: PhraseBook | None = None
        self._datasets: dict[str, PatchDataset] = {}

    def trained_concepts(self) -> dict[str, int]:
        """Concept id -> number of training cases that show it, of the data sets that are sampled; without excluded."""
        counts = count_concepts(sampled_records(self.store.records("train"), self.sampling))
        return {concept: cases for concept, cases in counts.items() if concept not in self.sampling.exclude_concepts}

    def manifest_sha256(self) -> str:
        """Identifies the training data: the manifest holds a hash of the voxels of every case."""
        return hashlib.sha256((self.store.root / MANIFEST).read_bytes()).hexdigest()

    def prepare_data(self) -> None:
        """Compute the phrase embeddings if need be, in one process."""
        self._phrase_book()

    def setup(self, stage: str) -> None:
        """Read the phrase embeddings, and which concepts the network has a query of its own for."""
        self._phrases = self._phrase_book()
        if self.trainer is not None:
            self.concepts = tuple(getattr(self.trainer.lightning_module, "concepts", ()))

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint says about the data, for ``export`` and for resuming."""
        return {"trained_concepts": self.trained_concepts(), "manifest_sha256": self.manifest_sha256()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Say so if a run goes on with other data than it began with."""
        if state_dict.get("manifest_sha256", self.manifest_sha256()) != self.manifest_sha256():
            log.warning("%s has changed since this run began: it goes on, with other patches", self.store.root)

    def train_dataloader(self) -> DataLoader[Sample]:
        """Patches of the current epoch; those that are left of it where a run is resumed in its middle.

        Raises:
            InputError: the trainer would not ask for new patches every epoch.
        """
        trainer = self.trainer
        # Set by one of Lightning's connectors, so its type is not known.
        if trainer is not None and trainer.reload_dataloaders_every_n_epochs != 1:  # type: ignore[attr-defined]
            raise InputError(
                "every epoch would show the same patches", "set trainer.reload_dataloaders_every_n_epochs to 1"
            )
        epoch, batches_done = self._place()
        return self._loader("train", self.augmentation, epoch, self.samples_per_epoch, batches_done)

    def val_dataloader(self) -> DataLoader[Sample]:
        """The same unaugmented patches every time."""
        return self._loader("validation", None, 0, self.validation_samples)

    def _place(self) -> tuple[int, int]:
        """Epoch to draw from, and batches of it that were drawn before the run was interrupted.

        Both follow from the number of steps: Lightning's own number of the epoch is one too high in a run that was
        resumed at the end of an epoch.
        """
        trainer = self.trainer
        if trainer is None:
            return 0, 0
        batches = max(1, math.ceil(self.samples_per_epoch / (self.batch_size * trainer.world_size)))
        return place_in_epoch(trainer.global_step, batches, trainer.accumulate_grad_batches)

    def _phrase_book(self) -> PhraseBook:
        concepts = [self.vocabulary.get(concept) for concept in self.trained_concepts()]
        # A mirrored patient is asked about the other side.
        asked = {concept.id for concept in concepts} | {concept.mirror for concept in concepts if concept.mirror}
        # ... except for what is held out; but an excluded left side is asked as a right one.
        asked |= {self.vocabulary.get(concept).mirror or concept for concept in self.sampling.exclude_concepts}
        asked -= set(self.sampling.exclude_concepts)
        return PhraseBook(self.vocabulary, self.store.root / PHRASES_FILE, asked)

    def _loader(
        self, split: str, augmentation: AugmentationConfig | None, epoch: int, length: int, batches_done: int = 0
    ) -> DataLoader[Sample]:
        if self._phrases is None:
            raise RuntimeError("call setup() before asking for patches")
        # Made once: a data set remembers where structures and midlines are.
        if split not in self._datasets:
            self._datasets[split] = PatchDataset(
                store=self.store,
                split=split,
                trained=self.trained_concepts(),
                phrases=self._phrases,
                vocabulary=self.vocabulary,
                sampling=self.sampling,
                augmentation=augmentation,
                seed=self.seed,
                epoch=epoch,
                length=length,
                concepts=self.concepts,
            )
        self._datasets[split].epoch = epoch
        dataset, trainer = self._datasets[split], self.trainer
        processes, rank = getattr(trainer, "world_size", 1), getattr(trainer, "global_rank", 0)
        sampler = PatchSampler(dataset, processes, rank, batches_done * self.batch_size)
        return ResumableLoader(dataset, self.batch_size, sampler=sampler, num_workers=self.workers)
