"""Published STU-Net checkpoints (Huang et al. 2023, arXiv:2304.06716; github.com/uni-medical/STU-Net, Apache-2.0).

A checkpoint is two files of nnU-Net v1: ``NAME.model`` with the weights and ``NAME.model.pkl`` with the plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from OpenVocabCTLib.errors import InputError, ModelError
from OpenVocabCTLib.models.checkpoints import sha256_file
from OpenVocabCTLib.models.converting.architectures import unsupported
from OpenVocabCTLib.models.converting.names import known_concepts
from OpenVocabCTLib.models.converting.parts import SourceNetwork, joined
from OpenVocabCTLib.models.stunet import SIZES
from OpenVocabCTLib.models.tables import InputConfig, NetworkConfig
from OpenVocabCTLib.models.unpickling import read_checkpoint, read_plain_pickle

PUBLISHED = ("S", "B", "L", "H")
# The published networks were trained on the first release of the TotalSegmentator data set; these are its classes in
# the order of the STU-Net repository, which is not that of TotalSegmentator.
_NAMES = """
adrenal_gland_left adrenal_gland_right aorta autochthon_left autochthon_right brain clavicula_left
clavicula_right colon duodenum esophagus face femur_left femur_right gallbladder gluteus_maximus_left
gluteus_maximus_right gluteus_medius_left gluteus_medius_right gluteus_minimus_left gluteus_minimus_right
heart_atrium_left heart_atrium_right heart_myocardium heart_ventricle_left heart_ventricle_right hip_left
hip_right humerus_left humerus_right iliac_artery_left iliac_artery_right iliac_vena_left iliac_vena_right
iliopsoas_left iliopsoas_right inferior_vena_cava kidney_left kidney_right liver lung_lower_lobe_left
lung_lower_lobe_right lung_middle_lobe_right lung_upper_lobe_left lung_upper_lobe_right pancreas
portal_vein_and_splenic_vein pulmonary_artery rib_left_1 rib_left_10 rib_left_11 rib_left_12 rib_left_2
rib_left_3 rib_left_4 rib_left_5 rib_left_6 rib_left_7 rib_left_8 rib_left_9 rib_right_1 rib_right_10
rib_right_11 rib_right_12 rib_right_2 rib_right_3 rib_right_4 rib_right_5 rib_right_6 rib_right_7 rib_right_8
rib_right_9 sacrum scapula_left scapula_right small_bowel spleen stomach trachea urinary_bladder vertebrae_C1
vertebrae_C2 vertebrae_C3 vertebrae_C4 vertebrae_C5 vertebrae_C6 vertebrae_C7 vertebrae_L1 vertebrae_L2
vertebrae_L3 vertebrae_L4 vertebrae_L5 vertebrae_T1 vertebrae_T10 vertebrae_T11 vertebrae_T12 vertebrae_T2
vertebrae_T3 vertebrae_T4 vertebrae_T5 vertebrae_T6 vertebrae_T7 vertebrae_T8 vertebrae_T9
"""
CLASSES = ("background", *_NAMES.split())
TRAINING_SCANS = 1204
_STAGES = 6
_LAST_LAYER = "seg_outputs."


def read_stunet(
    checkpoint: Path, plan: Path | None = None, classes: Sequence[str] = CLASSES, orientation: str | None = None
) -> SourceNetwork:
    """Read a STU-Net.

    Args:
        checkpoint: the ``.model`` file.
        plan: the ``.model.pkl`` file, the one beside the checkpoint by default.
        classes: names of the classes, the background first; those of the published networks by default.
        orientation: "stored" or "RAS".  The default is RAS, as which the scans of the training data are stored.

    Raises:
        InputError: a file is not there.
        ModelError: a file is damaged or refused, or holds another network.
    """
    plan = checkpoint.with_name(checkpoint.name + ".pkl") if plan is None else plan
    if not checkpoint.is_file():
        raise InputError(f"there is no file {checkpoint.name}", "give the .model file of a STU-Net")
    plans, state = read_plain_pickle(plan), read_checkpoint(checkpoint)
    try:
        plans = plans.get("plans", plans)
        weights = {name.removeprefix("module."): tensor for name, tensor in state["state_dict"].items()}
        channels, depth = _size(weights)
        stage = plans["plans_per_stage"][max(plans["plans_per_stage"])]
        arguments = {"channels": channels, "depth": depth, "strides": _strides(stage["pool_op_kernel_sizes"])}
        preprocessing = _preprocessing(plans, stage, "stored" if orientation == "stored" else "RAS")
        names = tuple(classes)
        config = NetworkConfig(checkpoint.stem, "", "stunet", arguments, 1, names, known_concepts(names), preprocessing)
        last = f"{_LAST_LAYER}{_STAGES - 2}."
        backbone = {name: tensor for name, tensor in weights.items() if not name.startswith(_LAST_LAYER)}
        tensors = joined(config, [(backbone, weights[f"{last}weight"], weights[f"{last}bias"])])
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ModelError(
            f"{checkpoint.name} is no STU-Net that can be read ({type(error).__name__}: {error})",
            "give a checkpoint of the sizes S, B, L or H, with its plan and its classes",
        ) from error
    hashes = {path.name: sha256_file(path) for path in (checkpoint, plan)}
    return SourceNetwork(config, tensors, TRAINING_SCANS if names == CLASSES else None, hashes)


def _size(weights: Mapping[str, Any]) -> tuple[list[int], int]:
    """Channels of the stages and blocks in each, as the weights show them."""
    channels = [int(weights[f"conv_blocks_context.{stage}.0.conv1.weight"].shape[0]) for stage in range(_STAGES)]
    depth = len({name.split(".")[2] for name in weights if name.startswith("conv_blocks_context.0.")})
    known = {name: SIZES[name] for name in PUBLISHED}
    if not any(list(size.channels) == channels and size.depth == depth for size in known.values()):
        raise unsupported(f"a STU-Net with {channels[0]} to {channels[-1]} channels and {depth} blocks")
    return channels, depth


def _strides(pooling: Sequence[Sequence[int]]) -> list[list[int]]:
    """Strides between the stages; the published trainer cuts the plan's to five, or fills them up with ones."""
    strides = [[int(step) for step in one] for one in pooling][: _STAGES - 1]
    return strides + [[1, 1, 1]] * (_STAGES - 1 - len(strides))


