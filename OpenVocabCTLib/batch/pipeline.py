"""Many CTs on this machine: while one is computed, the next is read and the last is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from OpenVocabCTLib.batch.manifest import Record
from OpenVocabCTLib.batch.steps import CaseSteps

if TYPE_CHECKING:
    from OpenVocabCTLib.inference import Segmenter
    from OpenVocabCTLib.volume import CTVolume


def run_here(
    cases: Sequence[CaseSteps], segmenter: Segmenter, read_volume: Callable[[Path], CTVolume]
) -> Iterator[Record]:
    """Do all cases; three CTs at most are in memory at a time.

    Args:
        cases: what to do.
        segmenter: the model; its cache of embeddings should be off, or it keeps what nobody asks for again.
        read_volume: reads a CT.

    Yields:
        One record per case, as they are finished.

    Raises:
        DiskFull, ModelError, Cancelled: what would meet every further case.
    """
    with ThreadPoolExecutor(1, "reading") as reading, ThreadPoolExecutor(1, "writing") as writing:
        written: tuple[CaseSteps, Future[Record]] | None = None
        ahead = reading.submit(cases[0].read, read_volume) if cases else None
        for place, case in enumerate(cases):
            assert ahead is not None
            volume_read = ahead
            ahead = reading.submit(cases[place + 1].read, read_volume) if place + 1 < len(cases) else None
            try:
                segmentation = case.compute(segmenter, volume_read.result())
            except Exception as error:  # noqa: BLE001 one CT that fails must not end the others
                del volume_read
                yield case.failed(error)
                continue
            del volume_read  # the CT itself is still needed for the writing only
            if written is not None:
                yield _settled(*written)
            written = case, writing.submit(case.write, segmentation)
            del segmentation
        if written is not None:
            yield _settled(*written)


def _settled(case: CaseSteps, record: Future[Record]) -> Record:
    try:
        return record.result()
    except Exception as error:  # noqa: BLE001 as above
        return case.failed(error)
