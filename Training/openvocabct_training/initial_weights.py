"""Starting a run from the weights of another: a checkpoint, a model folder, or a published STU-Net."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from openvocabct_training.table_start import is_class_table, table_state
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.models.checkpoints import CONFIG_FILE, WEIGHTS_FILE
from OpenVocabCTLib.models.config import ArchitectureConfig
from OpenVocabCTLib.models.openvocab import OpenVocabCT

log = logging.getLogger(__name__)

# The same parameter is called differently in a checkpoint, in a model folder, and in a published backbone.
_PREFIXES = ("", "model.", "model.backbone.")
# A pretraining run keeps the image tower under this name; its other heads are of no use afterwards.
_PRETRAINED = "network.tower."
_DECODER = ("backbone.upsample_layers.", "backbone.conv_blocks_localization.", "projection.")
_ORGAN_HEAD = "network.organ_head."
# One row for every concept, in an order of which the parameters themselves say nothing.
_QUERIES = "model.concept_queries"


class Given(NamedTuple):
    """What there is to start from.

    Attributes:
        state: parameters by their names, in fp32.
        concepts: ids of the concepts that have a query of their own, by row; None where nothing says so.
    """

    state: dict[str, Tensor]
    concepts: tuple[str, ...] | None


def read_given(place: Path) -> Given:
    """Read what there is to start from.

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
            state, concepts = load_file(file), _concepts_beside(file)
        else:
            content = torch.load(file, map_location="cpu", weights_only=True)
            state, concepts = content.get("state_dict", content), concepts_in(content.get("hyper_parameters", {}))
        state = pretrained_tower(state)
        return Given({name: one.float() if one.is_floating_point() else one for name, one in state.items()}, concepts)
    except (SafetensorError, pickle.UnpicklingError, EOFError, LookupError, RuntimeError, AttributeError) as error:
        raise InputError(
            f"{place} holds no weights that can be read ({type(error).__name__})",
            "give a checkpoint, a model folder or a .safetensors file; convert other formats first",
        ) from error


def concepts_in(description: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Concepts with a query of their own, by row, of a run's hyperparameters or a model's ``config.json``."""
    architecture = description.get("architecture")
    if isinstance(architecture, ArchitectureConfig):
        return architecture.concepts
    return tuple(architecture.get("concepts", ())) if isinstance(architecture, Mapping) else None


def _concepts_beside(file: Path) -> tuple[str, ...] | None:
    try:
        return concepts_in(json.loads((file.parent / CONFIG_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError):
        return None  # parameters without a model around them


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
        place: see ``read_given``, or a converted STU-Net, see ``table_start``; what it lacks keeps its own start.
        partial: take what has the right name and size and leave the rest; otherwise everything has to fit.  Queries
            of concepts are taken by the names of the concepts.

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
    state, concepts = read_given(place)
    given = {_own_name(name, own): tensor for name, tensor in state.items()}
    if _QUERIES in given and _QUERIES in own and concepts is not None and concepts != tuple(module.concepts):  # type: ignore[arg-type]
        if not partial:
            raise InputError(
                f"{place} has queries of other concepts", "list the same concepts, or set model.partial_weights"
            )
        given[_QUERIES] = _by_name(given[_QUERIES], concepts, own[_QUERIES], cast(Sequence[str], module.concepts))
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


def _by_name(given: Tensor, theirs: Sequence[str], own: Tensor, ours: Sequence[str]) -> Tensor:
    """Queries of our concepts: theirs where they have the concept, else our own start."""
    if given.shape[1] != own.shape[1]:
        return given  # of another size, which is told like that of any other parameter
    queries = own.clone()
    for row, concept in enumerate(ours):
        if concept in theirs:
            queries[row] = given[theirs.index(concept)]
    missing = [concept for concept in ours if concept not in theirs]
    log.info("queries of concepts are taken by name; without one there: %s", ", ".join(missing) or "none")
    return queries


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
