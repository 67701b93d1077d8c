"""Samples for pretraining: the view of one reconstruction of a study, its report, and captions of its organs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler

from openvocabct_training.data.augment import AugmentationConfig, change_intensity
from openvocabct_training.data.store import CaseRecord, CaseStore
from openvocabct_training.pretraining.corpus import Caption, ReportRow
from openvocabct_training.pretraining.views import Shift, view_image, view_masks
from OpenVocabCTLib.prompts.vocabulary import Vocabulary


@dataclass(frozen=True)
class ViewConfig:
    """What is drawn from a study.

    Attributes:
        size: (S, A, R) working voxels of the view.
        organs: captions of a scan, at most; which ones is random in training.
        shift: largest random shift of the view in training, in voxels.
    """

    size: tuple[int, int, int] = (32, 32, 64)
    organs: int = 8
    shift: int = 2


@dataclass(frozen=True)
class Study:
    """One report and the reconstructions that it describes."""

    name: str
    records: tuple[CaseRecord, ...]
    report: ReportRow
    captions: tuple[Caption, ...]


class ScanSample(NamedTuple):
    """One study, with K places for organs.

    Attributes:
        hu: (D, H, W).
        masks: (K, D, H, W) bool.
        drawn: (K,) bool, whether there is a mask.
        captions: K captions; None where the place is empty.
        report: text.
        study: its name.
        labels: abnormality -> whether it is there, as far as that is labelled.
    """

    hu: Tensor
    masks: Tensor
    drawn: Tensor
    captions: tuple[Caption | None, ...]
    report: str
    study: str
    labels: Mapping[str, int]


class ScanBatch(NamedTuple):
    """B samples: tensors stacked, everything else in lists."""

    hu: Tensor
    masks: Tensor
    drawn: Tensor
    captions: list[tuple[Caption | None, ...]]
    reports: list[str]
    studies: list[str]
    labels: list[Mapping[str, int]]


def collate(samples: Sequence[ScanSample]) -> ScanBatch:
    """Make a batch."""
    columns = list(zip(*samples, strict=True))
    tensors = [torch.stack(column) for column in columns[:3]]
    return ScanBatch(*tensors, *(list(column) for column in columns[3:]))  # type: ignore[arg-type]


def studies_of(
    records: Sequence[CaseRecord], reports: Sequence[ReportRow], captions: Mapping[str, Sequence[Caption]]
) -> list[Study]:
    """Join cases and reports; cases without a report are left out, and so are reports without a case."""
    by_case = {record.case: record for record in records}
    groups: dict[str, list[ReportRow]] = {}
    for row in reports:
        if row.case in by_case and row.text.strip():
            groups.setdefault(row.study, []).append(row)
    return [
        Study(name, tuple(by_case[row.case] for row in rows), rows[0], tuple(captions.get(rows[0].case, ())))
        for name, rows in sorted(groups.items())
    ]


class StudyDataset(Dataset[ScanSample]):
    """Sample ``index`` of epoch ``epoch`` is a pure function of (seed, epoch, index), so training resumes exactly.

    In training, an epoch goes through all studies once, in an order of its own, with one random reconstruction each.

    Args:
        store: where the voxels are.
        studies: what there is.
        vocabulary: what organs consist of.
        view: what is drawn.
        augmentation: ranges of changes of intensity; None for validation, where everything is fixed.
        seed: of all randomness.
    """

    def __init__(
        self,
        store: CaseStore,
        studies: Sequence[Study],
        vocabulary: Vocabulary,
        view: ViewConfig,
        augmentation: AugmentationConfig | None,
        seed: int,
    ) -> None:
        self.store, self.studies, self.vocabulary = store, list(studies), vocabulary
        self.view, self.augmentation, self.seed, self.epoch = view, augmentation, seed, 0

    def __len__(self) -> int:
        return len(self.studies)

    def __getitem__(self, index: int) -> ScanSample:
        if self.augmentation is None:
            study = self.studies[index]
            return self._sample(
                study, study.records[0], study.captions[: self.view.organs], study.report.text, (0, 0, 0)
            )
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self))
        generator = np.random.default_rng([self.seed, self.epoch, index])
        study = self.studies[order[index]]
        record = study.records[generator.integers(len(study.records))]
        chosen = generator.permutation(len(study.captions))[: self.view.organs]
        texts = [text for text in (study.report.text, study.report.findings, study.report.impression) if text.strip()]
        first, second, third = (int(by) for by in generator.integers(-self.view.shift, self.view.shift + 1, 3))
        sample = self._sample(
            study,
            record,
            [study.captions[place] for place in chosen],
            texts[generator.integers(len(texts))] if generator.random() < 0.5 else study.report.text,
            (first, second, third),
        )
        return sample._replace(hu=change_intensity(sample.hu, self.augmentation, generator))

    def _sample(
        self, study: Study, record: CaseRecord, captions: Sequence[Caption], report: str, shift: Shift
    ) -> ScanSample:
        size, places = self.view.size, self.view.organs
        hu = torch.from_numpy(view_image(self.store, record, size, shift).astype(np.float32))
        organs = [caption.organ for caption in captions]
        found = view_masks(self.store, record, organs, self.vocabulary, size, shift)
        masks = torch.zeros(places, *size, dtype=torch.bool)
        drawn = torch.zeros(places, dtype=torch.bool)
        for place, mask in enumerate(found):
            if mask is not None and mask.any():
                masks[place], drawn[place] = torch.from_numpy(mask), True
        padded = (*captions, *[None] * (places - len(captions)))
        return ScanSample(hu, masks, drawn, padded, report, study.name, study.report.labels)


class BatchesOfStudies(DistributedSampler[int]):
    """Indices of an epoch for one process: whole batches only, from the middle where a run was interrupted.

    The W processes together take the studies that one process with W times the batch would take.  By its base class
    Lightning knows that the indices are dealt out already, and does not deal them out again.

    Args:
        count: studies.
        batch_size: of every process.
        processes: of the run.
        rank: of this process.
        done: batches of this epoch that are done.
    """

    def __init__(self, count: int, batch_size: int, processes: int = 1, rank: int = 0, done: int = 0) -> None:
        super().__init__(range(count), processes, rank, shuffle=False)  # type: ignore[arg-type]
        self.batches = count // (batch_size * processes)
        self.batch_size, self.processes, self.done = batch_size, processes, done

    def __len__(self) -> int:
        return self.batches * self.batch_size

    def __iter__(self) -> Iterator[int]:
        for batch in range(self.done, self.batches):
            first = (batch * self.processes + self.rank) * self.batch_size
            yield from range(first, first + self.batch_size)
