"""Late-fusion heads: a text embedding becomes a query, and a query meets the image in one inner product.

Nothing nonlinear follows that product, so blending voxel embeddings of overlapping tiles and then asking is
exactly equal to asking every tile and blending its logits (arXiv:2503.06030 uses the same channelwise product).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Queries(NamedTuple):
    """What P prompts ask of an image.

    Attributes:
        voxel: (P, E) vectors for the voxel embedding.
        voxel_bias: (P,) biases of the voxel logits.
        presence: (P, E) vectors for presence tokens.
        presence_bias: (P,) biases of the presence logits.
    """

    voxel: Tensor
    voxel_bias: Tensor
    presence: Tensor
    presence_bias: Tensor


def voxel_logits(embedding: Tensor, queries: Queries) -> Tensor:
    """Logits = <V, q> / sqrt(E) + b.

    Args:
        embedding: (..., E, D, H, W) voxel embedding.
        queries: P queries.

    Returns:
        (..., P, D, H, W) logits.
    """
    scaled = queries.voxel / math.sqrt(embedding.shape[-4])
    logits = torch.einsum("pe,...edhw->...pdhw", scaled.to(embedding.dtype), embedding)
    return logits + queries.voxel_bias.to(embedding.dtype)[:, None, None, None]


def presence_logits(tokens: Tensor, queries: Queries) -> Tensor:
    """(..., E) presence tokens and P queries -> (..., P) logits that the structure lies in the token's tile."""
    scaled = queries.presence / math.sqrt(tokens.shape[-1])
    return tokens @ scaled.to(tokens.dtype).T + queries.presence_bias.to(tokens.dtype)


class QueryHead(nn.Module):
    """MLP from a sentence embedding to the vectors and biases of ``Queries``."""

    def __init__(self, text_dim: int, hidden_dim: int, embedding_dim: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Linear(text_dim, hidden_dim), nn.GELU(), nn.Linear(hidden_dim, hidden_dim), nn.GELU()
        )
        self.voxel = nn.Linear(hidden_dim, embedding_dim + 1)
        self.presence = nn.Linear(hidden_dim, embedding_dim + 1)

    def forward(self, text: Tensor) -> Queries:
        """(P, text_dim) unit-length sentence embeddings -> queries."""
        # Unit-length embeddings have components of about 1/sqrt(dim); the MLP wants components of about 1.
        hidden = self.trunk(text * math.sqrt(text.shape[-1]))
        voxel, presence = self.voxel(hidden), self.presence(hidden)
        return Queries(voxel[:, :-1], voxel[:, -1], presence[:, :-1], presence[:, -1])


class VoxelProjection(nn.Module):
    """Decoder features to voxel embedding; the last operation is linear, as late fusion requires."""

    def __init__(self, in_channels: int, embedding_dim: int) -> None:
        super().__init__()
        self.expand = nn.Conv3d(in_channels, embedding_dim, 1)
        self.act = nn.LeakyReLU(inplace=True)
        self.linear = nn.Conv3d(embedding_dim, embedding_dim, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) -> (B, E, D, H, W)."""
        return self.linear(self.act(self.expand(x)))


class PresencePool(nn.Module):
    """Bottleneck to one token per tile: mean and maximum over space, then a small MLP."""

    def __init__(self, in_channels: int, embedding_dim: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(2 * in_channels, 2 * in_channels), nn.GELU(), nn.Linear(2 * in_channels, embedding_dim)
        )

    def forward(self, bottleneck: Tensor) -> Tensor:
        """(B, C, d, h, w) -> (B, E)."""
        flat = bottleneck.flatten(2)
        return self.mlp(torch.cat((flat.mean(2), flat.amax(2)), dim=1))
