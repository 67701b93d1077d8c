"""Results folders as nnU-Net v2 writes them and checkpoints as STU-Net publishes them, with random weights."""

from __future__ import annotations

import json
import pickle
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dynamic_network_architectures.architectures import unet
from torch import Tensor, nn

SPACING, PATCH = (3.0, 2.0, 2.5), (16, 24, 16)
LABELS = {"background": 0, "liver": 1, "kidney_left": 2, "kidney_right": 3, "widget_7": 4}
INTENSITIES = {"mean": 20.0, "std": 150.0, "percentile_00_5": -500.0, "percentile_99_5": 900.0}
SIZES: dict[str, Any] = {
    "n_stages": 3,
    "features_per_stage": [4, 6, 8],
    "conv_op": "torch.nn.modules.conv.Conv3d",
    "kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
    "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
    "n_conv_per_stage_decoder": [1, 1],
    "conv_bias": True,
    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
    "norm_op_kwargs": {"eps": 1e-05, "affine": True},
    "dropout_op": None,
    "dropout_op_kwargs": None,
    "nonlin": "torch.nn.LeakyReLU",
    "nonlin_kwargs": {"inplace": True},
}
IMPORTED = {
    "conv_op": nn.Conv3d, "norm_op": nn.InstanceNorm3d, "dropout_op": None, "nonlin": nn.LeakyReLU,
}  # fmt: skip


def build(kind: str, classes: int, seed: int) -> nn.Module:
    """A network of nnU-Net with random weights whose classes all win somewhere."""
    torch.manual_seed(seed)
    blocks = {"PlainConvUNet": "n_conv_per_stage", "ResidualEncoderUNet": "n_blocks_per_stage"}[kind]
    network = getattr(unet, kind)(
        input_channels=1, num_classes=classes, deep_supervision=True, **(SIZES | IMPORTED | {blocks: [1, 1, 2]})
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


def write_results(
    folder: Path,
    kind: str = "PlainConvUNet",
    folds: Sequence[int] = (0,),
    reader: str = "SimpleITKIO",
    labels: dict[str, Any] = LABELS,
    mirror: tuple[int, ...] | None = (0, 2),
    **plan: Any,
) -> list[nn.Module]:
    """Write a results folder; return the networks of its folds."""
    folder.mkdir(parents=True)
    blocks = {"PlainConvUNet": "n_conv_per_stage", "ResidualEncoderUNet": "n_blocks_per_stage"}.get(kind, "blocks")
    configuration = {
        "spacing": list(SPACING),
        "patch_size": list(PATCH),
        "preprocessor_name": "DefaultPreprocessor",
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None},
        "architecture": {
            "network_class_name": f"dynamic_network_architectures.architectures.unet.{kind}",
            "arch_kwargs": SIZES | {blocks: [1, 1, 2]},
            "_kw_requires_import": list(IMPORTED),
        },
    } | plan
    plans = {
        "image_reader_writer": reader,
        "transpose_forward": [1, 0, 2],
        "transpose_backward": [1, 0, 2],
        "foreground_intensity_properties_per_channel": {"0": INTENSITIES},
        "configurations": {"3d_fullres": configuration},
    }
    dataset = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 12, "file_ending": ".nii.gz"}
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    networks = []
    for fold in folds:
        known = kind if kind in ("PlainConvUNet", "ResidualEncoderUNet") else "PlainConvUNet"
        networks.append(build(known, len([one for one in labels if one != "ignore"]), 10 + fold))
        (folder / f"fold_{fold}").mkdir()
        checkpoint = {
            "network_weights": networks[-1].state_dict(),
            "optimizer_state": {},
            "logging": {"ema": np.float64(0.5), "losses": [np.float32(1.0)], "array": np.arange(3.0)},
            "init_args": {"configuration": "3d_fullres", "device": torch.device("cpu"), "fold": fold},
            "trainer_name": "nnUNetTrainer",
            "inference_allowed_mirroring_axes": mirror,
        }
        torch.save(checkpoint, folder / f"fold_{fold}" / "checkpoint_final.pth")
    return networks


def write_stunet(path: Path, state: dict[str, Tensor], **plan: Any) -> Path:
    """Write a STU-Net checkpoint of nnU-Net v1: PATH and PATH.pkl, as the published ones are."""
    torch.save({"epoch": 4000, "state_dict": OrderedDict(state), "plot_stuff": ([np.float64(0.1)], [])}, path)
    stage = {
        "patch_size": np.array([128, 128, 128]),
        "current_spacing": np.array([1.5, 1.5, 1.5]),
        "pool_op_kernel_sizes": [[2, 2, 2], [2, 2, 2], [2, 2, 2], [2, 2, 2], [1, 1, 2]],
        "do_dummy_2D_data_aug": np.bool_(False),
    }
    plans = {
        "num_modalities": 1,
        "normalization_schemes": OrderedDict({0: "nonCT"}),
        "use_mask_for_norm": OrderedDict({0: False}),
        "transpose_forward": [np.int64(0), 1, 2],
        "plans_per_stage": {0: stage | plan},
        "dataset_properties": {"intensityproperties": None},
    }
    with path.with_name(path.name + ".pkl").open("wb") as stream:
        pickle.dump(OrderedDict(init=("", 0), name="STUNetTrainer_base", plans=plans), stream)
    return path
