from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from OpenVocabCTLib.models.stunet import SIZES, InstanceNorm3d, STUNet, UpsampleLayer


class PublishedBlock(nn.Module):
    """The residual block as the STU-Net paper's code names it, written independently to make a state dict."""

    def __init__(self, c_in: int, c_out: int, stride: int, project: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(c_in, c_out, 3, stride, 1)
        self.norm1 = nn.InstanceNorm3d(c_out, affine=True)
        self.conv2 = nn.Conv3d(c_out, c_out, 3, 1, 1)
        self.norm2 = nn.InstanceNorm3d(c_out, affine=True)
        if project:
            self.conv3 = nn.Conv3d(c_in, c_out, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.leaky_relu(self.norm1(self.conv1(x)), 0.01)
        y = self.norm2(self.conv2(y))
        return F.leaky_relu(y + (self.conv3(x) if hasattr(self, "conv3") else x), 0.01)


class PublishedSTUNet(nn.Module):
    """Reference network: published names, published order (nearest neighbour first, then the 1x1x1 convolution)."""

    def __init__(self, dims: tuple[int, ...], depth: int, classes: int) -> None:
        super().__init__()
        pairs = [(1, dims[0], 1), *((a, b, 2) for a, b in itertools.pairwise(dims))]
        self.conv_blocks_context = nn.ModuleList(self._stage(a, b, s, depth) for a, b, s in pairs)
        self.upsample_layers, self.conv_blocks_localization, self.seg_outputs = (nn.ModuleList() for _ in range(3))
        for u in range(len(dims) - 1):
            layer = nn.Module()
            layer.conv = nn.Conv3d(dims[-1 - u], dims[-2 - u], 1)
            self.upsample_layers.append(layer)
            self.conv_blocks_localization.append(self._stage(2 * dims[-2 - u], dims[-2 - u], 1, depth))
            self.seg_outputs.append(nn.Conv3d(dims[-2 - u], classes, 1))

    @staticmethod
    def _stage(c_in: int, c_out: int, stride: int, depth: int) -> nn.Sequential:
        return nn.Sequential(
            PublishedBlock(c_in, c_out, stride, True),
            *(PublishedBlock(c_out, c_out, 1, False) for _ in range(depth - 1)),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for stage in self.conv_blocks_context:
            x = stage(x)
            skips.append(x)
        for u, (layer, stage) in enumerate(zip(self.upsample_layers, self.conv_blocks_localization, strict=True)):
            up = layer.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
            x = stage(torch.cat((up, skips[-2 - u]), 1))
        return x


@pytest.fixture
def published() -> PublishedSTUNet:
    torch.manual_seed(0)
    return PublishedSTUNet((4, 8, 16, 32, 64, 64), depth=2, classes=3).eval()


def encoder_and_decoder(network: nn.Module) -> dict[str, torch.Tensor]:
    return {k: v for k, v in network.state_dict().items() if not k.startswith("seg_outputs")}


def test_a_published_state_dict_loads_strictly_and_gives_the_same_features(published: PublishedSTUNet) -> None:
    ours = STUNet((4, 8, 16, 32, 64, 64), depth=2).eval()
    ours.load_state_dict(encoder_and_decoder(published), strict=True)
    image = torch.randn(1, 1, 32, 64, 32)
    with torch.inference_mode():
        expected = published(image)
        features, bottleneck = ours(image)
    assert features[-1].shape == (1, 4, 32, 64, 32)
    assert bottleneck.shape == (1, 64, 1, 2, 1)
    assert torch.allclose(features[-1], expected, rtol=1e-4, atol=1e-4 * expected.abs().max())


def test_another_state_dict_is_refused(published: PublishedSTUNet) -> None:
    with pytest.raises(RuntimeError):
        STUNet((4, 8, 16, 32, 64, 64), depth=1).load_state_dict(encoder_and_decoder(published), strict=True)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("training", [True, False])
def test_instance_normalisation_and_its_gradients_are_right_in_every_layout(
    layout: torch.memory_format, batch: int, training: bool
) -> None:
    torch.manual_seed(0)
    norm = InstanceNorm3d(4, affine=True).train(training)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    image, upstream = torch.randn(2, batch, 4, 5, 6, 7)
    exact = image.double().requires_grad_()
    middle, spread = exact.mean((2, 3, 4), keepdim=True), exact.var((2, 3, 4), unbiased=False, keepdim=True)
    scale, shift = (part.detach().double()[:, None, None, None].requires_grad_() for part in (norm.weight, norm.bias))
    expected = (exact - middle) / (spread + norm.eps).sqrt() * scale + shift
    expected.backward(upstream.double())
    image = image.to(memory_format=layout).requires_grad_()
    found = norm(image)
    torch.testing.assert_close(found, expected.float())
    if training:
        found.backward(upstream.to(memory_format=layout))
        for ours, its in ((image, exact), (norm.weight, scale), (norm.bias, shift)):
            torch.testing.assert_close(ours.grad, its.grad.float().view_as(ours), rtol=1e-4, atol=1e-4)


def test_a_training_step_keeps_channels_last() -> None:
    image = torch.randn(1, 4, 8, 8, 8).to(memory_format=torch.channels_last_3d)
    assert InstanceNorm3d(4, affine=True)(image).is_contiguous(memory_format=torch.channels_last_3d)


def test_convolution_before_upsampling_equals_the_published_order() -> None:
    layer = UpsampleLayer(16, 8)
    x = torch.randn(2, 16, 4, 5, 6)
    published_order = layer.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
    assert torch.allclose(layer(x), published_order, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "channels", "millions"),
    [("S", (16, 32, 64, 128, 256, 256), 14.5), ("B", (32, 64, 128, 256, 512, 512), 58.2)],
)
def test_published_sizes(size: str, channels: tuple[int, ...], millions: float) -> None:
    with torch.device("meta"):
        network = STUNet.from_size(size)
    assert network.channels == channels
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.5)


@pytest.mark.parametrize("size", SIZES)
def test_every_published_size_has_six_stages(size: str) -> None:
    assert len(SIZES[size].channels) == (4 if size == "nano" else 6)


def test_an_unknown_size_is_named() -> None:
    with pytest.raises(ValueError, match="'XL'"):
        STUNet.from_size("XL")
