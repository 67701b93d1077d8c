"""Compare converted nnU-Net v2 models with what the real ``nnUNetv2_predict`` made of the same CTs.

    python Testing/benchmarks/nnunet_train.py DATA WORK      (once, where nnunetv2 is installed)
    python Testing/benchmarks/nnunet_parity.py WORK [plain|residual ...]

Prints for each model and CT the share of foreground voxels (of either) with the same label and the smallest Dice of a
class, then what a map from text is worth when each class is left out.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
import SimpleITK as sitk
import torch

from OpenVocabCTLib import CTVolume, Segmenter
from OpenVocabCTLib.commands.sample import dice
from OpenVocabCTLib.inference.tables import classes
from OpenVocabCTLib.inference.tables.classes import Contest
from OpenVocabCTLib.inference.tables.open_words import leave_classes_out
from OpenVocabCTLib.inference.tables.questions import with_biases
from OpenVocabCTLib.inference.tables.segmenter import TableSegmenter
from OpenVocabCTLib.inference.tables.study import TableStudy
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


def compare(model: str, ct: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    """Print how far two label maps agree."""
    foreground = (ours > 0) | (theirs > 0)
    same = float((ours == theirs)[foreground].mean()) if foreground.any() else 1.0
    there = np.unique(theirs[theirs > 0])
    each = [(dice(ours == label, theirs == label), int(label)) for label in there]
    least, which = min(each, default=(1.0, 0))
    print(
        f"{model} {ct}: {foreground.sum()} foreground voxels, {len(there)} classes, same label {same:.5f}, "
        f"lowest Dice {least:.4f} (class {which}, {int((theirs == which).sum())} voxels)"
    )


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


def main(work: Path, models: Sequence[str]) -> None:
    """Print everything."""
    keep_freed_memory()
    for model in models:
        segmenter = open_model(work, model)
        for path in sorted((work / "input").glob("*_0000.nii.gz")):
            name = path.name.removesuffix("_0000.nii.gz")
            volume = CTVolume.read(path)
            theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(work / "predicted" / model / f"{name}.nii.gz")))
            study = segmenter.encode(volume)
            compare(f"{model} ({segmenter.network_tower(0).name})", name, label_map(study), theirs)
            if name == "plain":
                left_out(model, segmenter, study, theirs)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or MODELS)
