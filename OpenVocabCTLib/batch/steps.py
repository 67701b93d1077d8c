"""The three steps of one CT, reading, computing and writing, and the record of how they went."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from OpenVocabCTLib.batch.jobs import Job
from OpenVocabCTLib.batch.manifest import Record
from OpenVocabCTLib.commands.failures import as_user_error
from OpenVocabCTLib.commands.results import segment_record
from OpenVocabCTLib.errors import Cancelled, ModelError, OpenVocabCTError, ResourceError
from OpenVocabCTLib.output.atomic import os_error
from OpenVocabCTLib.output.segmentation import Overlap

if TYPE_CHECKING:
    from OpenVocabCTLib.inference import Segmenter
    from OpenVocabCTLib.output import Segmentation
    from OpenVocabCTLib.volume import CTVolume


class DiskFull(ResourceError):
    """Nothing more can be written; every further CT would meet the same."""


@dataclass
class CaseSteps:
    """One CT on its way; the steps are called one after the other, each in any thread.

    Attributes:
        job: what to do.
        blank: its record with nothing in it.
        overlap: for a label map, who gets a voxel that two segments claim.
        seconds: time by stage.
    """

    job: Job
    blank: Record
    overlap: Overlap = "error"
    seconds: dict[str, float] = field(default_factory=dict)

    def read(self, read_volume: Callable[[Path], CTVolume]) -> CTVolume:
        """Read the CT."""
        with self._timed("read"):
            return read_volume(self.job.case.source)

    def compute(self, segmenter: Segmenter, volume: CTVolume) -> Segmentation:
        """Do the image pass and answer the prompts."""
        from OpenVocabCTLib.prompts import PromptSet

        with self._timed("image_pass"):
            study = segmenter.encode(volume)
        with self._timed("prompts"):
            return study.segment(PromptSet.parse(self.job.prompts), self.job.threshold)

    def write(self, segmentation: Segmentation) -> Record:
        """Write the result.

        Raises:
            DiskFull: the disk is full.
        """
        output = self.job.case.output
        with self._timed("write"):
            try:
                output.parent.mkdir(parents=True, exist_ok=True)
                segmentation.write(output, overlap=self.overlap)
            except ResourceError as error:
                raise DiskFull(error.what, error.todo) from error
            except OSError as error:
                raise os_error(error, output) from error
        return replace(
            self.blank,
            segments=tuple(segment_record(segment) for segment in segmentation),
            notes=segmentation.notes,
            seconds=dict(self.seconds),
        )

    def failed(self, error: BaseException) -> Record:
        """Return the record of a failure.

        Raises:
            DiskFull, ModelError, Cancelled: these end the batch.
        """
        told = as_user_error(error)
        if isinstance(told, DiskFull | ModelError | Cancelled):
            raise told from error
        return failure(self.blank, told, self.seconds)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = round(time.perf_counter() - began, 3)


def failure(blank: Record, error: OpenVocabCTError, seconds: dict[str, float] | None = None) -> Record:
    """Return a record that says what went wrong."""
    return replace(blank, error=str(error), exit_code=error.exit_code, seconds=dict(seconds or {}))
