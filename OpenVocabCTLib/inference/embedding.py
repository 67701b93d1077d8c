"""The voxel embedding of a scan, and the cache that keeps the last few."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from torch import Tensor

from OpenVocabCTLib.inference.grid import WorkingGrid
from OpenVocabCTLib.inference.tiling import Index3


@dataclass(frozen=True, eq=False)
class VoxelEmbedding:
    """What the image tower knows about a scan; every prompt is answered from it.

    Attributes:
        values: (E, s, a, r) blended voxel embedding of the part of the working grid that holds the patient.
        offset: index in the working grid of ``values[:, 0, 0, 0]``.
        grid: the working grid.
        presence_tokens: (T, E) float32, one per tile.
        tile_starts: (T, 3) first index of each tile within ``values``.
        tile: size of the tiles.
        seconds: what the image pass took.
        notes: what the user should know about it.
        middle_known: False where left and right cannot be told apart, see ``inference.centring``.
    """

    values: Tensor
    offset: Index3
    grid: WorkingGrid
    presence_tokens: Tensor
    tile_starts: Tensor
    tile: Index3
    seconds: float
    notes: tuple[str, ...] = ()
    middle_known: bool = True

    @property
    def bytes(self) -> int:
        """Memory of the values."""
        return self.values.numel() * self.values.element_size()


class EmbeddingCache:
    """Least recently used embeddings within a memory limit; safe to share between threads.

    Args:
        max_bytes: memory for all entries; one entry larger than that is not kept.
    """

    def __init__(self, max_bytes: int = 2_000_000_000) -> None:
        self.max_bytes = max_bytes
        self._entries: OrderedDict[Hashable, VoxelEmbedding] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> VoxelEmbedding | None:
        """The embedding stored under ``key``, or None."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
            return self._entries.get(key)

    def put(self, key: Hashable, embedding: VoxelEmbedding) -> None:
        """Store an embedding, dropping the least recently used ones where memory runs short."""
        with self._lock:
            self._entries.pop(key, None)
            if embedding.bytes > self.max_bytes:
                return
            self._entries[key] = embedding
            while sum(entry.bytes for entry in self._entries.values()) > self.max_bytes:
                self._entries.popitem(last=False)

    def clear(self) -> None:
        """Free all memory."""
        with self._lock:
            self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)
