"""nnU-Net v2 results folders (Isensee et al. 2021, github.com/MIC-DKFZ/nnUNet), TotalSegmentator's among them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from OpenVocabCTLib.errors import InputError, ModelError
from OpenVocabCTLib.models.checkpoints import sha256_file
from OpenVocabCTLib.models.converting.architectures import unet, unsupported
from OpenVocabCTLib.models.converting.names import known_concepts
from OpenVocabCTLib.models.converting.parts import SourceNetwork, joined
from OpenVocabCTLib.models.tables import InputConfig, NetworkConfig
from OpenVocabCTLib.models.unpickling import read_checkpoint

CHECKPOINT = "checkpoint_final.pth"
_DAMAGED = "get the results folder again"
_LAST_LAYER = "decoder.seg_layers."
# nnU-Net takes every name but "CT" for what is normalised by mean and deviation, which does not keep a network for MR
# from finding things in a CT.
_OTHER_MODALITY = re.compile(
    r"(?<![^\W_])(mri?|t[12][a-z]*|flair|adc|[ds]wi|pe?t|us|ultrasound)(?![^\W_])", re.IGNORECASE
)


def read_results(folder: Path, folds: Sequence[str] | None = None, orientation: str | None = None) -> SourceNetwork:
    """Read a trained network.

    Args:
        folder: with ``plans.json``, ``dataset.json`` and ``fold_*/checkpoint_final.pth``.
        folds: which folds are averaged, all that are there by default.
        orientation: "stored" or "RAS"; by default what the reader of the plans does.

    Raises:
        InputError: the folder or a fold is not there.
        ModelError: a file is damaged or refused, or describes a network that cannot be converted.
    """
    plans, dataset = _json(folder / "plans.json"), _json(folder / "dataset.json")
    numbers = list(folds) if folds else sorted(one.parent.name[5:] for one in folder.glob(f"fold_*/{CHECKPOINT}"))
    if not numbers:
        raise InputError(f"{folder.name} has no fold_*/{CHECKPOINT}", "give the folder that holds plans.json and folds")
    paths = [folder / f"fold_{number}" / CHECKPOINT for number in numbers]
    checkpoints = [read_checkpoint(path) for path in paths]
    try:
        name = checkpoints[0]["init_args"]["configuration"]
        family, arguments = unet(_configuration(plans, name))
        classes = _classes(dataset)
        mirror = checkpoints[0].get("inference_allowed_mirroring_axes") or ()
        preprocessing = _preprocessing(plans, dataset, name, tuple(int(axis) for axis in mirror))
        if orientation is not None:
            preprocessing = replace(preprocessing, orientation="RAS" if orientation == "RAS" else "stored")
        config = NetworkConfig(
            folder.name, "", family, arguments, len(paths), classes, known_concepts(classes), preprocessing
        )
        weights = joined(config, [_split(one["network_weights"]) for one in checkpoints])
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, AssertionError) as error:
        raise ModelError(
            f"{folder.name} is no nnU-Net v2 network that can be read ({type(error).__name__}: {error})", _DAMAGED
        ) from error
    cases = dataset.get("numTraining")
    hashes = {f"{path.parent.name}/{path.name}": sha256_file(path) for path in paths}
    return SourceNetwork(config, weights, int(cases) if isinstance(cases, int) else None, hashes)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"{path.parent.name} has no {path.name}", "give the folder that nnU-Net wrote, with plans.json and folds"
        ) from error
    except OSError as error:
        raise InputError(f"{path.name} cannot be read ({error.strerror})", "check the path and permissions") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path.name} is damaged (not JSON)", _DAMAGED) from error
    if not isinstance(content, dict):
        raise ModelError(f"{path.name} is damaged (not an object)", _DAMAGED)
    return content


def _configuration(plans: Mapping[str, Any], name: str) -> dict[str, Any]:
    """One configuration with what it inherits from others."""
    own = dict(plans["configurations"][name])
    seen = {name}
    while "inherits_from" in own:
        parent = own.pop("inherits_from")
        if parent in seen:
            raise ValueError("configurations inherit from each other")
        seen.add(parent)
        own = dict(plans["configurations"][parent]) | own
    if own.get("previous_stage") is not None:
        raise unsupported("a cascade, whose second network needs the result of the first,")
    return own


def _classes(dataset: Mapping[str, Any]) -> tuple[str, ...]:
    channels = dataset.get("channel_names") or dataset.get("modality") or {}
    if len(channels) != 1:
        raise unsupported(f"a network with {len(channels)} input channels")
    (modality,) = (str(name) for name in (channels.values() if isinstance(channels, Mapping) else channels))
    if _OTHER_MODALITY.search(modality):
        raise unsupported(f"a network for {modality}")
    labels: dict[str, Any] = dict(dataset["labels"])
    if not all(isinstance(value, int) for value in labels.values()):
        raise unsupported("a network whose classes overlap (regions)")
    labels.pop("ignore", None)
    in_order = sorted(labels, key=lambda name: labels[name])
    if [labels[name] for name in in_order] != list(range(len(in_order))) or len(in_order) < 2:
        raise ValueError("the labels are not numbered from 0")
    return tuple(in_order)


def _preprocessing(
    plans: Mapping[str, Any], dataset: Mapping[str, Any], name: str, mirror_axes: tuple[int, ...]
) -> InputConfig:
    configuration = _configuration(plans, name)
    if configuration.get("preprocessor_name", "DefaultPreprocessor") != "DefaultPreprocessor":
        raise unsupported(f"a network with the preprocessor {configuration['preprocessor_name']}")
    for kind in ("data", "probabilities"):
        function = configuration.get(f"resampling_fn_{kind}", "resample_data_or_seg_to_shape")
        if function != "resample_data_or_seg_to_shape":
            raise unsupported(f"a network that resamples with {function}")
    options = configuration.get("resampling_fn_data_kwargs", {"order": 3, "order_z": 0})
    scores = configuration.get("resampling_fn_probabilities_kwargs", {"order": 1, "order_z": 0})
    forced = {one.get("force_separate_z") for one in (options, scores)}
    if forced != {None} or options.get("order_z", 0) != 0 or scores.get("order", 1) != 1:
        raise unsupported("a network with resampling of its own")
    (scheme,) = configuration["normalization_schemes"]
    if any(configuration.get("use_mask_for_norm", [False])):
        raise unsupported("a network that normalises within a mask")
    forward = [int(axis) for axis in plans["transpose_forward"]]
    reader = dataset.get("overwrite_image_reader_writer") or plans.get("image_reader_writer") or "SimpleITKIO"
    spacing, patch = configuration["spacing"], configuration["patch_size"]
    if len(spacing) != 3 or len(patch) != 3:
        raise unsupported("a network that is not three-dimensional")
    whole = InputConfig(
        orientation="RAS" if reader == "NibabelIOWithReorient" else "stored",
        transpose=(forward[0], forward[1], forward[2]),
        spacing_mm=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
        patch=(int(patch[0]), int(patch[1]), int(patch[2])),
        mirror_axes=mirror_axes,
        order=int(options.get("order", 3)),
    )
    if scheme in ("NoNormalization", "ZScoreNormalization"):
        return replace(whole, scheme="none" if scheme == "NoNormalization" else "zscore")
    if scheme != "CTNormalization":
        raise unsupported(f"a network with {scheme}")
    known = plans["foreground_intensity_properties_per_channel"]["0"]
    return replace(
        whole,
        low=float(known["percentile_00_5"]),
        high=float(known["percentile_99_5"]),
        mean=float(known["mean"]),
        deviation=float(known["std"]),
    )


def _split(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Backbone, and weights and biases of the last layer."""
    levels = {int(name[len(_LAST_LAYER) :].split(".")[0]) for name in state if name.startswith(_LAST_LAYER)}
    last = f"{_LAST_LAYER}{max(levels)}."
    backbone = {name: tensor for name, tensor in state.items() if not name.startswith(_LAST_LAYER)}
    return backbone, state[f"{last}weight"], state[f"{last}bias"]
