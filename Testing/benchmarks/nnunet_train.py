"""Train tiny nnU-Net v2 models with the real ``nnunetv2`` and let it predict: the reference of ``nnunet_parity.py``.

Needs ``pip install nnunetv2`` (2.8 was used), best in an environment of its own, and the shared CT data:

    MINUTES=8 python Testing/benchmarks/nnunet_train.py DATA WORK [plain|residual ...]

WORK gets ``models/NAME`` (a results folder as nnU-Net writes it, trained for about MINUTES on the CPU), ``input/NAME``
(see ``nnunet_data.py``) and ``predicted/NAME``, what ``nnUNetv2_predict`` makes of them.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnunet_data import write_inputs, write_training

RATE = 2e-3
MINUTES = float(os.environ.get("MINUTES", "8"))
STEPS = 50  # of an epoch; a whole one has 250
BLOCKS = {"n_stages": 4, "features_per_stage": [12, 24, 48, 64], "n_conv_per_stage_decoder": [1, 1, 1]}
# Spacings and patches are along nnU-Net's transposed axes.
PLAIN = {"batch_size": 2, "batch_dice": False, "spacing": [5.4, 6.0, 5.4], "patch_size": [32, 32, 32]}
PLAIN_BLOCKS = BLOCKS | {
    "n_conv_per_stage": [1, 1, 2, 2],
    "kernel_sizes": [[3] * 3] * 4,
    "strides": [[1] * 3, [2] * 3, [2] * 3, [2] * 3],
}
# Slices this thick are resampled on their own, on the way there and back.
THICK = {"batch_size": 2, "batch_dice": False, "spacing": [10.0, 3.2, 3.2], "patch_size": [8, 48, 48]}
THICK_BLOCKS = BLOCKS | {
    "n_blocks_per_stage": [1, 1, 2, 2],
    "kernel_sizes": [[1, 3, 3], [3] * 3, [3] * 3, [3] * 3],
    "strides": [[1] * 3, [1, 2, 2], [2] * 3, [1, 2, 2]],
}
# Number, planner, reader, sizes, network, order of axes.
MODELS: dict[str, tuple[int, str, str, dict[str, Any], dict[str, Any], list[int]]] = {
    "plain": (801, "ExperimentPlanner", "NibabelIOWithReorient", PLAIN, PLAIN_BLOCKS, [1, 0, 2]),
    "residual": (802, "nnUNetPlannerResEncM", "SimpleITKIO", THICK, THICK_BLOCKS, [0, 1, 2]),
}


def main(data: Path, work: Path, models: Sequence[str]) -> None:
    """Train what is not trained yet, then predict."""
    tell_nnunet(work)
    for model in models:
        if not (work / "models" / model / "fold_0" / "checkpoint_final.pth").exists():
            train(prepared(model, data, work), work / "models" / model)
        write_inputs(model, data, work / "input" / model)
        predict(work / "models" / model, work / "input" / model, work / "predicted" / model)


def tell_nnunet(work: Path) -> None:
    """Make the folders that nnU-Net wants, and set the variables in which it looks for them."""
    for name, folder in (("nnUNet_raw", "raw"), ("nnUNet_preprocessed", "preprocessed"), ("nnUNet_results", "results")):
        (work / folder).mkdir(parents=True, exist_ok=True)
        os.environ[name] = str(work / folder)


def prepared(model: str, data: Path, work: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Plan, make the plan small, preprocess, unless that is done; return plans and description of the data set."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments, preprocess

    number, planner, reader, sizes, blocks, order = MODELS[model]
    folder = work / "preprocessed" / f"Dataset{number}_{model}"
    if not (folder / "splits_final.json").exists():
        write_training(model, data, work / "raw" / folder.name, reader)
        os.environ["nnUNet_n_proc_DA"] = "1"  # noqa: SIM112 the name that nnU-Net reads
        extract_fingerprints([number], num_processes=1)
        plan_experiments([number], experiment_planner_class_name=planner)
        (path,) = folder.glob("*lans.json")
        plans = json.loads(path.read_text())
        configuration = plans["configurations"]["3d_fullres"]
        configuration.update(sizes)
        configuration["architecture"]["arch_kwargs"].update(blocks)
        plans["transpose_forward"] = plans["transpose_backward"] = order
        path.write_text(json.dumps(plans))
        preprocess([number], plans_identifier=path.stem, configurations=["3d_fullres"], num_processes=[1])
        every = sorted(one.name.removesuffix(".nii.gz") for one in (folder / "gt_segmentations").glob("*.nii.gz"))
        (folder / "splits_final.json").write_text(json.dumps([{"train": every[1:] or every, "val": every[:1]}]))
    (path,) = folder.glob("*lans.json")
    return json.loads(path.read_text()), json.loads((folder / "dataset.json").read_text())


def train(plans_and_data: tuple[dict[str, Any], dict[str, Any]], target: Path) -> None:
    """Train for about ``MINUTES``; of the augmentations only the flips, which is what so short a training can use."""
    import torch
    from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
    from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    os.environ["nnUNet_n_proc_DA"] = "0"  # noqa: SIM112 in this process
    plans, description = plans_and_data
    trainer = nnUNetTrainer(plans | {"continue_training": False}, "3d_fullres", 0, description, torch.device("cpu"))
    sizes = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size

    def patch_sizes() -> tuple[Any, ...]:
        rotation, flat, _, axes = sizes()
        return rotation, flat, trainer.configuration_manager.patch_size, axes

    def flips(*given: Any, **more: Any) -> Any:
        wanted = ("is_cascaded", "foreground_labels", "regions", "ignore_label")
        rest = trainer.get_validation_transforms(given[2], **{name: more[name] for name in wanted})
        return ComposeTransforms([MirrorTransform(allowed_axes=given[3]), rest])

    trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size = patch_sizes
    trainer.get_training_transforms = flips
    trainer.oversample_foreground_percent = 0.66
    trainer.on_train_start()
    # Adam instead of nnU-Net's plain gradient descent, which needs hours; its rate falls as the time goes by.
    trainer.optimizer = torch.optim.Adam(trainer.network.parameters(), RATE)
    trainer.lr_scheduler = Falling(trainer.optimizer)
    while trainer.lr_scheduler.left > 0.0:
        trainer.on_epoch_start()
        trainer.on_train_epoch_start()
        trainer.on_train_epoch_end([trainer.train_step(next(trainer.dataloader_train)) for _ in range(STEPS)])
        with torch.no_grad():
            trainer.on_validation_epoch_start()
            trainer.on_validation_epoch_end([trainer.validation_step(next(trainer.dataloader_val)) for _ in range(4)])
        trainer.on_epoch_end()
    trainer.on_train_end()
    shutil.copytree(trainer.output_folder_base, target, dirs_exist_ok=True)


class Falling:
    """Learning rate that falls with the time that is left."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer, self.began = optimizer, time.perf_counter()

    @property
    def left(self) -> float:
        """Share of ``MINUTES`` that is left."""
        return max(0.0, 1.0 - (time.perf_counter() - self.began) / (60.0 * MINUTES))

    def step(self, epoch: int) -> None:
        """Set the rate for an epoch."""
        for group in self.optimizer.param_groups:
            group["lr"] = RATE * self.left**0.9


def predict(model: Path, source: Path, target: Path) -> None:
    """Let ``nnUNetv2_predict`` work with its defaults, on the CPU."""
    from nnunetv2.inference.predict_from_raw_data import predict_entry_point_modelfolder

    arguments = ["-i", source, "-o", target, "-m", model, "-f", "0", "-device", "cpu", "-npp", "1", "-nps", "1"]
    sys.argv = ["nnUNetv2_predict_from_modelfolder", *(str(one) for one in arguments)]
    target.mkdir(parents=True, exist_ok=True)
    predict_entry_point_modelfolder()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]).resolve(), sys.argv[3:] or tuple(MODELS))
