"""Train tiny nnU-Net v2 models with the real ``nnunetv2`` and let it predict: the reference of ``nnunet_parity.py``.

Needs ``pip install nnunetv2`` (2.8 was used), best in an environment of its own, and the OpenKBP CTs of shared data:

    python Testing/benchmarks/nnunet_train.py DATA WORK [plain|residual ...]

DATA is the folder ``openkbp``.  WORK gets ``models/plain`` and ``models/residual`` (results folders as nnU-Net writes
them), ``input`` (CTs that neither was trained on: as they are, stored in another orientation, with thick slices) and
``predicted/plain`` and ``predicted/residual``, what ``nnUNetv2_predict`` makes of them.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

TRAINED_ON = 3
EPOCHS, ITERATIONS = (int(number) for number in os.environ.get("EPOCHS_ITERATIONS", "2 15").split())
TISSUES = {"air": (-5000, -500), "adipose_tissue": (-200, -30), "soft_tissue": (0, 150), "bones": (250, 5000)}
CROP = (48, 48, 60)  # voxels along I, J, K
SMALL = {"batch_size": 2, "batch_dice": False}
BLOCKS = {"n_stages": 4, "features_per_stage": [12, 24, 48, 64], "strides": [[1] * 3, [2] * 3, [2] * 3, [2] * 3]}
BLOCKS["kernel_sizes"] = [[3] * 3] * 4
PLAIN = {"spacing": [4.5, 3.0, 4.5], "patch_size": [32, 32, 32]}  # in the order of nnU-Net's transposed axes
THICK = {"spacing": [12.5, 4.2, 4.2], "patch_size": [8, 32, 32]}
THICK_BLOCKS = BLOCKS | {
    "kernel_sizes": [[1, 3, 3], [3] * 3, [3] * 3, [3] * 3],
    "strides": [[1] * 3, [1, 2, 2], [2] * 3, [1, 2, 2]],
}


def main(data: Path, work: Path, models: Sequence[str]) -> None:
    """Train, then predict."""
    for name, folder in (("nnUNet_raw", "raw"), ("nnUNet_preprocessed", "preprocessed"), ("nnUNet_results", "results")):
        (work / folder).mkdir(parents=True, exist_ok=True)
        os.environ[name] = str(work / folder)
    write_inputs(sorted((data / "validation").iterdir()), work / "input")
    cases = sorted((data / "train").iterdir())[:TRAINED_ON]
    if "plain" in models:
        write_raw(cases, work / "raw" / "Dataset801_Plain", "SimpleITKIO")
        blocks = BLOCKS | {"n_conv_per_stage": [1, 1, 2, 2]}
        train(801, "ExperimentPlanner", PLAIN, blocks, None, work / "models" / "plain")
    if "residual" in models:
        write_raw(cases, work / "raw" / "Dataset802_Residual", "NibabelIOWithReorient")
        blocks = THICK_BLOCKS | {"n_blocks_per_stage": [1, 1, 2, 2]}
        train(802, "nnUNetPlannerResEncM", THICK, blocks, [0, 1, 2], work / "models" / "residual")
    for name in models:
        predict(work / "models" / name, work / "input", work / "predicted" / name)


def write_raw(cases: list[Path], folder: Path, reader: str) -> None:
    """Lay out training cases as nnU-Net wants them, labelled by what HU tell: minutes of training find that."""
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for case in cases:
        shutil.copyfile(case / "ct.nii.gz", folder / "imagesTr" / f"{case.name}_0000.nii.gz")
        image = sitk.ReadImage(str(case / "ct.nii.gz"))
        hu = sitk.GetArrayFromImage(image)
        labels = np.zeros(hu.shape, np.uint8)
        for number, (low, high) in enumerate(TISSUES.values(), start=1):
            labels[(hu >= low) & (hu < high)] = number
        written = sitk.GetImageFromArray(labels)
        written.CopyInformation(image)
        sitk.WriteImage(written, str(folder / "labelsTr" / f"{case.name}.nii.gz"))
    names = {"background": 0} | {name: number for number, name in enumerate(TISSUES, start=1)}
    description = {"channel_names": {"0": "CT"}, "labels": names, "numTraining": len(cases), "file_ending": ".nii.gz"}
    description["overwrite_image_reader_writer"] = reader
    (folder / "dataset.json").write_text(json.dumps(description))


def write_inputs(cases: list[Path], folder: Path) -> None:
    """CTs to predict: one as it is, one in another orientation, one with thick slices, one that is oblique.

    Their middles only: nnU-Net runs every tile eight times, which takes long on a CPU.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images = [middle(sitk.ReadImage(str(case / "ct.nii.gz"))) for case in cases[:4]]
    turned = sitk.DICOMOrient(images[1], "PIR")
    thick = images[2][:, :, ::5]
    oblique = sitk.Image(images[3])
    rotation = sitk.Euler3DTransform((0, 0, 0), 0.05, -0.1, 0.2)
    oblique.SetDirection(rotation.GetMatrix())
    for name, image in (("plain", images[0]), ("turned", turned), ("thick", thick), ("oblique", oblique)):
        sitk.WriteImage(image, str(folder / f"{name}_0000.nii.gz"))


