"""Starting from a converted STU-Net: its backbone, and its class table as the queries of the concepts it knows.

The voxel embedding is made by a 1x1x1 convolution, a leaky ReLU and another convolution.  With the first one [I, -I]
and the second [I, -I] / (1 + slope), features pass unchanged: leaky(f) - leaky(-f) = (1 + slope) f.  A structure's
query is then its class vector minus that of the background, so that the first logits are those of structure against
background.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from torch import Tensor

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.models.checkpoints import CONFIG_FILE
from OpenVocabCTLib.models.class_table import BIASES, VECTORS
from OpenVocabCTLib.models.openvocab import CONCEPT_SCALE, OpenVocabCT
from OpenVocabCTLib.models.tables import KIND, InputConfig, NetworkConfig, TableConfig

_BACKBONE = "folds.0.network."
_FIRST = ("conv_blocks_context.0.0.conv1", "conv_blocks_context.0.0.conv3")
_SLOPE = 0.01
# Mean and deviation of a body CT with the air around it: the published networks normalise each scan by its own.
_TYPICAL_HU = (-400.0, 500.0)


def is_class_table(place: Path) -> bool:
    """Whether a folder is a model converted from a network with fixed classes."""
    try:
        return json.loads((place / CONFIG_FILE).read_text(encoding="utf-8")).get("kind") == KIND
    except (OSError, ValueError, AttributeError):
        return False


def table_state(place: Path, model: OpenVocabCT) -> dict[str, Tensor]:
    """Parameters that a model starts with, by their names in it.

    Args:
        place: a converted STU-Net.
        model: what starts; its backbone has to be of the same size and strides.

    Raises:
        InputError: the converted network is another, or the model has too few channels for its features.
    """
    from safetensors.torch import load_file

    raw = json.loads((place / CONFIG_FILE).read_text(encoding="utf-8"))
    try:
        (network,) = TableConfig.from_dict(raw).networks
        given = load_file(place / network.file)
        vectors, biases = given.pop(VECTORS).float(), given.pop(BIASES).float()
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise InputError(f"{place.name} is not one converted network", "convert the STU-Net again") from error
    _check(network, model, place)
    features = vectors.shape[1] - 1
    backbone = {name.removeprefix(_BACKBONE): tensor.float() for name, tensor in given.items()}
    backbone |= _first_layer(backbone, network.preprocessing, model.hu_windows)
    return (
        {f"backbone.{name}": tensor for name, tensor in backbone.items()}
        | _passing(model, features)
        | _queries(model, network, vectors[:, :features], biases)
    )


def _check(network: NetworkConfig, model: OpenVocabCT, place: Path) -> None:
    if network.family != "stunet" or network.folds != 1:
        raise InputError(f"{place.name} is no STU-Net", "training starts from a converted STU-Net only")
    if tuple(network.arguments["channels"]) != model.backbone.channels:
        raise InputError(
            f"{place.name} has another size than model.architecture.size", "choose the size of the STU-Net"
        )
    if [list(one) for one in network.arguments["strides"]] != model.backbone.steps:
        raise InputError(
            f"{place.name} has the strides {network.arguments['strides']}", "set model.architecture.strides to them"
        )
    features = int(network.arguments["channels"][0])
    if model.projection.linear.out_channels < 2 * features:
        raise InputError(
            f"model.architecture.embedding_dim is too small for {features} features",
            f"set it to {2 * features} or more",
        )


def _first_layer(
    backbone: dict[str, Tensor], given: InputConfig, windows: tuple[tuple[float, float], ...]
) -> dict[str, Tensor]:
    """First convolutions for our input: the first window carries the network's only channel, others start at 0."""
    mean, deviation = (given.mean, given.deviation) if given.scheme == "ct" else _TYPICAL_HU
    low, high = windows[0]
    scale, shift = (high - low) / 2.0 / deviation, ((high + low) / 2.0 - mean) / deviation
    adapted = {}
    for name in _FIRST:
        weight = backbone[f"{name}.weight"]
        wide = torch.zeros(weight.shape[0], len(windows), *weight.shape[2:])
        wide[:, :1] = weight * scale
        adapted[f"{name}.weight"] = wide
        adapted[f"{name}.bias"] = backbone[f"{name}.bias"] + shift * weight.flatten(1).sum(1)
    return adapted


def _passing(model: OpenVocabCT, features: int) -> dict[str, Tensor]:
    """A projection whose first channels are the features; the other channels keep their random start."""
    expand, linear = model.projection.expand, model.projection.linear
    identity = torch.eye(features)
    into, bias, out = (one.detach().clone() for one in (expand.weight, expand.bias, linear.weight))  # type: ignore[union-attr]
    into[: 2 * features, :, 0, 0, 0] = torch.cat((identity, -identity))
    bias[: 2 * features] = 0.0
    out[:features] = 0.0
    out[:features, : 2 * features, 0, 0, 0] = torch.cat((identity, -identity), dim=1) / (1.0 + _SLOPE)
    return {"projection.expand.weight": into, "projection.expand.bias": bias, "projection.linear.weight": out}


def _queries(model: OpenVocabCT, network: NetworkConfig, vectors: Tensor, biases: Tensor) -> dict[str, Tensor]:
    """Queries of known concepts; the part that comes from text starts at nothing and learns what is missing."""
    own = torch.zeros_like(model.concept_queries)
    length = math.sqrt(model.embedding_channels)
    for row, name in enumerate(network.classes):
        place = model.concept_index(network.concepts.get(name))
        if place >= 0:
            own[place, : vectors.shape[1]] = (vectors[row] - vectors[0]) * length / CONCEPT_SCALE
            own[place, -1] = (biases[row] - biases[0]) / CONCEPT_SCALE
    head = model.query_head
    silent = {"voxel.weight": head.voxel.weight, "voxel.bias": head.voxel.bias, "voxel_side": head.voxel_side}
    silent["position"] = head.position
    return {"concept_queries": own} | {f"query_head.{name}": torch.zeros_like(one) for name, one in silent.items()}
