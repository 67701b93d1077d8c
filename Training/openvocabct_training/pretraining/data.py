"""Lightning's view of a store with reports: training batches of studies, and all validation studies in order."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader, DistributedSampler

from openvocabct_training.data.augment import AugmentationConfig
from openvocabct_training.data.sampling import place_in_epoch
from openvocabct_training.data.store import MANIFEST, CaseStore
from openvocabct_training.pretraining.corpus import (
    CAPTIONS,
    REPORTS,
    captions_by_report,
    read_decompositions,
    read_reports,
)
from openvocabct_training.pretraining.dataset import BatchesOfStudies, StudyDataset, ViewConfig, collate, studies_of
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.prompts.vocabulary import Vocabulary

log = logging.getLogger(__name__)


class ResumableBatches(DataLoader):
    """Says to Lightning that it can go on from the middle of an epoch: its sampler was told where that is."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the trainer counts the steps of an epoch."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to do."""


class PretrainingData(pl.LightningDataModule):
    """Studies with their reports.

    Args:
        store: folder written by ``openvocabct-train prepare``, with ``reports.jsonl`` and ``captions.jsonl``.
        view: what is drawn from a study.
        augmentation: ranges of changes of intensity.
        batch_size: studies a step of every process; never two reconstructions of one study.
        workers: processes that draw samples, for every process that trains.
        seed: of all randomness.
    """

    def __init__(
        self,
        store: str,
        view: ViewConfig,
        augmentation: AugmentationConfig,
        batch_size: int = 8,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.store = CaseStore(Path(store))
        self.view, self.augmentation = view, augmentation
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        self._datasets: dict[str, StudyDataset] = {}

    def setup(self, stage: str) -> None:
        """Join cases, reports and captions.

        Raises:
            InputError: the store lacks one of them, or has too few studies for a batch.
        """
        reports = read_reports(self.store.root / REPORTS)
        captions = captions_by_report(reports, read_decompositions(self.store.root / CAPTIONS))
        for split, augmentation in (("train", self.augmentation), ("validation", None)):
            studies = studies_of(self.store.records(split), reports, captions)
            self._datasets[split] = StudyDataset(
                self.store, studies, Vocabulary.load(), self.view, augmentation, self.seed
            )
        processes = getattr(self.trainer, "world_size", 1)
        if len(self._datasets["train"]) < self.batch_size * processes:
            raise InputError(
                f"{len(self._datasets['train'])} training studies with reports are fewer than a batch",
                "lower data.batch_size, or prepare more studies",
            )

    def fingerprint(self) -> str:
        """Identifies voxels and texts."""
        digest = hashlib.sha256()
        for name in (MANIFEST, REPORTS, CAPTIONS):
            digest.update((self.store.root / name).read_bytes())
        return digest.hexdigest()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint says about the data."""
        return {"data_sha256": self.fingerprint()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Say so if a run goes on with other data than it began with."""
        if state_dict.get("data_sha256", self.fingerprint()) != self.fingerprint():
            log.warning("%s has changed since this run began: it goes on, with other samples", self.store.root)

    def train_dataloader(self) -> DataLoader:
        """Batches of the current epoch; those that are left of it where a run is resumed in its middle."""
        dataset, trainer = self._datasets["train"], self.trainer
        processes, rank = getattr(trainer, "world_size", 1), getattr(trainer, "global_rank", 0)
        sampler = BatchesOfStudies(len(dataset), self.batch_size, processes, rank)
        steps, accumulated = (0, 1) if trainer is None else (trainer.global_step, trainer.accumulate_grad_batches)
        # Lightning's own number of the epoch is one too high in a run that was resumed at the end of an epoch.
        dataset.epoch, sampler.done = place_in_epoch(steps, sampler.batches, accumulated)
        return ResumableBatches(dataset, self.batch_size, sampler=sampler, num_workers=self.workers, collate_fn=collate)

    def val_dataloader(self) -> DataLoader:
        """All validation studies, dealt out to the processes."""
        dataset, trainer = self._datasets["validation"], self.trainer
        processes, rank = getattr(trainer, "world_size", 1), getattr(trainer, "global_rank", 0)
        sampler = DistributedSampler(dataset, processes, rank, shuffle=False) if processes > 1 else None
        return DataLoader(dataset, self.batch_size, sampler=sampler, num_workers=self.workers, collate_fn=collate)
