"""Public data sets in miniature: the folders, file names and label values in which they are downloaded.

In every label map, voxel number v (in the order of the file's array) has the value v, so the flat index of a mask's
voxels tells which values it was made from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from Testing.openvocabct_lib.ct_phantoms import ct_phantom
from Testing.openvocabct_training.raw_data import SHAPE, write_image

AMOS_NAMES = {
    "0": "background", "1": "spleen", "2": "right kidney", "3": "left kidney", "4": "gall bladder", "5": "esophagus",
    "6": "liver", "7": "stomach", "8": "arota", "9": "postcava", "10": "pancreas", "11": "right adrenal gland",
    "12": "left adrenal gland", "13": "duodenum", "14": "bladder", "15": "prostate/uterus",
}  # fmt: skip
_TOTALSEGMENTATOR_NAMES = """
spleen kidney_right kidney_left gallbladder liver stomach pancreas adrenal_gland_right adrenal_gland_left
lung_upper_lobe_left lung_lower_lobe_left lung_upper_lobe_right lung_middle_lobe_right lung_lower_lobe_right esophagus
trachea thyroid_gland small_bowel duodenum colon urinary_bladder prostate kidney_cyst_left kidney_cyst_right sacrum
vertebrae_S1 vertebrae_L5 vertebrae_L4 vertebrae_L3 vertebrae_L2 vertebrae_L1 vertebrae_T12 vertebrae_T11
vertebrae_T10 vertebrae_T9 vertebrae_T8 vertebrae_T7 vertebrae_T6 vertebrae_T5 vertebrae_T4 vertebrae_T3 vertebrae_T2
vertebrae_T1 vertebrae_C7 vertebrae_C6 vertebrae_C5 vertebrae_C4 vertebrae_C3 vertebrae_C2 vertebrae_C1 heart aorta
pulmonary_vein brachiocephalic_trunk subclavian_artery_right subclavian_artery_left common_carotid_artery_right
common_carotid_artery_left brachiocephalic_vein_left brachiocephalic_vein_right atrial_appendage_left
superior_vena_cava inferior_vena_cava portal_vein_and_splenic_vein iliac_artery_left iliac_artery_right
iliac_vena_left iliac_vena_right humerus_left humerus_right scapula_left scapula_right clavicula_left clavicula_right
femur_left femur_right hip_left hip_right spinal_cord gluteus_maximus_left gluteus_maximus_right gluteus_medius_left
gluteus_medius_right gluteus_minimus_left gluteus_minimus_right autochthon_left autochthon_right iliopsoas_left
iliopsoas_right brain skull rib_left_1 rib_left_2 rib_left_3 rib_left_4 rib_left_5 rib_left_6 rib_left_7 rib_left_8
rib_left_9 rib_left_10 rib_left_11 rib_left_12 rib_right_1 rib_right_2 rib_right_3 rib_right_4 rib_right_5 rib_right_6
rib_right_7 rib_right_8 rib_right_9 rib_right_10 rib_right_11 rib_right_12 sternum costal_cartilages
"""
TOTALSEGMENTATOR_NAMES = tuple(_TOTALSEGMENTATOR_NAMES.split())


def label_map(values: Iterable[int]) -> np.ndarray:
    """Voxel number v has the value v."""
    labels = np.zeros(SHAPE, np.uint8)
    for value in values:
        labels.flat[value] = value
    return labels


def write_pair(ct: Path, labels: Path, values: Iterable[int]) -> None:
    write_image(ct, ct_phantom(SHAPE))
    write_image(labels, label_map(values))


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def totalsegmentator_v2(root: Path) -> None:
    folder = root / "Totalsegmentator_dataset_v201"
    folder.mkdir(parents=True)
    rows = ["image_id;age;gender;institute;study_type;split", "s0000;49;f;H;ct abdomen;train", "s0001;70;m;H;;val"]
    (folder / "meta.csv").write_text("\n".join([*rows, "s0002;50;f;B;ct thorax;test"]) + "\n")
    for case in ("s0000", "s0001"):
        write_image(folder / case / "ct.nii.gz", ct_phantom(SHAPE))
        for number, name in enumerate(TOTALSEGMENTATOR_NAMES, start=1):
            mask = np.zeros(SHAPE, np.uint8)
            mask.flat[number] = 1
            write_image(folder / case / "segmentations" / f"{name}.nii.gz", mask)


def amos22(root: Path) -> None:
    folder, lists = root / "amos22", {"training": ("Tr", (1, 4, 507)), "validation": ("Va", (8, 599))}
    description: dict[str, Any] = {"name": "AMOS", "licence": "CC-BY-SA 4.0", "labels": AMOS_NAMES}
    for key, (ending, numbers) in lists.items():
        names = [f"amos_{number:04d}.nii.gz" for number in numbers]
        description[key] = [{"image": f"./images{ending}/{n}", "label": f"./labels{ending}/{n}"} for n in names]
        for name in names:
            write_pair(folder / f"images{ending}" / name, folder / f"labels{ending}" / name, range(1, 16))
    description["test"] = [{"image": "./imagesTs/amos_0002.nii.gz"}]
    write_json(folder / "dataset.json", description)


def btcv(root: Path) -> None:
    folder = root / "Abdomen" / "RawData" / "Training"
    for number in (1, 40):
        ct, labels = folder / "img" / f"img{number:04d}.nii.gz", folder / "label" / f"label{number:04d}.nii.gz"
        write_pair(ct, labels, range(1, 14))


def flare22(root: Path) -> None:
    folder = root / "flare22" / "FLARE22Train"
    for number in (1, 50):
        name = f"FLARE22_Tr_{number:04d}"
        write_pair(folder / "images" / f"{name}_0000.nii.gz", folder / "labels" / f"{name}.nii.gz", range(1, 14))


def word(root: Path) -> None:
    folder = root / "WORD-V0.1.0"
    for ending, number in (("Tr", 2), ("Val", 1), ("Ts", 14)):
        name = f"word_{number:04d}.nii.gz"
        write_pair(folder / f"images{ending}" / name, folder / f"labels{ending}" / name, range(1, 17))


def abdomenct_1k(root: Path) -> None:
    folder = root / "AbdomenCT-1K"
    for number, part in ((1, 1), (1000, 3)):
        name = f"Case_{number:05d}"
        ct = folder / f"AbdomenCT-1K-ImagePart{part}" / f"{name}_0000.nii.gz"
        write_pair(ct, folder / "Mask" / f"{name}.nii.gz", range(1, 5))
    # Fifty cases came without labels.
    write_image(folder / "AbdomenCT-1K-ImagePart3" / "Case_01063_0000.nii.gz", ct_phantom(SHAPE))


def kits23(root: Path) -> None:
    for number in (0, 588):
        folder = root / "kits23" / "dataset" / f"case_{number:05d}"
        write_pair(folder / "imaging.nii.gz", folder / "segmentation.nii.gz", range(1, 4))
    write_json(root / "kits23" / "dataset" / "kits23.json", [])


def lits(root: Path) -> None:
    for number, batch in ((0, 1), (2, 1), (10, 1), (130, 2)):
        folder = root / "LiTS" / f"Training Batch {batch}"
        write_pair(folder / f"volume-{number}.nii", folder / f"segmentation-{number}.nii", range(1, 3))
    write_image(root / "LiTS" / "Test" / "test-volume-0.nii", ct_phantom(SHAPE))


def decathlon(root: Path, task: str, cases: Iterable[str], labels: dict[str, str]) -> None:
    folder = root / task
    names = [f"{case}.nii.gz" for case in cases]
    for name in names:
        write_pair(folder / "imagesTr" / name, folder / "labelsTr" / name, range(1, len(labels)))
        (folder / "imagesTr" / f"._{name}").write_bytes(b"\0\5\26\7")
    description = {
        "name": task.partition("_")[2], "licence": "CC-BY-SA 4.0", "modality": {"0": "CT"}, "labels": labels,
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names],
        "test": ["./imagesTs/case_999.nii.gz"],
    }  # fmt: skip
    write_json(folder / "dataset.json", description)


def segthor(root: Path) -> None:
    for number in (1, 40):
        folder = root / "SegTHOR" / "train" / f"Patient_{number:02d}"
        write_pair(folder / f"{folder.name}.nii.gz", folder / "GT.nii.gz", range(1, 5))
    write_image(root / "SegTHOR" / "test" / "Patient_41.nii.gz", ct_phantom(SHAPE))


def nnunet(root: Path, labels: dict[str, Any], **changes: Any) -> Path:
    folder = root / "Dataset501_Kidneys"
    description = {
        "channel_names": {"0": "CT"},
        "labels": labels,
        "numTraining": 2,
        "file_ending": ".nii.gz",
        **changes,
    }
    write_json(folder / "dataset.json", description)
    for case in ("case_1", "case_2"):
        write_pair(folder / "imagesTr" / f"{case}_0000.nii.gz", folder / "labelsTr" / f"{case}.nii.gz", range(1, 4))
    write_image(folder / "imagesTs" / "case_3_0000.nii.gz", ct_phantom(SHAPE))
    return folder


def own_folder(root: Path, table: str, cases: Iterable[str] = ("a", "b")) -> Path:
    folder = root / "mine"
    for case in cases:
        write_pair(folder / case / "ct.nii.gz", folder / case / "labels.nii.gz", range(1, 4))
    (folder / "labels.csv").write_text(table)
    return folder
