"""STU-Net image encoder-decoder (Huang et al., 2023, arXiv:2304.06716), with the published parameter names.

The module tree mirrors the public Apache-2.0 checkpoints (``conv_blocks_context``, ``upsample_layers``,
``conv_blocks_localization``), so that their encoder and decoder weights load with ``strict=True``.  The
published ``seg_outputs`` (one 1x1x1 convolution per scale and class) are not part of this module: the
text-conditioned head replaces them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHANNEL_MULTIPLIERS = (1, 2, 4, 8, 16, 16)
Stride = int | tuple[int, int, int]


@dataclass(frozen=True)
class STUNetSize:
    """Width of the first stage, residual blocks per stage, the widest stage allowed (channels), number of stages."""

    width: int
    depth: int
    max_channels: int | None = None
    stages: int = len(CHANNEL_MULTIPLIERS)

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the stages, six in every published size, finest first."""
        limit = self.max_channels or self.width * max(CHANNEL_MULTIPLIERS)
        return tuple(min(self.width * m, limit) for m in CHANNEL_MULTIPLIERS[: self.stages])


# "small16" keeps the width of S at full resolution, where thin structures are decided, and narrows the deep
# stages, which hold most parameters: 5.7 M instead of 14.6 M, small enough to ship inside the extension.
# "nano" has four stages, so that whole scans on a very coarse grid, 16 voxels a side, still go through: for trials.
SIZES = {
    "nano": STUNetSize(8, 1, stages=4),
    "tiny": STUNetSize(8, 1),
    "small16": STUNetSize(16, 1, 128),
    "S": STUNetSize(16, 1),
    "B": STUNetSize(32, 1),
    "L": STUNetSize(64, 2),
    "H": STUNetSize(96, 3),
}


class InstanceNorm3d(nn.InstanceNorm3d):
    """Instance normalisation whose training on a CPU keeps channels last; same values, parameters and names.

    PyTorch's copies every input to the other layout, a fifth of a training step in bf16, and on a CPU its gradient is
    wrong, by as much as the gradient itself, where that of the output has channels last (PyTorch 2.13).  Batch
    normalisation of one sample is the same thing and does neither.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, D, H, W) -> the same."""
        if not (self.training and input.device.type == "cpu"):
            return super().forward(input)
        each = [
            F.batch_norm(sample, None, None, self.weight, self.bias, training=True, eps=self.eps)
            for sample in input.split(1)
        ]
        return each[0] if len(each) == 1 else torch.cat(each)


class BasicResBlock(nn.Module):
    """Two 3x3x3 convolutions with instance normalisation and a (projected) identity shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: Stride = 1, project: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(in_channels, out_channels, 3, stride=stride, padding=1)
        self.norm1 = InstanceNorm3d(out_channels, affine=True)
        self.act1 = nn.LeakyReLU(inplace=True)
        self.conv2 = nn.Conv3d(out_channels, out_channels, 3, padding=1)
        self.norm2 = InstanceNorm3d(out_channels, affine=True)
        self.act2 = nn.LeakyReLU(inplace=True)
        self.conv3 = nn.Conv3d(in_channels, out_channels, 1, stride=stride) if project else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, D, H, W) -> (B, C_out, D/stride, H/stride, W/stride)."""
        y = self.act1(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        shortcut = x if self.conv3 is None else self.conv3(x)
        return self.act2(y + shortcut)


class UpsampleLayer(nn.Module):
    """Double the resolution: 1x1x1 convolution, then nearest neighbour.

    Published as nearest neighbour followed by the convolution.  Both orders are exactly equal, because a
    1x1x1 convolution sees one voxel at a time; this one does an eighth of the work.
    """

    def __init__(self, in_channels: int, out_channels: int, scale: Stride = 2) -> None:
        super().__init__()
        self.conv = nn.Conv3d(in_channels, out_channels, 1)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, D, H, W) -> (B, C_out, scale*D, scale*H, scale*W)."""
        return F.interpolate(self.conv(x), scale_factor=self.scale, mode="nearest")


class STUNet(nn.Module):
    """U-shaped residual network; returns features, not class scores.

    Args:
        channels: channels of each stage, finest first.
        depth: residual blocks in every stage.
        in_channels: channels of the image (1 for CT).
        strides: from each stage to the next, one number or one along each axis; 2 everywhere by default.

    The sides of an input must be multiples of ``stride`` (32 for six stages).
    """

    def __init__(
        self,
        channels: Sequence[int],
        depth: int = 1,
        in_channels: int = 1,
        strides: Sequence[Stride] | None = None,
    ) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.stride = 2 ** (len(self.channels) - 1)
        steps: list[Stride] = [2] * (len(self.channels) - 1) if strides is None else list(strides)
        self.steps = [[step] * 3 if isinstance(step, int) else list(step) for step in steps]

        def stage(c_in: int, c_out: int, stride: Stride) -> nn.Sequential:
            first = BasicResBlock(c_in, c_out, stride, project=True)
            return nn.Sequential(first, *(BasicResBlock(c_out, c_out) for _ in range(depth - 1)))

        inputs = (in_channels, *self.channels[:-1])
        self.conv_blocks_context = nn.ModuleList(
            stage(c_in, c_out, stride) for c_in, c_out, stride in zip(inputs, self.channels, (1, *steps), strict=True)
        )
        coarse_to_fine = self.channels[::-1]
        pairs = list(itertools.pairwise(coarse_to_fine))
        self.upsample_layers = nn.ModuleList(
            UpsampleLayer(deep, shallow, stride) for (deep, shallow), stride in zip(pairs, reversed(steps), strict=True)
        )
        self.conv_blocks_localization = nn.ModuleList(stage(2 * shallow, shallow, 1) for _, shallow in pairs)

    @classmethod
    def from_size(cls, size: str, in_channels: int = 1) -> STUNet:
        """Build a named size ("nano", "tiny", "small16", "S", "B", "L", "H").

        Raises:
            ValueError: the size is not one of ``SIZES``.
        """
        if size not in SIZES:
            raise ValueError(f"unknown STU-Net size {size!r}: choose one of {', '.join(SIZES)}")
        return cls(SIZES[size].channels, SIZES[size].depth, in_channels)

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Run the network.

        Args:
            x: (B, in_channels, D, H, W) normalised image, sides multiples of ``stride``.

        Returns:
            Decoder features from coarse to fine, the last of shape (B, channels[0], D, H, W), and the
            bottleneck (B, channels[-1], D/stride, H/stride, W/stride).
        """
        skips: list[Tensor] = []
        for stage in self.conv_blocks_context[:-1]:
            x = stage(x)
            skips.append(x)
        bottleneck = x = self.conv_blocks_context[-1](x)
        features: list[Tensor] = []
        for upsample, stage, skip in zip(
            self.upsample_layers, self.conv_blocks_localization, reversed(skips), strict=True
        ):
            x = stage(torch.cat((upsample(x), skip), dim=1))
            features.append(x)
        return features, bottleneck
