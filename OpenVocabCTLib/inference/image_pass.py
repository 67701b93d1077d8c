"""The slow part, once per scan: run the image tower over tiles and blend its voxel embeddings."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from OpenVocabCTLib.errors import Cancelled
from OpenVocabCTLib.inference.device_pass import DeviceTower, Gpu, Tiles, encode_on
from OpenVocabCTLib.inference.devices import give_back_gpu_memory, memory_errors
from OpenVocabCTLib.inference.embedding import VoxelEmbedding
from OpenVocabCTLib.inference.gathering import Blend
from OpenVocabCTLib.inference.grid import AIR_HU, Region, to_working, whole, working_grid
from OpenVocabCTLib.inference.midline import leftness, midline
from OpenVocabCTLib.inference.tiling import Index3, smaller_tile, tile_regions, tile_size
from OpenVocabCTLib.inference.towers import ImageTower, PairingTower, TileFeatures
from OpenVocabCTLib.memory import is_out_of_memory
from OpenVocabCTLib.models.config import PreprocessingConfig
from OpenVocabCTLib.volume import CTVolume

Progress = Callable[[int, int], bool]

_TISSUE_HU = -300.0
_TISSUE_VOXELS = 10
_BODY_MARGIN = 3
_SHRUNK = "memory was short: the scan was worked through in smaller pieces, which see less around them"

_log = logging.getLogger(__name__)


def body_region(hu: Tensor) -> Region:
    """Box of the working grid (S, A, R) that holds tissue, with a small margin; everything when there is none."""
    tissue = hu > _TISSUE_HU
    region = []
    for axis, side in enumerate(hu.shape):
        others = tuple(other for other in range(3) if other != axis)
        # A few noisy voxels in the air beside the patient must not count.
        hit = torch.nonzero(tissue.sum(others) >= _TISSUE_VOXELS).flatten()
        if not len(hit):
            return whole(hu.shape)
        region.append(slice(max(0, int(hit[0]) - _BODY_MARGIN), min(side, int(hit[-1]) + 1 + _BODY_MARGIN)))
    return region[0], region[1], region[2]


def encode_tiles(
    hu: Tensor,
    left: Tensor,
    tower: ImageTower,
    tile: Index3,
    overlap: float,
    progress: Progress | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the image tower over a volume.

    Args:
        hu: (s, a, r) in HU.
        left: (r,) leftness of every index of the last axis.
        tower: what encodes a tile.
        tile: size of the tiles.
        overlap: fraction of a tile that it shares with its neighbour.
        progress: see ``encode_volume``.

    Returns:
        Blended (E, s, a, r) float32 voxel embedding on the CPU, (tiles, T) presence tokens, (tiles, 3) tile starts.

    Raises:
        Cancelled: ``progress`` returned False.
    """
    padded = [max(side, part) for side, part in zip(hu.shape, tile, strict=True)]
    padding = [length for side, full in zip(hu.shape[::-1], padded[::-1], strict=True) for length in (0, full - side)]
    volume = F.pad(hu, padding, value=AIR_HU)
    sides = F.pad(left, (0, padded[2] - hu.shape[2])).expand(padded)
    regions = tile_regions(padded, tile, overlap)
    tiles = Tiles(volume, sides, regions, tile)

    def report(done: int) -> None:
        if progress is not None and not progress(done, len(regions)):
            raise Cancelled("stopped", "nothing was written")

    if isinstance(tower, DeviceTower) and tower.device.type != "cpu":
        total, tokens = encode_on(Gpu.of(tower.device), tower, tiles, report)
    else:
        total, tokens = _encode_in_turn(tower, tiles, report)
    starts = torch.tensor([[part.start for part in region] for region in regions])
    return total[(slice(None), *whole(hu.shape))], torch.stack(tokens), starts


