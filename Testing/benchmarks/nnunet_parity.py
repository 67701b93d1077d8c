"""Compare converted nnU-Net v2 models with what the real ``nnUNetv2_predict`` made of the same CTs.

    python Testing/benchmarks/nnunet_train.py DATA WORK      (once, where nnunetv2 is installed)
    python Testing/benchmarks/nnunet_parity.py WORK [plain|residual ...] [--half]

Prints for each model and CT the share of foreground voxels (of either) with the same label and the smallest Dice of a
class, then what a map from text is worth when each class is left out.  With --half, label maps are made a second time
with the scores blended as nnU-Net blends them, in 16 bits with weights that underflow in the corners of a scan: that
shows how much of the difference is its rounding.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import SimpleITK as sitk
import torch

from OpenVocabCTLib import CTVolume, Segmenter
from OpenVocabCTLib.commands.sample import dice
from OpenVocabCTLib.inference.grid import to_native
from OpenVocabCTLib.inference.tables import classes, patches
from OpenVocabCTLib.inference.tables.classes import Contest
from OpenVocabCTLib.inference.tables.open_words import leave_classes_out
from OpenVocabCTLib.inference.tables.preprocessing import prepare
from OpenVocabCTLib.inference.tables.questions import with_biases
from OpenVocabCTLib.inference.tables.segmenter import TableSegmenter
from OpenVocabCTLib.inference.tables.study import TableStudy
from OpenVocabCTLib.inference.tiling import tile_regions
from OpenVocabCTLib.memory import keep_freed_memory
from OpenVocabCTLib.models.class_table import ClassTable
from OpenVocabCTLib.models.converting.nnunet import read_results
from OpenVocabCTLib.models.converting.writing import Description, write_model
from OpenVocabCTLib.models.tables import plain

MODELS = ("plain", "residual")


def open_model(work: Path, name: str) -> TableSegmenter:
    """Convert a model, once, and load it."""
    folder = work / "converted" / name
    if not folder.exists():
        write_model(folder, [read_results(work / "models" / name)], Description("nnunet_train.py", "not stated"))
    segmenter = Segmenter.from_pretrained(folder, device="cpu")
    if not isinstance(segmenter, TableSegmenter):
        raise TypeError("not a model with class tables")
    return segmenter


def label_map(study: TableStudy) -> np.ndarray:
    """Answers to all classes by their own names, as one label map (K, J, I)."""
    (network,) = study.segmenter.table_config.networks
    labels = np.zeros(study.volume.geometry.shape, np.uint8)
    names = [plain(name) for name in network.classes[1:]]
    for number, segment in enumerate(study.segment(names), start=1):
        if segment.found:
            labels[segment.mask] = number
    return labels


def label_map_in_half(segmenter: TableSegmenter, volume: CTVolume) -> np.ndarray:
    """Label map (K, J, I) of a scan, blended as nnU-Net does: sums of weighted scores in 16 bits."""
    table, tower = segmenter.tables[0], segmenter.network_tower(0)
    config = segmenter.table_config.networks[0].preprocessing
    image, grid, _ = prepare(volume, config)
    missing = [max(0, side - there) for side, there in zip(config.patch, image.shape, strict=True)]
    before = [count // 2 for count in missing]
    padding = [part for count, low in zip(missing[::-1], before[::-1], strict=True) for part in (low, count - low)]
    padded = torch.nn.functional.pad(image, padding)
    flips = [axes for count in range(4) for axes in itertools.combinations(config.mirror_axes, count)]
    weight = (patches.patch_weight(config.patch) * 10.0).half()
    sums, weights = torch.zeros(len(table), *padded.shape).half(), torch.zeros(padded.shape).half()
    for region in tile_regions(padded.shape, config.patch, 1.0 - config.step):
        features = patches._mean_over_flips(padded[region], tower, flips)
        found = classes.scores(features.reshape(features.shape[0], -1), table).reshape(-1, *features.shape[1:])
        sums[(slice(None), *region)] += found * weight
        weights[region] += weight
    inside = tuple(slice(low, low + side) for low, side in zip(before, image.shape, strict=True))
    mean = (sums / weights)[(slice(None), *inside)].float()
    scores = [to_native(score, (0, 0, 0), grid, grid.covered).half().numpy() for score in mean]
    labels = np.zeros(volume.geometry.shape, np.uint8)
    labels[grid.covered] = np.stack(scores).argmax(0)  # the first of those that tie
    return labels


@dataclass(frozen=True)
class Agreement:
    """How far two label maps agree: share of foreground voxels with the same label, lowest Dice of a class."""

    same: float
    lowest: float


def compare(model: str, ct: str, ours: np.ndarray, theirs: np.ndarray) -> Agreement:
    """Print how far two label maps agree."""
    foreground = (ours > 0) | (theirs > 0)
    same = float((ours == theirs)[foreground].mean()) if foreground.any() else 1.0
    there = np.union1d(ours[ours > 0], theirs[theirs > 0])
    each = [(dice(ours == label, theirs == label), int(label)) for label in there]
    least, which = min(each, default=(1.0, 0))
    print(
        f"{model} {ct}: {foreground.sum()} foreground voxels, {len(there)} classes, same label {same:.5f}, "
        f"lowest Dice {least:.4f} (class {which}, {int((theirs == which).sum())} voxels)",
        flush=True,
    )
    return Agreement(same, least)


def left_out(model: str, segmenter: TableSegmenter, study: TableStudy, theirs: np.ndarray) -> None:
    """Print the leave-one-class-out table: cosine of the vectors, and Dice with the class's own mask."""
    (network,), (table,), (phrases,) = segmenter.table_config.networks, segmenter.tables, segmenter.questions.phrases
    embedding = study.embedding.by_network[0]
    print(f"{model}, each class left out: class, text similarity, cosine, Dice")
    found = leave_classes_out(phrases, with_biases(table), segmenter.table_config.open_words.ridge)
    for one in found:
        others = [row for row in range(len(table)) if row != one.index]
        query = torch.from_numpy(one.vector)
        rest = classes.of_classes(table, others)
        joined = ClassTable(torch.cat((query[None, :-1], rest.vectors)), torch.cat((query[-1:], rest.biases)))
        contest = Contest(0, joined)
        box = classes.positive_box(classes.working_margin(embedding, contest))
        mask = np.zeros(theirs.shape, bool)
        if box is not None:
            mask = classes.native_mask(embedding, contest, box).full()
        overlap = dice(mask, theirs == one.index) if (theirs == one.index).any() else float("nan")
        print(f"  {network.classes[one.index]:14} {one.similarity:6.2f} {one.cosine:6.2f} {overlap:6.2f}")
    print(f"  mean cosine {fmean(one.cosine for one in found):.2f}; {segmenter.table_config.open_words}")


