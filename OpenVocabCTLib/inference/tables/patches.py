"""The image pass of a network with fixed classes: the tiles, weights and flips of nnU-Net."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from OpenVocabCTLib.errors import Cancelled
from OpenVocabCTLib.inference.devices import memory_errors
from OpenVocabCTLib.inference.embedding import VoxelEmbedding
from OpenVocabCTLib.inference.image_pass import Progress
from OpenVocabCTLib.inference.midline import cut_sides
from OpenVocabCTLib.inference.tables.preprocessing import prepare
from OpenVocabCTLib.inference.tiling import Index3, Region, tile_regions
from OpenVocabCTLib.inference.towers import ImageTower
from OpenVocabCTLib.models.tables import InputConfig
from OpenVocabCTLib.volume import CTVolume

_SIGMA = 1.0 / 8.0
_PEAK = 10.0  # nnU-Net's, which decides where half precision underflows


@lru_cache(maxsize=4)
def patch_weight(patch: Index3) -> Tensor:
    """(D, H, W) float32 weight of a patch: a Gaussian of an eighth of each side, 1 at the middle voxel."""
    point = np.zeros(patch)
    point[tuple(side // 2 for side in patch)] = 1.0
    weight = ndimage.gaussian_filter(point, [side * _SIGMA for side in patch], mode="constant")
    weight *= _PEAK / weight.max()
    # In half precision, as nnU-Net keeps it, far corners underflow; they count as the smallest that does not.
    half = torch.from_numpy(weight).half()
    half[half == 0] = half[half > 0].min()
    return half.float() / _PEAK


def encode_patches(
    image: Tensor, left: Tensor, tower: ImageTower, config: InputConfig, progress: Progress | None
) -> Tensor:
    """Run a network over a volume.

    Blended in half precision, which is how it is kept: the embedding of a whole body is the largest thing there is.

    Args:
        image: (D, H, W) normalised.
        left: (D, H, W) leftness.
        tower: the network.
        config: patch, step, flips.
        progress: called as ``progress(tiles done, tiles in all)``; returning False stops.

    Returns:
        (E, D, H, W) float16 voxel embedding, its last channel leftness.

    Raises:
        Cancelled: ``progress`` returned False.
    """
    missing = [max(0, side - there) for side, there in zip(config.patch, image.shape, strict=True)]
    before = [count // 2 for count in missing]
    padding = [part for count, low in zip(missing[::-1], before[::-1], strict=True) for part in (low, count - low)]
    padded = F.pad(image, padding)  # with the mean intensity, which is 0
    regions = tile_regions(padded.shape, config.patch, 1.0 - config.step)
    weight = patch_weight(config.patch)
    weights = torch.zeros(padded.shape)
    for region in regions:
        weights[region] += weight
    channels = tower.channels - 1
    inside = [slice(low, low + side) for low, side in zip(before, image.shape, strict=True)]
    values = torch.zeros(tower.channels, *image.shape, dtype=torch.float16)
    flips = [axes for count in range(4) for axes in itertools.combinations(config.mirror_axes, count)]
    for done, region in enumerate(regions):
        if progress is not None and not progress(done, len(regions)):
            raise Cancelled("stopped", "nothing was written")
        features = _mean_over_flips(padded[region], tower, flips)[:channels]
        features *= weight / weights[region]
        _add(values[:channels], features, region, inside)
    if progress is not None and not progress(len(regions), len(regions)):
        raise Cancelled("stopped", "nothing was written")
    values[channels] = left
    return values


def _mean_over_flips(tile: Tensor, tower: ImageTower, flips: Sequence[tuple[int, ...]]) -> Tensor:
    no_side = torch.zeros_like(tile)
    total: Tensor | None = None
    for axes in flips:
        features = tower(tile.flip(axes).contiguous(), no_side).embedding
        features = features.flip([axis + 1 for axis in axes])
        total = features if total is None else total.add_(features)
    if total is None:
        raise ValueError("there is no flip, not even none")
    return total.div_(len(flips))


def _add(values: Tensor, features: Tensor, region: Region, inside: Sequence[slice]) -> None:
    """Add a tile to the part of the volume that is not padding."""
    target, source = [], []
    for part, real in zip(region, inside, strict=True):
        low, high = max(part.start, real.start), min(part.stop, real.stop)
        target.append(slice(low - real.start, high - real.start))
        source.append(slice(low - part.start, high - part.start))
    values[(slice(None), *target)] += features[(slice(None), *source)]


def encode_network(
    volume: CTVolume, tower: ImageTower, config: InputConfig, progress: Progress | None = None
) -> VoxelEmbedding:
    """Make the voxel embedding of a CT for one network.

    Args:
        volume: the scan.
        tower: the network.
        config: how the scan becomes its input.
        progress: see ``encode_patches``.

    Raises:
        Cancelled: ``progress`` returned False.
        ResourceError: out of memory.
    """
    began = time.perf_counter()
    with memory_errors():
        image, grid, left = prepare(volume, config)
        values = encode_patches(image, left, tower, config, progress)
    nothing = torch.zeros(0, 1)
    return VoxelEmbedding(
        values,
        (0, 0, 0),
        grid,
        nothing,
        torch.zeros(0, 3),
        config.patch,
        time.perf_counter() - began,
        middle_known=not cut_sides(volume),
    )
