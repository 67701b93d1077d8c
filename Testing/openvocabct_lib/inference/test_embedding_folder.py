from __future__ import annotations

import multiprocessing
import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from OpenVocabCTLib.inference.embedding import VoxelEmbedding
from OpenVocabCTLib.inference.embedding_folder import SUFFIX, EmbeddingFolder
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_lib.inference import phantoms, small_model
from Testing.openvocabct_lib.inference.test_embedding import GRID


def embedding(seed: int = 0, side: int = 8) -> VoxelEmbedding:
    values = torch.randn(9, side, side, side, generator=torch.Generator().manual_seed(seed)).half()
    return VoxelEmbedding(values, (1, 2, 3), GRID, torch.randn(2, 8), torch.tensor([[0, 0, 0]]), (32, 32, 32), 1.5)


def same(one: VoxelEmbedding | None, other: VoxelEmbedding) -> bool:
    assert one is not None
    tensors = [(getattr(one, name), getattr(other, name)) for name in ("values", "presence_tokens", "tile_starts")]
    facts = [(one.offset, one.tile, one.seconds), (other.offset, other.tile, other.seconds)]
    return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in tensors) and facts[0] == facts[1]


def test_what_was_put_is_got_by_its_key_only(tmp_path: Path) -> None:
    kept = embedding()
    folder = EmbeddingFolder(tmp_path / "cache")
    folder.put(("a", 1), kept)
    assert same(EmbeddingFolder(tmp_path / "cache").get(("a", 1), GRID), kept)
    assert folder.get(("a", 2), GRID) is None
    if os.name == "posix":
        assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700


@pytest.mark.parametrize("place", [0.0, 0.001, 0.5, 0.999])
@pytest.mark.parametrize("damage", ["changed", "cut", "empty"])
def test_a_damaged_entry_is_not_trusted_and_goes(tmp_path: Path, place: float, damage: str) -> None:
    folder = EmbeddingFolder(tmp_path)
    folder.put("key", embedding())
    (path,) = tmp_path.glob(f"*{SUFFIX}")
    content = bytearray(path.read_bytes())
    at = int(place * (len(content) - 1))
    if damage == "changed":
        content[at] ^= 0xFF
    path.write_bytes({"changed": content, "cut": content[:at], "empty": b""}[damage])
    assert folder.get("key", GRID) is None
    assert not path.exists()
    folder.put("key", embedding())
    assert folder.get("key", GRID) is not None


def test_the_least_recently_used_entry_leaves_first(tmp_path: Path) -> None:
    folder = EmbeddingFolder(tmp_path)
    for place, key in enumerate("abc"):
        folder.put(key, embedding())
        os.utime(folder._path(key), (place, place))
    size = folder._path("a").stat().st_size
    assert folder.get("a", GRID) is not None
    folder.max_bytes = 3 * size
    folder.put("d", embedding())
    assert folder.get("b", GRID) is None
    assert all(folder.get(key, GRID) is not None for key in "acd")
    folder.max_bytes = 0
    folder.put("e", embedding())
    assert [path.name for path in tmp_path.iterdir()] == [folder._path("e").name]


def test_a_folder_that_cannot_be_written_costs_time_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("no folder")
    folder = EmbeddingFolder(tmp_path / "file")
    folder.put("key", embedding())
    assert "not kept" in caplog.text
    assert folder.get("key", GRID) is None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no file sizes")
def test_a_full_disk_costs_time_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import resource

    folder, limits = EmbeddingFolder(tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        folder.put("key", embedding(side=32))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "not kept" in caplog.text
    assert not list(tmp_path.iterdir())


def refused(*_: object, **__: object) -> None:
    raise PermissionError(1, "Operation not permitted")


def test_an_entry_of_another_user_is_used_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, folder = embedding(), EmbeddingFolder(tmp_path)
    folder.put("key", kept)
    monkeypatch.setattr(os, "utime", refused)
    assert same(folder.get("key", GRID), kept)
    assert folder._path("key").exists()


def test_an_entry_that_must_not_be_read_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = EmbeddingFolder(tmp_path)
    folder.put("key", embedding())
    monkeypatch.setattr("OpenVocabCTLib.inference.embedding_folder._read", refused)
    assert folder.get("key", GRID) is None
    assert folder._path("key").exists()
    assert "cannot be read" in caplog.text


def write_and_read(folder: Path, seed: int) -> bool:
    """Put and get the same few keys again and again; whatever is got must be whole."""
    torch.set_num_threads(1)
    cache = EmbeddingFolder(folder, max_bytes=60_000)
    whole = True
    for step in range(40):
        key = (seed + step) % 3
        cache.put(key, embedding(key))
        kept = cache.get((key + 1) % 3, GRID)
        whole &= kept is None or torch.equal(kept.values, embedding((key + 1) % 3).values)
    return whole


def test_two_processes_do_not_harm_each_other(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        assert all(pool.starmap(write_and_read, [(tmp_path, 0), (tmp_path, 1)]))
    assert not list(tmp_path.glob("*.part*"))


def test_another_segmenter_answers_from_the_folder(tmp_path: Path) -> None:
    volume = phantoms.volume_on(phantoms.oblique_geometry((10.0, -5.0, 20.0)))
    first, second = small_model.window_segmenter(), small_model.window_segmenter()
    first.folder = second.folder = EmbeddingFolder(tmp_path)
    expected = first.encode(volume).segment(["left kidney", "liver"])
    got = second.encode(volume).segment(["left kidney", "liver"])
    assert second.model.calls == 0
    for one, other in zip(expected, got, strict=True):
        assert np.array_equal(one.mask, other.mask)
    moved = CTVolume.from_array(volume.array, phantoms.oblique_geometry((11.0, -5.0, 20.0)))
    second.encode(moved)
    assert second.model.calls > 0  # the same voxels on another grid are another scan
