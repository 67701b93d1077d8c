"""Networks with fixed classes as image towers: their features are the voxel embedding, their last layer is a table."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from OpenVocabCTLib.errors import ModelError
from OpenVocabCTLib.models.openvocab import ImageFeatures
from OpenVocabCTLib.models.stunet import STUNet
from OpenVocabCTLib.models.tables import NetworkConfig

VECTORS, BIASES = "table.vectors", "table.biases"
UNETS = {"plain_unet": "PlainConvUNet", "residual_unet": "ResidualEncoderUNet"}


class _UNetFeatures(nn.Module):
    """A U-Net of ``dynamic-network-architectures`` without its last layer."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        decoder = cast(Any, network.decoder)
        decoder.deep_supervision = False
        decoder.seg_layers = nn.ModuleList([nn.Identity()])  # without deep supervision only the last one is called

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, D, H, W) -> (B, C, D, H, W)."""
        return self.network(x)


class _STUNetFeatures(nn.Module):
    """The finest decoder features of a STU-Net."""

    def __init__(self, network: STUNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, D, H, W) -> (B, C, D, H, W)."""
        return self.network(x)[0][-1]


def build_backbone(family: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Build a network without its last layer; its parameters keep the published names behind ``network.``.

    Args:
        family: "stunet", "plain_unet" or "residual_unet".
        arguments: of ``stunet.STUNet`` (channels, depth, strides), or the sizes that nnU-Net's plans give.

    Raises:
        ModelError: the library that builds U-Nets is not installed.
        KeyError, TypeError, ValueError, AssertionError: the arguments make no network.
    """
    if family == "stunet":
        strides = [(int(d), int(h), int(w)) for d, h, w in arguments["strides"]]
        return _STUNetFeatures(STUNet(arguments["channels"], int(arguments["depth"]), strides=strides))
    if family not in UNETS:
        raise ValueError(f"unknown network {family!r}")
    if importlib.util.find_spec("dynamic_network_architectures") is None:
        raise ModelError(
            "this model needs the package dynamic-network-architectures", "run `pip install 'openvocabct[nnunet]'`"
        )
    from dynamic_network_architectures.architectures import unet

    sizes = dict(arguments)
    epsilon, slope = float(sizes.pop("epsilon", 1e-5)), float(sizes.pop("slope", 0.01))
    network = getattr(unet, UNETS[family])(
        input_channels=1,
        num_classes=2,
        conv_op=nn.Conv3d,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": epsilon, "affine": True},
        dropout_op=None,
        dropout_op_kwargs=None,
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True, "negative_slope": slope},
        deep_supervision=False,
        **sizes,
    )
    return _UNetFeatures(network)


def own_parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters by name, each once: U-Nets list theirs under several names."""
    return dict(network.named_parameters())


class _Strides:
    """What ``towers`` asks of the backbone of a network."""

    def __init__(self, stride: int) -> None:
        self.stride = stride


class ClassTableNetwork(nn.Module):
    """One network of a model with class tables, or several folds of it.

    The scores of folds are averaged.  As the last layers are linear, that is the same as one table over all their
    features side by side.

    Args:
        config: the network.

    Raises:
        ModelError: the library that builds the network is not installed.
        KeyError, TypeError, ValueError, AssertionError: the configuration makes no network.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.folds = nn.ModuleList(build_backbone(config.family, config.arguments) for _ in range(config.folds))
        strides = config.arguments["strides"]
        self.backbone = _Strides(math.lcm(*(math.prod(int(one[axis]) for one in strides) for axis in range(3))))
        self.features = feature_channels(config.family, config.arguments) * config.folds

    @property
    def embedding_channels(self) -> int:
        """Channels E of the voxel embedding: features of all folds, and leftness."""
        return self.features + 1

    def encode_image(self, image: Tensor, leftness: Tensor) -> ImageFeatures:
        """Run the network.

        Args:
            image: (B, D, H, W) tiles, normalised, along the network's axes.
            leftness: (B, D, H, W) place left (1) or right (-1) of the patient's middle.
        """
        features = [fold(image[:, None]) for fold in self.folds]
        embedding = torch.cat((*features, leftness[:, None].to(features[0].dtype)), dim=1)
        return ImageFeatures(embedding, embedding.new_zeros(embedding.shape[0], 1), [])


def feature_channels(family: str, arguments: Mapping[str, Any]) -> int:
    """Channels of the features before the last layer of one fold."""
    sizes: Sequence[int] = arguments["channels" if family == "stunet" else "features_per_stage"]
    return int(sizes[0])


class ClassTable:
    """Vectors and biases of the classes of one network.

    Args:
        vectors: (C, E) float32, one row per class; the column for leftness is 0.
        biases: (C,) float32.
    """

    def __init__(self, vectors: Tensor, biases: Tensor) -> None:
        self.vectors, self.biases = vectors.float(), biases.float()

    def __len__(self) -> int:
        return len(self.biases)


def read_network(path: Path, config: NetworkConfig) -> tuple[ClassTableNetwork, ClassTable]:
    """Read one network of a converted model.

    Raises:
        ModelError: the file is missing, or does not fit the configuration.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(path)
        table = ClassTable(state.pop(VECTORS), state.pop(BIASES))
        check_finite("the table", table.vectors)
        check_finite("the table", table.biases)
        network = ClassTableNetwork(config)
        fill(network, state)
        if table.vectors.shape != (len(config.classes), network.embedding_channels) or len(table) != len(
            config.classes
        ):
            raise ValueError("the table has another size")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AssertionError) as error:
        raise ModelError(f"{path.name} does not fit the model's configuration", "convert the model again") from error
    return network.eval().requires_grad_(False), table


def fill(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Set every parameter of a network.

    Raises:
        ValueError: a parameter is missing, unknown, of another size or not finite.
    """
    own = own_parameters(network)
    wrong = own.keys() ^ state.keys()
    if wrong:
        raise ValueError(f"{min(wrong)} is {'missing' if min(wrong) in own else 'of another network'}")
    with torch.no_grad():
        for name, parameter in own.items():
            if parameter.shape != state[name].shape:
                raise ValueError(f"{name} has another size")
            check_finite(name, state[name])
            parameter.copy_(state[name])


def check_finite(name: str, values: Tensor) -> None:
    """Refuse numbers with which every structure would be "not in this scan".

    Raises:
        ValueError: one of them is infinite or none.
    """
    if not torch.isfinite(values).all():
        raise ValueError(f"{name} has values that are not finite")
