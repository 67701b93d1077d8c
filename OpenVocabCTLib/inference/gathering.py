"""Where the voxel embeddings of tiles are blended: beside the network, or in main memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from OpenVocabCTLib.inference.tiling import Index3, Region, blending_weight
from OpenVocabCTLib.inference.transfers import Arriving, Transfer


class Gathering(Protocol):
    """Blends tiles into one voxel embedding."""

    def add(self, region: Region, embedding: Tensor) -> None:
        """Add the (E, D, H, W) voxel embedding of a tile, in any format and on the device that made it."""

    def result(self) -> Tensor:
        """Return the (E, s, a, r) float32 blend of all tiles, on the CPU."""


class Blend:
    """Adds up tiles by their Gaussian weights, on one device.

    Args:
        channels: E of the voxel embedding.
        shape: voxels of the volume.
        tile: size of the tiles.
        device: where it is done, and where the tiles are.
    """

    def __init__(self, channels: int, shape: Sequence[int], tile: Index3, device: torch.device) -> None:
        self._total = torch.zeros(channels, *shape, device=device)
        self._weights = torch.zeros(*shape, device=device)
        self._weight = blending_weight(tile).to(device)

    def add(self, region: Region, embedding: Tensor) -> None:
        """See ``Gathering``."""
        self._total[(slice(None), *region)].addcmul_(embedding.float(), self._weight)
        self._weights[region] += self._weight

    def result(self) -> Tensor:
        """See ``Gathering``."""
        self._total /= self._weights
        return self._total.cpu()


class FetchedBlend:
    """Fetches each tile into main memory while the device computes the next one, and blends it there.

    Args:
        blend: on the CPU.
        transfer: takes tiles from the device.
    """

    def __init__(self, blend: Blend, transfer: Transfer) -> None:
        self._blend, self._transfer = blend, transfer
        self._under_way: deque[tuple[Region, Arriving]] = deque()

    def add(self, region: Region, embedding: Tensor) -> None:
        """See ``Gathering``."""
        self._under_way.append((region, self._transfer.fetch(embedding)))
        if len(self._under_way) > 1:
            self._take()

    def result(self) -> Tensor:
        """See ``Gathering``."""
        while self._under_way:
            self._take()
        return self._blend.result()

    def _take(self) -> None:
        region, arriving = self._under_way.popleft()
        self._blend.add(region, *arriving.wait())


def gathered_bytes(channels: int, shape: Sequence[int]) -> int:
    """Memory for blending a volume, and for the moment in which it is copied."""
    voxels = shape[0] * shape[1] * shape[2]
    return 4 * voxels * (channels + 1)
