"""The network that is pretrained: the image tower of fine-tuning, and heads that are thrown away afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from OpenVocabCTLib.models.config import ArchitectureConfig, PreprocessingConfig
from OpenVocabCTLib.models.heads import VoxelProjection
from OpenVocabCTLib.models.openvocab import window_hu
from OpenVocabCTLib.models.stunet import SIZES, STUNet

# Attention looks at blocks of this many voxels along each axis.
_ATTENTION_STRIDE = 4


class ScanFeatures(NamedTuple):
    """What the image tower says about B scans with K organs each.

    Attributes:
        scan: (B, D) unit length.
        organ: (B, K, D) unit length; None where only whole scans are compared.
    """

    scan: Tensor
    organ: Tensor | None


class ImageTower(nn.Module):
    """Backbone and voxel projection under their names in ``OpenVocabCT``, so that fine-tuning takes both."""

    def __init__(self, architecture: ArchitectureConfig, preprocessing: PreprocessingConfig, decoder: bool) -> None:
        super().__init__()
        size = SIZES[architecture.size]
        self.hu_windows = preprocessing.hu_windows
        self.backbone = STUNet(size.channels, size.depth, in_channels=len(self.hu_windows))
        self.projection = VoxelProjection(size.channels[0], architecture.embedding_dim)
        self.decoder = decoder
        if not decoder:
            # A distributed run waits for the gradient of every parameter that may have one.
            for part in (self.backbone.upsample_layers, self.backbone.conv_blocks_localization, self.projection):
                part.requires_grad_(False)

    def forward(self, hu: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, D, H, W) HU -> bottleneck (B, C, d, h, w) and voxel embedding (B, E, D, H, W), if there is a decoder."""
        x = window_hu(hu, self.hu_windows)
        if self.decoder:
            features, bottleneck = self.backbone(x)
            return bottleneck, self.projection(features[-1])
        for stage in self.backbone.conv_blocks_context:
            x = stage(x)
        return x, None


class OrganPool(nn.Module):
    """One vector an organ: the mean over its mask, or attention by its name where nobody drew it.

    mask: v_k = sum_x m_k(x) V(x) / sum_x m_k(x); attention: v_k = sum_x softmax_x(<W n_k, V(x)> / sqrt(E)) V(x), n_k
    the embedding of the organ's name, x over blocks of 4 x 4 x 4 voxels.

    Args:
        text_dim: length of n_k.
        embedding_dim: E.
    """

    def __init__(self, text_dim: int, embedding_dim: int) -> None:
        super().__init__()
        self.query = nn.Linear(text_dim, embedding_dim)

    def forward(self, voxels: Tensor, masks: Tensor, drawn: Tensor, names: Tensor) -> Tensor:
        """Pool.

        Args:
            voxels: (B, E, D, H, W).
            masks: (B, K, D, H, W) bool.
            drawn: (B, K) bool, whether there is a mask.
            names: (B, K, text_dim).

        Returns:
            (B, K, E).
        """
        flat, inside = voxels.flatten(2), masks.flatten(2).to(voxels.dtype)
        by_mask = torch.einsum("bev,bkv->bke", flat, inside) / inside.sum(2).clamp(min=1)[..., None]
        coarse = F.avg_pool3d(voxels, _ATTENTION_STRIDE).flatten(2)
        scores = torch.einsum("bke,bev->bkv", self.query(names), coarse) / math.sqrt(coarse.shape[1])
        by_attention = torch.einsum("bkv,bev->bke", scores.softmax(2), coarse)
        return torch.where(drawn[..., None], by_mask, by_attention)


def _head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))


class ContrastiveNetwork(nn.Module):
    """Features of scans, of their organs, and of texts, in one space.

    Args:
        architecture: of the image tower, see ``OpenVocabCT``.
        preprocessing: what it expects of a CT.
        dim: D, of the common space.
        organs: compare organs too; otherwise the decoder has nothing to learn from and is not run.
        chunk: scans that go through the image tower at a time, 0 for all.  Their activations are computed again for
            the backward pass, chunk by chunk, so memory grows with the chunk and not with the batch, and the gradient
            is that of the whole batch (gradient caching, Gao et al. 2021, arXiv:2101.06983).
    """

    def __init__(
        self,
        architecture: ArchitectureConfig,
        preprocessing: PreprocessingConfig,
        dim: int = 128,
        organs: bool = True,
        chunk: int = 0,
    ) -> None:
        super().__init__()
        self.chunk = chunk
        channels = SIZES[architecture.size].channels[-1]
        self.tower = ImageTower(architecture, preprocessing, decoder=organs)
        self.scan_head = _head(2 * channels, 2 * dim, dim)
        self.report_head = _head(architecture.text_dim, 2 * dim, dim)
        self.organ_pool = OrganPool(architecture.text_dim, architecture.embedding_dim) if organs else None
        self.organ_head = _head(architecture.embedding_dim, 2 * dim, dim) if organs else None
        self.caption_head = _head(architecture.text_dim, 2 * dim, dim) if organs else None

    def encode_scans(self, hu: Tensor, masks: Tensor, drawn: Tensor, names: Tensor) -> ScanFeatures:
        """Features of B scans.

        Args:
            hu: (B, D, H, W).
            masks: (B, K, D, H, W) bool.
            drawn: (B, K) bool, whether there is a mask.
            names: (B, K, text_dim) embeddings of the organs' names.
        """
        if not self.chunk or len(hu) <= self.chunk:
            return self._encode(hu, masks, drawn, names)
        parts = zip(*(part.split(self.chunk) for part in (hu, masks, drawn, names)), strict=True)
        done: list[ScanFeatures] = []
        for part in parts:
            # The inputs have no gradient, which only this kind of checkpointing allows.
            done.append(checkpoint(self._encode, *part, use_reentrant=False))
        organs = [features.organ for features in done if features.organ is not None]
        return ScanFeatures(torch.cat([features.scan for features in done]), torch.cat(organs) if organs else None)

    def _encode(self, hu: Tensor, masks: Tensor, drawn: Tensor, names: Tensor) -> ScanFeatures:
        bottleneck, voxels = self.tower(hu)
        # The heads are cheap and run in fp32, whatever the image tower runs in.
        with torch.autocast(hu.device.type, enabled=False):
            flat = bottleneck.float().flatten(2)
            scan = F.normalize(self.scan_head(torch.cat((flat.mean(2), flat.amax(2)), dim=1)), dim=-1)
            if voxels is None or self.organ_pool is None or self.organ_head is None:
                return ScanFeatures(scan, None)
            pooled = self.organ_pool(voxels.float(), masks, drawn, names)
            return ScanFeatures(scan, F.normalize(self.organ_head(pooled), dim=-1))

    def encode_reports(self, embeddings: Tensor) -> Tensor:
        """(N, text_dim) unit-length embeddings -> (N, D) unit length."""
        return _project(self.report_head, embeddings)

    def encode_captions(self, embeddings: Tensor) -> Tensor:
        """(N, text_dim) unit-length embeddings -> (N, D) unit length.

        Raises:
            RuntimeError: the network compares no organs.
        """
        if self.caption_head is None:
            raise RuntimeError("this network compares whole scans only")
        return _project(self.caption_head, embeddings)


def _project(head: Callable[[Tensor], Tensor], embeddings: Tensor) -> Tensor:
    # Unit-length embeddings have components of about 1/sqrt(dim); the MLP wants components of about 1.
    return F.normalize(head(embeddings * math.sqrt(embeddings.shape[-1])), dim=-1)
