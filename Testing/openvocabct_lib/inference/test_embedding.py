from __future__ import annotations

import torch

from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.inference.embedding import EmbeddingCache, VoxelEmbedding
from OpenVocabCTLib.inference.grid import working_grid

GRID = working_grid(Geometry((4, 4, 4), (3, 3, 3), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1)), 3.0)


def embedding(kilobytes: int) -> VoxelEmbedding:
    values = torch.zeros(1, kilobytes, 16, 16, dtype=torch.float32)
    return VoxelEmbedding(values, (0, 0, 0), GRID, torch.zeros(1, 1), torch.zeros(1, 3), (32, 32, 32), 0.0)


def test_the_least_recently_used_entry_leaves_first() -> None:
    cache = EmbeddingCache(max_bytes=3 * 1024)
    for key in "abc":
        cache.put(key, embedding(1))
    assert cache.get("a") is not None
    cache.put("d", embedding(1))
    assert cache.get("b") is None
    assert all(cache.get(key) is not None for key in "acd")


def test_an_entry_that_is_too_large_is_not_kept_and_costs_nobody_else() -> None:
    cache = EmbeddingCache(max_bytes=2 * 1024)
    cache.put("small", embedding(1))
    cache.put("large", embedding(5))
    assert cache.get("large") is None
    assert cache.get("small") is not None


def test_clear() -> None:
    cache = EmbeddingCache()
    cache.put("a", embedding(1))
    cache.clear()
    assert len(cache) == 0
