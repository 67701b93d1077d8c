"""Heads that are asked with clicks: features of an image and voxels inside of structures become masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from monai.networks.nets.vista3d import PointMappingSAM
from torch import Tensor, nn
from torch.nn import functional as F

from openvocabct_training.losses import PRIOR_LOGIT

ClickHeadName = Literal["query", "vista3d"]
_INSIDE = 1
_DECIMETRE_MM = 100.0


class ClickQueryHead(nn.Module):
    """The last step of SAM's mask decoder alone (Kirillov et al. 2023, arXiv:2304.02643).

    The image's feature at the click becomes, through an MLP, the weights of an inner product with the features of all
    voxels.  The distance from the click, whose weight the MLP says too, takes the part of SAM's position encoding.

    Args:
        channels: of the features.
        voxel_mm: size of a voxel along the axes of the features.
        width: channels that meet in the inner product.
    """

    def __init__(self, channels: int, voxel_mm: Sequence[float], width: int = 32) -> None:
        super().__init__()
        self.voxel_mm = tuple(voxel_mm)
        self.embed = nn.Conv3d(channels, width, 1)
        self.query = nn.Sequential(nn.Linear(channels, 4 * width), nn.GELU(), nn.Linear(4 * width, width + 2))
        nn.init.constant_(self.query[-1].bias[-1:], PRIOR_LOGIT)

    def forward(self, features: Tensor, clicks: Tensor) -> Tensor:
        """(1, C, D, H, W) features and (n, 3) voxel indices to (n, D, H, W) logits."""
        first, second, third = clicks.to(features.device).unbind(1)
        said = self.query(features[0, :, first, second, third].T)
        query, nearness, bias = said.split((self.embed.out_channels, 1, 1), dim=1)
        logits = torch.einsum("ne,edhw->ndhw", query, self.embed(features)[0])
        far = F.softplus(nearness)[:, :, None, None] * self._decimetres(clicks, features)
        return logits - far + bias[:, :, None, None]

    def _decimetres(self, clicks: Tensor, features: Tensor) -> Tensor:
        """(n, D, H, W) distance of every voxel from each click."""
        squares = []
        for axis, (side, size) in enumerate(zip(features.shape[2:], self.voxel_mm, strict=True)):
            offsets = torch.arange(side, device=features.device) - clicks[:, axis : axis + 1].to(features.device)
            shape = [len(clicks), 1, 1, 1]
            shape[axis + 1] = side
            squares.append((offsets.to(features.dtype) * (size / _DECIMETRE_MM)).square().reshape(shape))
        return (squares[0] + squares[1] + squares[2]).sqrt()


class Vista3DPointHead(nn.Module):
    """The point head of VISTA3D (He et al. 2024, arXiv:2406.05285), from MONAI, for clicks inside of structures.

    Args:
        channels: of the features, a multiple of 8.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.points = PointMappingSAM(channels, n_classes=1, last_supported=1)
        # Parts for other kinds of prompts: a distributed run waits for the gradient of every parameter.
        for unused in (
            self.points.class_embeddings, self.points.zeroshot_embed, self.points.not_a_point_embed,
            self.points.special_class_embed, self.points.point_embeddings[0], self.points.mask_downsample,
        ):  # fmt: skip
            unused.requires_grad_(False)

    def forward(self, features: Tensor, clicks: Tensor) -> Tensor:
        """(1, C, D, H, W) features and (n, 3) voxel indices to (n, D, H, W) logits."""
        labels = torch.full((len(clicks), 1), _INSIDE, device=features.device)
        logits: Tensor = self.points(features, clicks[:, None].to(features.device, torch.float32), labels)
        return logits[:, 0]


CLICK_HEADS: Mapping[ClickHeadName, Callable[[int, Sequence[float]], nn.Module]] = {
    "query": ClickQueryHead,
    "vista3d": lambda channels, voxel_mm: Vista3DPointHead(channels),
}
