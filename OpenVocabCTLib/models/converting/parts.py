"""A network of another framework on its way into a model folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from OpenVocabCTLib.models.class_table import BIASES, VECTORS, build_backbone, check_finite, fill, own_parameters
from OpenVocabCTLib.models.tables import NetworkConfig


@dataclass(frozen=True)
class SourceNetwork:
    """What was read.

    Attributes:
        config: of the network; its ``file`` is still empty.
        weights: as they are written, float32.
        cases: number of training scans that the source states, None where it does not.
        hashes: file of the source -> sha256.
    """

    config: NetworkConfig
    weights: dict[str, Tensor]
    cases: int | None
    hashes: dict[str, str]


def joined(config: NetworkConfig, folds: Sequence[tuple[dict[str, Tensor], Tensor, Tensor]]) -> dict[str, Tensor]:
    """Put folds side by side: features next to each other, one table over all of them.

    Args:
        config: of the network.
        folds: of each the parameters of the backbone by their published names, and weights (C, F, 1, 1, 1) and biases
            (C,) of the last layer.

    Raises:
        KeyError, ValueError: parameters are missing, unknown, of another size or not finite.
    """
    weights: dict[str, Tensor] = {}
    rows, biases = [], []
    for number, (published, vectors, bias) in enumerate(folds):
        backbone = build_backbone(config.family, config.arguments)
        own = own_parameters(backbone)
        given = {f"network.{name}": tensor.float() for name, tensor in published.items()}
        other_names = {name: tensor for name, tensor in given.items() if name not in own}
        # U-Nets list their parameters under several names; whatever is left over has to be one of those.
        known = set(backbone.state_dict())
        unknown = sorted(other_names.keys() - known)
        if unknown:
            raise ValueError(f"{unknown[0]} is of another network")
        fill(backbone, {name: tensor for name, tensor in given.items() if name in own})
        weights |= {f"folds.{number}.{name}": given[name].clone().contiguous() for name in own}
        if vectors.shape[0] != len(config.classes) or bias.shape != (len(config.classes),):
            raise ValueError(f"the last layer has {vectors.shape[0]} classes, the plan {len(config.classes)}")
        check_finite("the last layer", vectors)
        check_finite("the last layer", bias)
        rows.append(vectors.float().flatten(1) / len(folds))
        biases.append(bias.float())
    leftness = torch.zeros(len(config.classes), 1)
    table = {VECTORS: torch.cat((*rows, leftness), dim=1), BIASES: torch.stack(biases).mean(0)}
    return weights | table
