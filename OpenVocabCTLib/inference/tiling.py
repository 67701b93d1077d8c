"""Tiles that cover a volume, and the Gaussian weights that blend them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

Region = tuple[slice, slice, slice]
Index3 = tuple[int, int, int]

# Standard deviation of the blending weight as a fraction of the tile's side (nnU-Net, Isensee et al. 2021).
_SIGMA = 1.0 / 8.0


def padded_size(shape: Sequence[int], tile: Sequence[int], stride: int) -> Index3:
    """Size to which a volume is padded: at least one tile, where a tile shrinks to what a small volume needs.

    Args:
        shape: voxels of the volume along three axes.
        tile: usual tile.
        stride: the network's total stride; tile sides stay multiples of it.
    """
    first, second, third = (
        max(side, fitted) for side, fitted in zip(shape, tile_size(shape, tile, stride), strict=True)
    )
    return first, second, third


def tile_size(shape: Sequence[int], tile: Sequence[int], stride: int) -> Index3:
    """Tile to use for a volume of ``shape``: the given one, smaller along axes where the volume is smaller.

    Along an axis where the volume is longer by a stride and by half at most, so is the tile: it takes the place of two.
    Two strides are the least, because the coarsest features are normalised over space and need more than one voxel.
    """
    first, second, third = (_tile_side(side, largest, stride) for side, largest in zip(shape, tile, strict=True))
    return first, second, third


def _tile_side(side: int, largest: int, stride: int) -> int:
    fitted = stride * max(2, math.ceil(side / stride))
    return fitted if fitted <= largest + min(stride, largest // 2) else largest


def smaller_tile(tile: Index3, stride: int) -> Index3 | None:
    """The tile with its longest side halved, to a multiple of the stride; None where no side can be shorter."""
    sides = list(tile)
    axis = sides.index(max(sides))
    sides[axis] = stride * max(2, sides[axis] // stride // 2)
    smaller = (sides[0], sides[1], sides[2])
    return None if smaller == tuple(tile) else smaller


def tile_regions(shape: Sequence[int], tile: Sequence[int], overlap: float) -> list[Region]:
    """Evenly spread tiles that cover ``shape`` and share at least ``overlap`` of a side with their neighbours.

    Args:
        shape: padded volume, no side smaller than the tile's.
        tile: tile size.
        overlap: 0..1 (exclusive).

    Raises:
        ValueError: the volume is smaller than a tile, or the overlap is out of range.
    """
    if not 0.0 <= overlap < 1.0 or any(side < part for side, part in zip(shape, tile, strict=True)):
        raise ValueError(f"cannot lay tiles of {tuple(tile)} with overlap {overlap} over {tuple(shape)}")
    starts = []
    for side, part in zip(shape, tile, strict=True):
        steps = math.ceil((side - part) / (part * (1.0 - overlap)))
        starts.append([round(index * (side - part) / steps) for index in range(steps + 1)] if steps else [0])
    return [
        (slice(s, s + tile[0]), slice(a, a + tile[1]), slice(r, r + tile[2])) for s, a, r in itertools.product(*starts)
    ]


@lru_cache(maxsize=16)
def blending_weight(tile: Index3) -> Tensor:
    """(D, H, W) float32 Gaussian, 1 in the middle, at least 1e-3 so that every voxel counts."""
    axes = []
    for side in tile:
        position = (torch.arange(side) - (side - 1) / 2.0) / (side * _SIGMA)
        axes.append(torch.exp(-0.5 * position**2))
    weight = axes[0][:, None, None] * axes[1][None, :, None] * axes[2][None, None, :]
    return (weight / weight.max()).clamp(min=1e-3)