def middle(image: sitk.Image) -> sitk.Image:
    """The middle of a CT, at most ``CROP`` voxels along each axis."""
    low = [max(0, (size - crop) // 2) for size, crop in zip(image.GetSize(), CROP, strict=True)]
    return image[tuple(slice(start, start + crop) for start, crop in zip(low, CROP, strict=True))]


def train(
    number: int, planner: str, sizes: dict[str, Any], blocks: dict[str, Any], transpose: list[int] | None, target: Path
) -> None:
    """Plan, make the plan small, preprocess, train; the finished folder goes to ``target``."""
    import torch
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments, preprocess
    from nnunetv2.paths import nnUNet_preprocessed
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    if (target / "fold_0" / "checkpoint_final.pth").exists():
        return
    os.environ["nnUNet_n_proc_DA"] = "1"  # noqa: SIM112 the name that nnU-Net reads
    extract_fingerprints([number], num_processes=1)
    plan_experiments([number], experiment_planner_class_name=planner)
    prepared = next(Path(str(nnUNet_preprocessed)).glob(f"Dataset{number}_*"))
    (path,) = list(prepared.glob("*lans.json"))
    plans = json.loads(path.read_text())
    configuration = plans["configurations"]["3d_fullres"]
    configuration.update(SMALL | sizes)
    arguments = configuration["architecture"]["arch_kwargs"]
    arguments.update(blocks)
    decoder = [1] * (arguments["n_stages"] - 1)
    arguments["n_conv_per_stage_decoder"] = decoder
    if transpose is not None:
        plans["transpose_forward"] = plans["transpose_backward"] = transpose
    path.write_text(json.dumps(plans))
    preprocess([number], plans_identifier=path.stem, configurations=["3d_fullres"], num_processes=[1])
    os.environ["nnUNet_n_proc_DA"] = "0"  # noqa: SIM112 augmentation in this process
    names = sorted(path.stem for path in (prepared / "gt_segmentations").glob("*.nii.gz"))
    names = [name.removesuffix(".nii") for name in names]
    (prepared / "splits_final.json").write_text(json.dumps([{"train": names[1:], "val": names[:1]}]))
    description = json.loads((prepared / "dataset.json").read_text())
    trainer = nnUNetTrainer(plans | {"continue_training": False}, "3d_fullres", 0, description, torch.device("cpu"))
    trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = EPOCHS, ITERATIONS, 2
    trainer.initial_lr, trainer.oversample_foreground_percent = 2e-2, 1.0
    trainer.run_training()
    shutil.copytree(trainer.output_folder_base, target, dirs_exist_ok=True)


def predict(model: Path, source: Path, target: Path) -> None:
    """Let ``nnUNetv2_predict`` work with its defaults, on the CPU."""
    from nnunetv2.inference.predict_from_raw_data import predict_entry_point_modelfolder

    arguments = ["-i", source, "-o", target, "-m", model, "-f", "0", "-device", "cpu", "-npp", "1", "-nps", "1"]
    sys.argv = ["nnUNetv2_predict_from_modelfolder", *(str(one) for one in arguments)]
    target.mkdir(parents=True, exist_ok=True)
    predict_entry_point_modelfolder()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]).resolve(), sys.argv[3:] or ("plain", "residual"))
