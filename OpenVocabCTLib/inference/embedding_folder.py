"""Voxel embeddings on disk: a scan that was opened yesterday needs no image pass today."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Hashable
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from OpenVocabCTLib import __version__
from OpenVocabCTLib.errors import OpenVocabCTError
from OpenVocabCTLib.inference.embedding import VoxelEmbedding
from OpenVocabCTLib.inference.grid import WorkingGrid
from OpenVocabCTLib.inference.tiling import Index3
from OpenVocabCTLib.output.atomic import replacing

_log = logging.getLogger(__name__)

SUFFIX = ".embedding.safetensors"
# The embedding is made by these modules: when they change, so may the embedding, whatever the version says.
_MODULES = (
    *("image_pass.py", "device_pass.py", "gathering.py", "tiling.py", "grid.py", "midline.py", "centring.py"),
    *("tables/patches.py", "tables/preprocessing.py"),
)
_CODE = tuple(Path(__file__).parent / name for name in _MODULES)
_TENSORS = ("values", "presence_tokens", "tile_starts")


class EmbeddingFolder:
    """Keeps voxel embeddings in a folder, which several processes may share; the least recently used go first.

    An entry is written under a temporary name and renamed, and carries a sha256 of what is in it: one that is damaged
    is removed, and made again. A folder that cannot be written costs time only.

    Args:
        folder: made when needed, readable by this user only.
        max_bytes: of all entries; the newest one is kept in any case.
    """

    def __init__(self, folder: Path, max_bytes: int = 20_000_000_000) -> None:
        self.folder, self.max_bytes = folder, max_bytes

    def get(self, key: Hashable, grid: WorkingGrid) -> VoxelEmbedding | None:
        """Return an entry, None where there is none that can be trusted.

        Args:
            key: what the embedding depends on; its text must say so.
            grid: the working grid of the scan, which is not stored.
        """
        from safetensors import SafetensorError

        path = self._path(key)
        try:
            embedding = _read(path, grid)
        except FileNotFoundError:
            return None
        except PermissionError as error:  # another user's
            _log.warning("a kept voxel embedding cannot be read (%s): it is made again", error)
            return None
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            _log.warning("a kept voxel embedding is damaged (%s): it is made again", error)
            _remove(path)
            return None
        with suppress(OSError):  # of another user, or on a disk that is only read
            os.utime(path)  # now the most recently used
        return embedding

    def put(self, key: Hashable, embedding: VoxelEmbedding) -> None:
        """Keep an embedding; that it cannot be kept is said in the log and nothing else."""
        from safetensors import SafetensorError

        path = self._path(key)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with replacing(path) as temporary:
                _write(temporary, embedding)
            self._make_room(path)
        except (OSError, OpenVocabCTError, SafetensorError) as error:  # the last one on a full disk
            _log.warning("the voxel embedding is not kept on disk (%s)", error)

    def _path(self, key: Hashable) -> Path:
        digest = hashlib.sha256(f"{__version__} {key!r}".encode())
        for module in _CODE:
            digest.update(module.read_bytes())
        return self.folder / f"{digest.hexdigest()[:40]}{SUFFIX}"

    def _make_room(self, newest: Path) -> None:
        entries = []
        for path in self.folder.glob(f"*{SUFFIX}"):
            try:
                facts = path.stat()
            except FileNotFoundError:  # another process made room
                continue
            entries.append((facts.st_mtime, facts.st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self.max_bytes:
                return
            if path != newest:
                _remove(path)
                total -= size


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # in use by another process, on systems that mind
        return


def _write(path: Path, embedding: VoxelEmbedding) -> None:
    from safetensors.torch import save_file

    tensors = {name: getattr(embedding, name).contiguous() for name in _TENSORS}
    facts = {name: getattr(embedding, name) for name in ("offset", "tile", "seconds", "notes", "middle_known")}
    save_file(tensors, path, metadata={"facts": json.dumps(facts), "sha256": _digest(tensors, json.dumps(facts))})


def _read(path: Path, grid: WorkingGrid) -> VoxelEmbedding:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as stored:
        metadata = stored.metadata() or {}
        tensors = {name: stored.get_tensor(name) for name in _TENSORS}
    if _digest(tensors, metadata["facts"]) != metadata["sha256"]:
        raise ValueError("its sha256 differs")
    facts = json.loads(metadata["facts"])
    return VoxelEmbedding(
        values=tensors["values"],
        offset=_index(facts["offset"]),
        grid=grid,
        presence_tokens=tensors["presence_tokens"],
        tile_starts=tensors["tile_starts"],
        tile=_index(facts["tile"]),
        seconds=float(facts["seconds"]),
        notes=tuple(str(note) for note in facts["notes"]),
        middle_known=bool(facts["middle_known"]),
    )


def _digest(tensors: dict[str, Tensor], facts: str) -> str:
    digest = hashlib.sha256(facts.encode())
    for name in _TENSORS:
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _index(values: list[int]) -> Index3:
    first, second, third = (int(value) for value in values)
    return first, second, third