def main(work: Path, models: Sequence[str], half: bool) -> None:
    """Print everything."""
    keep_freed_memory()
    for model in models:
        segmenter = open_model(work, model)
        agreements = []
        for path in sorted((work / "input" / model).glob("*_0000.nii.gz")):
            name = path.name.removesuffix("_0000.nii.gz")
            volume = CTVolume.read(path)
            shape, spacing = volume.geometry.shape, ", ".join(f"{mm:.1f}" for mm in volume.geometry.spacing)
            print(f"{name}: {shape} voxels of {spacing} mm, stored {''.join(volume.geometry.axis_codes())}")
            theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(work / "predicted" / model / f"{name}.nii.gz")))
            study = segmenter.encode(volume)
            agreements.append(compare(f"{model} ({segmenter.network_tower(0).name})", name, label_map(study), theirs))
            if half:
                compare(f"{model} blended in 16 bits", name, label_map_in_half(segmenter, volume), theirs)
            if name == "stored":
                left_out(model, segmenter, study, theirs)
        same, lowest = min(one.same for one in agreements), min(one.lowest for one in agreements)
        print(f"{model}, {len(agreements)} CTs: same label at least {same:.5f}, Dice of a class at least {lowest:.4f}")


if __name__ == "__main__":
    arguments = [one for one in sys.argv[1:] if one != "--half"]
    main(Path(arguments[0]), arguments[1:] or MODELS, "--half" in sys.argv)
