"""Tiny folders in the layout of every data set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from Testing.openvocabct_lib.ct_phantoms import ct_phantom

SHAPE = (9, 12, 15)  # (K, J, I)
CHEST_FOLDERS = ("pyradiomics/lung1", "unlabelled/body_Siemens", "unlabelled/LIDC-IDRI-0314")
BODY_PART_FOLDERS = tuple(
    f"unlabelled/{name}" for name in ("CRLM-CT-1004", "abdomen_Philips", "neck_GE", "head_Toshiba")
)
# A few of the classes of the real label maps, with unions of every kind.
EXAMPLE_CLASSES = {
    "spleen": 1, "kidney_right": 2, "kidney_left": 3, "lung_upper_lobe_left": 10, "lung_lower_lobe_left": 11,
    "lung_lower_lobe_right": 12, "sacrum": 18, "vertebrae_S1": 19, "vertebrae_L5": 20, "vertebrae_L4": 21,
    "vertebrae_T12": 25, "rib_left_7": 49, "rib_left_8": 50, "rib_right_7": 55, "autochthon_left": 45,
}  # fmt: skip
AORTA_CLASSES = {"heart": 1, "aorta": 3, "vertebrae_T12": 9}


def write_image(path: Path, array: np.ndarray, spacing: tuple[float, float, float] = (3.0, 3.0, 3.0)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path), useCompression=True)


def write_case(
    folder: Path, meta: Mapping[str, Any] | None = None, labels: Mapping[str, Mapping[int, Any]] | None = None
) -> None:
    """A CT, ``meta.json`` and label maps: file name -> label value -> index of the voxels that have it."""
    write_image(folder / "ct.nii.gz", ct_phantom(SHAPE))
    if meta is not None:
        (folder / "meta.json").write_text(json.dumps(meta))
    for name, values in (labels or {}).items():
        array = np.zeros(SHAPE, np.uint8)
        for value, where in values.items():
            array[where] = value
        write_image(folder / name, array)


def write_openkbp(
    root: Path,
    split: str,
    case: str,
    organs: Mapping[str, int],
    suspect: Mapping[str, Any] | None = None,
    tiny_ct: bool = False,
) -> Path:
    """One OpenKBP patient; every organ has the slice that its label value numbers."""
    folder = root / "openkbp" / split / case
    meta = {
        "id": case,
        "split": split,
        "organ_values": organs,
        "suspect": suspect or {},
        "truncated": {},
        "tiny_ct": tiny_ct,
    }
    write_case(folder, meta, {"organs.nii.gz": {value: value for value in organs.values()}})
    return folder


def write_totalsegmentator(root: Path) -> None:
    for case, classes in (("example_ct", EXAMPLE_CLASSES), ("aorta_ct", AORTA_CLASSES)):
        voxels = {value: np.unravel_index(value, SHAPE) for value in classes.values()}
        folder = root / "totalsegmentator" / case
        write_case(folder, {"label_values": classes}, {"labels.nii.gz": voxels})


def write_sarcoma(root: Path, patients: int = 11) -> None:
    for number in range(1, patients + 1):
        folder = root / "ibsi_sts" / f"STS_{number:03d}"
        write_case(folder, {"licence": "CC BY 3.0 (LICENSE.md)"}, {"labels.nii.gz": {1: 4}})


def write_everything(root: Path) -> None:
    """The whole folder, with one OpenKBP patient a split."""
    for split, case in (("train", "pt_1"), ("validation", "pt_201")):
        write_openkbp(root, split, case, {"SpinalCord": 2, "RightParotid": 3, "LeftParotid": 4})
    write_totalsegmentator(root)
    write_case(root / "cip_ct64", {}, {"labels.nii.gz": {1: 1, 2: 2, 3: 3}})
    for place in (*CHEST_FOLDERS, *BODY_PART_FOLDERS):
        write_case(root / place)
    write_sarcoma(root)