def _preprocessing(plans: Mapping[str, Any], stage: Mapping[str, Any], orientation: str) -> InputConfig:
    if int(plans["num_modalities"]) != 1 or any(plans["use_mask_for_norm"].values()):
        raise unsupported("a STU-Net with several channels or a mask")
    scheme = plans["normalization_schemes"][0]
    values = {"low": -1024.0, "high": 3071.0, "mean": 0.0, "deviation": 1.0}
    if scheme == "CT":
        known = plans["dataset_properties"]["intensityproperties"][0]
        keys = {"low": "percentile_00_5", "high": "percentile_99_5", "mean": "mean", "deviation": "sd"}
        values = {name: float(known[key]) for name, key in keys.items()}
    elif scheme not in ("nonCT", "noNorm"):
        raise unsupported(f"a STU-Net with the normalisation {scheme}")
    forward, patch, spacing = plans["transpose_forward"], stage["patch_size"], stage["current_spacing"]
    return InputConfig(
        orientation="RAS" if orientation == "RAS" else "stored",
        transpose=(int(forward[0]), int(forward[1]), int(forward[2])),
        spacing_mm=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
        patch=(int(patch[0]), int(patch[1]), int(patch[2])),
        mirror_axes=(0, 1, 2),
        scheme="ct" if scheme == "CT" else "zscore" if scheme == "nonCT" else "none",
        normalise_first=False,
        low=values["low"],
        high=values["high"],
        mean=values["mean"],
        deviation=values["deviation"],
    )
