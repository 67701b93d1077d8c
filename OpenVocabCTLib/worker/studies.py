"""The volumes that the worker keeps, with what the models made of them; the least recently used go first."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from OpenVocabCTLib.errors import ResourceError
from OpenVocabCTLib.worker.errors import StudyMissing

if TYPE_CHECKING:
    from OpenVocabCTLib.inference import Study
    from OpenVocabCTLib.volume import CTVolume

# Model (name or folder, None for the default of the library) and device, as asked for.
ModelId = tuple[str | None, str]

GIGABYTE = 1_000_000_000


@dataclass(frozen=True)
class Limits:
    """How much a worker keeps.

    Attributes:
        upload_bytes: largest volume that it accepts.
        studies: number of volumes.
        total_bytes: memory of all volumes and embeddings; one volume is kept in any case.
    """

    upload_bytes: int = 4 * GIGABYTE
    studies: int = 4
    total_bytes: int = 8 * GIGABYTE


@dataclass
class KeptStudy:
    """One volume.

    Attributes:
        volume: the scan.
        encoded: its image passes, by model.
    """

    volume: CTVolume
    encoded: dict[ModelId, Study] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Memory of the voxels and of all embeddings."""
        return self.volume.array.nbytes + sum(study.embedding.bytes for study in self.encoded.values())


class StudyStore:
    """Keeps volumes by key; safe to use from many threads.

    Args:
        limits: how much it keeps.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._kept: OrderedDict[str, KeptStudy] = OrderedDict()
        self._pinned: Counter[str] = Counter()
        self._reserved = 0
        self._lock = threading.RLock()

    def get(self, key: str) -> KeptStudy:
        """Return a volume, which is then the most recently used.

        Raises:
            StudyMissing: it is not here.
        """
        with self._lock:
            if key not in self._kept:
                raise StudyMissing("the worker does not have this volume", "send it again")
            self._kept.move_to_end(key)
            return self._kept[key]

    def put(self, key: str, volume: CTVolume) -> None:
        """Keep a volume; others go where limits want it."""
        with self._lock:
            self._kept.setdefault(key, KeptStudy(volume))
            self._kept.move_to_end(key)
            self._make_room(key)

    def add(self, key: str, model: ModelId, study: Study) -> None:
        """Keep an image pass with its volume.

        Raises:
            StudyMissing: the volume was dropped meanwhile.
        """
        with self._lock:
            self.get(key).encoded[model] = study
            self._make_room(key)

    def study(self, key: str, model: ModelId) -> Study | None:
        """Return an image pass, None where there is none.

        Raises:
            StudyMissing: the volume is not here.
        """
        with self._lock:
            return self.get(key).encoded.get(model)

    @contextmanager
    def reserve(self, count: int) -> Iterator[None]:
        """Count bytes as used while a volume comes in.

        Raises:
            ResourceError: so much cannot be freed.
        """
        with self._lock:
            self._reserved += count
            self._make_room(None)
            if self._reserved > count and self._used() > self.limits.total_bytes:
                self._reserved -= count
                raise ResourceError("the worker has no memory left for this volume", "try again in a while")
        try:
            yield
        finally:
            with self._lock:
                self._reserved -= count

    def pin(self, key: str) -> None:
        """Do not drop this volume to make room, until `unpin`."""
        with self._lock:
            self.get(key)
            self._pinned[key] += 1

    def unpin(self, key: str) -> None:
        """Undo one `pin`."""
        with self._lock:
            self._pinned[key] -= 1
            self._pinned += Counter()  # forgets zeros
            # Whoever had it read asks about it next, also when it needs more memory than all are meant to.
            self._make_room(key if key in self._kept else next(reversed(self._kept), None))

    def drop(self, key: str) -> None:
        """Forget a volume.

        Raises:
            StudyMissing: it is not here.
        """
        with self._lock:
            self.get(key)
            del self._kept[key]

    def drop_model(self, model: ModelId) -> None:
        """Forget all image passes of a model."""
        with self._lock:
            for kept in self._kept.values():
                kept.encoded.pop(model, None)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()

    def report(self) -> list[dict[str, Any]]:
        """Describe what is kept, without anything about the patient."""
        with self._lock:
            return [{"key": key, "bytes": kept.bytes, "encoded": len(kept.encoded)} for key, kept in self._kept.items()]

    @property
    def bytes(self) -> int:
        """Memory of everything that is kept."""
        with self._lock:
            return sum(kept.bytes for kept in self._kept.values())

    def __len__(self) -> int:
        return len(self._kept)

    def _used(self) -> int:
        return self.bytes + self._reserved

    def _make_room(self, kept: str | None) -> None:
        """Drop what was not used for longest; one is kept in any case, unless another is about to come in."""
        while len(self._kept) > self.limits.studies or self._used() > self.limits.total_bytes:
            oldest = next((key for key in self._kept if key != kept and not self._pinned[key]), None)
            if oldest is None:
                return
            del self._kept[oldest]
