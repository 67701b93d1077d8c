"""Late-fusion heads: a text embedding becomes a query, and a query meets the image in one inner product.

Nothing nonlinear follows that product, so blending voxel embeddings of overlapping tiles and then asking is
exactly equal to asking every tile and blending its logits (arXiv:2503.06030 uses the same channelwise product).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Softplus of this is about 2: left and right start clearly apart.
_INITIAL_SIDE_GAIN = 2.0
_INITIAL_POSITION_WEIGHT = 4.0


class Queries(NamedTuple):
    """What P prompts ask of an image.

    Attributes:
        voxel: (P, E) vectors for the voxel embedding, the last component for its leftness.
        voxel_bias: (P,) biases of the voxel logits.
        presence: (P, T) vectors for presence tokens.
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
    """(..., T) presence tokens and P queries -> (..., P) logits that the structure lies in the token's tile."""
    scaled = queries.presence / math.sqrt(tokens.shape[-1])
    return tokens @ scaled.to(tokens.dtype).T + queries.presence_bias.to(tokens.dtype)


class QueryHead(nn.Module):
    """MLP from a sentence embedding, and the side it speaks of, to the vectors and biases of ``Queries``.

    A frozen text encoder puts "left kidney" and "right kidney" almost on the same spot (cosine 0.87 to 0.96), so an MLP
    alone learns one query for both.  The side therefore enters on its own: a sided structure adds or subtracts one
    learned direction, and the embedding's last channel, which is the place left or right of the patient's middle.
    """

    def __init__(self, text_dim: int, hidden_dim: int, embedding_dim: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Linear(text_dim, hidden_dim), nn.GELU(), nn.Linear(hidden_dim, hidden_dim), nn.GELU()
        )
        self.voxel = nn.Linear(hidden_dim, embedding_dim + 1)
        self.presence = nn.Linear(hidden_dim, embedding_dim + 1)
        self.side_gain = nn.Linear(hidden_dim, 2)
        self.voxel_side = nn.Parameter(torch.randn(embedding_dim))
        self.presence_side = nn.Parameter(torch.randn(embedding_dim))
        self.position = nn.Parameter(torch.tensor(_INITIAL_POSITION_WEIGHT))

    def forward(self, text: Tensor, side: Tensor) -> Queries:
        """Ask for P texts.

        Args:
            text: (P, text_dim) unit-length sentence embeddings.
            side: (P,) 1 for the patient's left, -1 for the right, 0 for no side.
        """
        # Unit-length embeddings have components of about 1/sqrt(dim); the MLP wants components of about 1.
        hidden = self.trunk(text * math.sqrt(text.shape[-1]))
        voxel, presence = self.voxel(hidden), self.presence(hidden)
        gain = F.softplus(self.side_gain(hidden) + _INITIAL_SIDE_GAIN) * side[:, None].to(hidden.dtype)
        position = gain[:, :1] * self.position * math.sqrt(voxel.shape[1])
        return Queries(
            torch.cat((voxel[:, :-1] + gain[:, :1] * self.voxel_side, position), dim=1),
            voxel[:, -1],
            presence[:, :-1] + gain[:, 1:] * self.presence_side,
            presence[:, -1],
        )


class VoxelProjection(nn.Module):
    """Decoder features to the learned part of the voxel embedding; its last operation is linear, for late fusion."""

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