def _encode_in_turn(tower: ImageTower, tiles: Tiles, report: Callable[[int], None]) -> tuple[Tensor, list[Tensor]]:
    """Blended voxel embedding and the presence token of every tile, of a tower that gives both on the CPU."""
    blend = Blend(tower.channels, tiles.hu.shape, tiles.size, torch.device("cpu"))
    tokens: list[Tensor] = []
    for group in _groups(tiles.regions, tower):
        report(len(tokens))
        inputs = [(tiles.hu[one], tiles.leftness[one]) for one in group]
        for region, features in zip(group, _encoded(inputs, tower), strict=True):
            tokens.append(features.presence)
            blend.add(region, features.embedding)
    report(len(tiles.regions))
    return blend.result(), tokens


def _groups(regions: Sequence[Region], tower: ImageTower) -> list[Sequence[Region]]:
    """Pairs of tiles where the tower is quicker with two; what is left over has the whole machine for itself."""
    size = 2 if isinstance(tower, PairingTower) and tower.pairs else 1
    return [regions[start : start + size] for start in range(0, len(regions), size)]


def _encoded(tiles: Sequence[tuple[Tensor, Tensor]], tower: ImageTower) -> Sequence[TileFeatures]:
    if len(tiles) == 2 and isinstance(tower, PairingTower):
        return tower.pair(tiles)
    return [tower(*tile) for tile in tiles]


def encode_within_memory(
    hu: Tensor, left: Tensor, tower: ImageTower, preprocessing: PreprocessingConfig, progress: Progress | None
) -> tuple[Tensor, Tensor, Tensor, Index3]:
    """Run `encode_tiles` with the tiles of the model, and with smaller ones where memory does not suffice for them.

    Args:
        hu: as for `encode_tiles`.
        left: as for `encode_tiles`.
        tower: what encodes a tile.
        preprocessing: tiles.
        progress: see ``encode_volume``; it starts over with smaller tiles.

    Returns:
        What `encode_tiles` returns, and the size of the tiles.

    Raises:
        Cancelled: ``progress`` returned False.
        MemoryError, RuntimeError: memory does not suffice for the smallest tiles.
    """
    tile = tile_size(hu.shape, preprocessing.tile, tower.stride)
    while True:
        try:
            return *encode_tiles(hu, left, tower, tile, preprocessing.tile_overlap, progress), tile
        except (MemoryError, RuntimeError) as error:
            smaller = smaller_tile(tile, tower.stride)
            if smaller is None or not is_out_of_memory(error):
                raise
        _log.warning("out of memory with tiles of %s voxels: it goes on with %s", tile, smaller)
        tile = smaller
        give_back_gpu_memory()


def encode_volume(
    volume: CTVolume,
    tower: ImageTower,
    preprocessing: PreprocessingConfig,
    progress: Progress | None = None,
    store_dtype: torch.dtype = torch.float16,
) -> VoxelEmbedding:
    """Make the voxel embedding of a CT.

    Args:
        volume: the scan.
        tower: what encodes a tile.
        preprocessing: working spacing, tiles.
        progress: called as ``progress(tiles done, tiles in all)``; returning False stops.
        store_dtype: format in which the embedding is kept.

    Raises:
        Cancelled: ``progress`` returned False.
        ResourceError: out of memory.
    """
    began = time.perf_counter()
    with memory_errors():
        grid = working_grid(volume.geometry, preprocessing.voxel_mm)
        hu = to_working(volume.array, grid, device=tower.device if isinstance(tower, DeviceTower) else None)
        region = body_region(hu)
        left = leftness(torch.arange(grid.shape[2]), midline(hu), grid.spacing[2])[region[2]]
        body = hu[region].contiguous()
        del hu
        values, tokens, starts, tile = encode_within_memory(body, left, tower, preprocessing, progress)
        shrunk = tile != tile_size(body.shape, preprocessing.tile, tower.stride)
        return VoxelEmbedding(
            values=values.to(store_dtype),
            offset=(region[0].start, region[1].start, region[2].start),
            grid=grid,
            presence_tokens=tokens,
            tile_starts=starts,
            tile=tile,
            seconds=time.perf_counter() - began,
            notes=(_SHRUNK,) if shrunk else (),
        )
