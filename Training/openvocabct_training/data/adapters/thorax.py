"""Organs of the chest: SegTHOR."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from openvocabct_training.data.adapters.base import LUNGS, WITH_CONTRAST, DataSet, Found
from openvocabct_training.data.adapters.labels import LabelScheme
from openvocabct_training.data.adapters.layout import first_folder, folders_in

SEGTHOR_LABELS = LabelScheme(values={"esophagus": (1,), "heart": (2,), "trachea": (3,), "aorta": (4,)})


def _segthor(root: Path) -> Iterator[Found]:
    for folder in folders_in(first_folder(root, "train", "segthor_train/train")):
        if folder.name.startswith("Patient_"):
            yield Found(folder.name, folder / f"{folder.name}.nii.gz", SEGTHOR_LABELS.of(folder / "GT.nii.gz"))


SEGTHOR = DataSet(
    name="segthor",
    title="SegTHOR",
    licence="terms of the challenge",
    page="https://competitions.codalab.org/competitions/21145",
    folders=("segthor", "SegTHOR"),
    find=_segthor,
    physics=(*WITH_CONTRAST, *LUNGS),
)
