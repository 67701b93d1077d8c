"""Starting a run from the weights of another: a checkpoint, a model folder, or a published STU-Net."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from openvocabct_training.table_start import is_class_table, table_state
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.models.checkpoints import WEIGHTS_FILE
from OpenVocabCTLib.models.openvocab import OpenVocabCT

log = logging.getLogger(__name__)

# The same parameter is called differently in a checkpoint, in a model folder, and in a published backbone.
_PREFIXES = ("", "model.", "model.backbone.")
# A pretraining run keeps the image tower under this name; its other heads are of no use afterwards.
_PRETRAINED = "network.tower."
_DECODER = ("backbone.upsample_layers.", "backbone.conv_blocks_localization.", "projection.")
_ORGAN_HEAD = "network.organ_head."


def read_state(place: Path) -> dict[str, Tensor]:
    """Parameters by the names that ``place`` gives them, in fp32.

    Args:
        place: a model folder, a ``.safetensors`` file, or a checkpoint with a ``state_dict``; of a pretraining run
            the image tower.

    Raises:
        InputError: it is none of these.
    """
    file = place / WEIGHTS_FILE if (place / WEIGHTS_FILE).is_file() else place
    if not file.is_file():
        raise InputError(f"there is no checkpoint or model folder {place}", "check model.initial_weights")
    try:
        if file.suffix == ".safetensors":
            state = load_file(file)
        else:
            content = torch.load(file, map_location="cpu", weights_only=True)
            state = content.get("state_dict", content)
        state = pretrained_tower(state)
        return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    except (SafetensorError, pickle.UnpicklingError, EOFError, LookupError, RuntimeError, AttributeError) as error:
        raise InputError(
            f"{place} holds no weights that can be read ({type(error).__name__})",
            "give a checkpoint, a model folder or a .safetensors file; convert other formats first",
        ) from error


def pretrained_tower(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the image tower of a pretraining run's ``state_dict`` under its own names; any other as it is.

    A run that compared whole scans only has not trained its decoder, which is therefore left out.
    """
    if not any(name.startswith(_PRETRAINED) for name in state):
        return dict(state)
    tower = {name.removeprefix(_PRETRAINED): value for name, value in state.items() if name.startswith(_PRETRAINED)}
    organs = any(name.startswith(_ORGAN_HEAD) for name in state)
    return {name: value for name, value in tower.items() if organs or not name.startswith(_DECODER)}


def start_from(module: nn.Module, place: Path, partial: bool) -> None:
    """Load weights into a network.

    Args:
        module: the network.
        place: see ``read_state``, or a converted STU-Net, see ``table_start``; what it lacks keeps its own start.
        partial: take what has the right name and size and leave the rest; otherwise everything has to fit.

    Raises:
        InputError: nothing can be read or taken; or, if not ``partial``, something does not fit.
    """
    own = module.state_dict()
    if is_class_table(place):
        taken = {
            f"model.{name}": tensor for name, tensor in table_state(place, cast(OpenVocabCT, module.model)).items()
        }
        module.load_state_dict(taken, strict=False)
        _report(place, own, taken, [], [])
        return
    given = {_own_name(name, own): tensor for name, tensor in read_state(place).items()}
    unknown = [name for name in given if name not in own]
    other_size = [name for name in given if name in own and given[name].shape != own[name].shape]
    if not partial:
        hint = "choose another checkpoint, or set model.partial_weights to take what fits"
        if other_size:
            raise InputError(f"{place} has weights of other sizes ({other_size[0]})", hint)
        if unknown:
            raise InputError(f"{place} has weights of another network ({unknown[0]})", hint)
    taken = {name: tensor for name, tensor in given.items() if name not in {*unknown, *other_size}}
    if not taken:
        raise InputError(f"{place} has no weights of this network", "choose another checkpoint")
    module.load_state_dict(taken, strict=False)
    _report(place, own, taken, unknown, other_size)


def _own_name(name: str, own: Mapping[str, Tensor]) -> str:
    return next((prefix + name for prefix in _PREFIXES if prefix + name in own), name)


def _report(
    place: Path, own: Mapping[str, Tensor], taken: Mapping[str, Tensor], unknown: list[str], other_size: list[str]
) -> None:
    values, all_values = (sum(tensor.numel() for tensor in state.values()) for state in (taken, own))
    log.info(
        "%s: took %d of %d parameters (%.2f of %.2f million values)",
        place, len(taken), len(own), values / 1e6, all_values / 1e6,
    )  # fmt: skip
    own_start = [name for name in own if name not in taken and name not in other_size]
    for what, names in (("not there", own_start), ("of another size", other_size), ("of no use here", unknown)):
        if names:
            log.info("  %s: %s", what, ", ".join(names))
