"""The OpenVocabCT network: image tower, query head and late fusion."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from OpenVocabCTLib.models.config import ArchitectureConfig, PreprocessingConfig
from OpenVocabCTLib.models.heads import PresencePool, Queries, QueryHead, VoxelProjection
from OpenVocabCTLib.models.stunet import SIZES, STUNet

# Queries have norms of 50 and more; the optimiser's steps are made for weights of about 1.
CONCEPT_SCALE = 100.0


class ImageFeatures(NamedTuple):
    """What the image tower says about a tile.

    Attributes:
        embedding: (B, E, D, H, W) voxel embedding; its last channel is leftness.
        presence: (B, T) presence token.
        decoder: decoder features from coarse to fine, for deep supervision in training.
    """

    embedding: Tensor
    presence: Tensor
    decoder: list[Tensor]


def window_hu(hu: Tensor, windows: tuple[tuple[float, float], ...]) -> Tensor:
    """Map HU to network input: one channel per window, linear to -1..1, clipped.

    Args:
        hu: (B, D, H, W) in Hounsfield units.
        windows: (low, high) in HU.

    Returns:
        (B, len(windows), D, H, W).
    """
    channels = [((hu - low) * (2.0 / (high - low)) - 1.0).clamp_(-1.0, 1.0) for low, high in windows]
    return torch.stack(channels, dim=1)


class OpenVocabCT(nn.Module):
    """Image tower and query head.  The text encoder is frozen and lives outside of this module."""

    def __init__(self, architecture: ArchitectureConfig, preprocessing: PreprocessingConfig) -> None:
        super().__init__()
        size = SIZES[architecture.size]
        self.hu_windows = preprocessing.hu_windows
        self.backbone = STUNet(size.channels, size.depth, len(self.hu_windows), architecture.strides)
        self.projection = VoxelProjection(size.channels[0], architecture.embedding_dim)
        self.presence_pool = PresencePool(size.channels[-1], architecture.embedding_dim)
        self.query_head = QueryHead(architecture.text_dim, architecture.query_hidden_dim, architecture.embedding_dim)
        self.concepts = architecture.concepts
        self.concept_queries = nn.Parameter(torch.zeros(len(self.concepts), architecture.embedding_dim + 2))

    @property
    def embedding_channels(self) -> int:
        """Channels E of the voxel embedding: the learned ones and leftness."""
        return self.projection.linear.out_channels + 1

    def encode_image(self, hu: Tensor, leftness: Tensor) -> ImageFeatures:
        """Run the image tower.

        Args:
            hu: (B, D, H, W) tiles in HU on the working grid (S, A, R), sides multiples of ``backbone.stride``.
            leftness: (B, D, H, W) place left (1) or right (-1) of the patient's middle, see ``inference.midline``.
        """
        features, bottleneck = self.backbone(window_hu(hu, self.hu_windows))
        learned = self.projection(features[-1])
        embedding = torch.cat((learned, leftness[:, None].to(learned.dtype)), dim=1)
        return ImageFeatures(embedding, self.presence_pool(bottleneck), features)

    def concept_index(self, concept: str | None) -> int:
        """Row of a concept in ``concept_queries``, -1 for free text and concepts without one."""
        return self.concepts.index(concept) if concept in self.concepts else -1

    def encode_text(self, text: Tensor, side: Tensor, concept: Tensor) -> Queries:
        """Make the queries of P prompts.

        The MLP alone gives neighbours in the text encoder's space one query (larynx, airway and esophagus, say), from
        which training does not part them; a known concept therefore adds a correction of its own.

        Args:
            text: (P, text_dim) unit-length sentence embeddings.
            side: (P,) 1 for the patient's left, -1 for the right, 0 for no side.
            concept: (P,) row in ``concept_queries``, -1 for none.
        """
        queries: Queries = self.query_head(text, side)
        if not self.concepts:
            return queries
        known = (concept >= 0)[:, None].to(queries.voxel.dtype)
        own = self.concept_queries[concept.clamp(min=0)].to(queries.voxel.dtype) * known * CONCEPT_SCALE
        return queries._replace(voxel=queries.voxel + own[:, :-1], voxel_bias=queries.voxel_bias + own[:, -1])
