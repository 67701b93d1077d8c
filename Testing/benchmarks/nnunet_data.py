"""Data of the tiny nnU-Nets of ``nnunet_train.py``: what they are trained on, and the CTs that they are compared on.

``plain`` learns fourteen structures of the abdomen from one CT (its reference is TotalSegmentator's own result);
``residual`` learns tissues, which HU tell, and organs of head and neck, which physicians drew, from twelve patients.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

ABDOMEN: dict[str, tuple[str, ...]] = {
    "liver": ("liver",),
    "spleen": ("spleen",),
    "kidney": ("kidney_left", "kidney_right"),
    "stomach": ("stomach",),
    "small_bowel": ("small_bowel", "duodenum"),
    "colon": ("colon",),
    "urinary_bladder": ("urinary_bladder",),
    "vertebrae": tuple(f"vertebrae_{level}" for level in ("T11", "T12", "L1", "L2", "L3", "L4", "L5")),
    "sacrum": ("sacrum", "vertebrae_S1"),
    "hip": ("hip_left", "hip_right"),
    "femur": ("femur_left", "femur_right"),
    "gluteus_maximus": ("gluteus_maximus_left", "gluteus_maximus_right"),
    "autochthon": ("autochthon_left", "autochthon_right"),
    "iliopsoas": ("iliopsoas_left", "iliopsoas_right"),
}
TISSUES = {"adipose_tissue": (-200, -30), "soft_tissue": (-30, 200), "bones": (200, 5000)}
ORGANS = {
    "mandible": ("Mandible",),
    "parotid_gland": ("LeftParotid", "RightParotid"),
    "brainstem": ("Brainstem",),
    "spinal_cord": ("SpinalCord",),
}
PATIENTS = 12
# Voxels along I, J, K that are kept: nnU-Net runs every tile eight times, which takes long on a CPU.
ABDOMEN_MIDDLE, NECK_MIDDLE = (78, 66, 72), (57, 57, 48)
Case = tuple[str, sitk.Image, np.ndarray]


def classes_of(model: str) -> list[str]:
    """Names of the classes of a model, the background left out."""
    return list(ABDOMEN) if model == "plain" else [*TISSUES, *ORGANS]


def cases_of(model: str, data: Path) -> Iterator[Case]:
    """Name, CT and label map (K, J, I) of every training case of a model."""
    if model == "plain":
        yield abdomen(data / "totalsegmentator" / "example_ct")
        return
    found = 0
    for case in sorted((data / "openkbp" / "train").iterdir()):
        facts = json.loads((case / "meta.json").read_text())
        names = {name for group in ORGANS.values() for name in group}
        if found < PATIENTS and names <= facts["organ_values"].keys() and not facts["suspect"]:
            found += 1
            yield neck(case, facts["organ_values"])


def abdomen(folder: Path) -> Case:
    """The CT that TotalSegmentator carries, its structures joined to larger ones."""
    values = json.loads((folder / "meta.json").read_text())["label_values"]
    image = sitk.ReadImage(str(folder / "ct.nii.gz"))
    stored = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "labels.nii.gz")))
    labels = np.zeros(stored.shape, np.uint8)
    for number, names in enumerate(ABDOMEN.values(), start=1):
        labels[np.isin(stored, [values[name] for name in names])] = number
    return "abdomen", image, labels


def neck(folder: Path, values: dict[str, int]) -> Case:
    """A patient of OpenKBP: tissues by their HU, organs over them."""
    image = sitk.ReadImage(str(folder / "ct.nii.gz"))
    hu = sitk.GetArrayFromImage(image)
    labels = np.zeros(hu.shape, np.uint8)
    for number, (low, high) in enumerate(TISSUES.values(), start=1):
        labels[(hu >= low) & (hu < high)] = number
    organs = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "organs.nii.gz")))
    for number, names in enumerate(ORGANS.values(), start=1 + len(TISSUES)):
        labels[np.isin(organs, [values[name] for name in names])] = number
    return folder.name, image, labels


def write_training(model: str, data: Path, folder: Path, reader: str) -> None:
    """Lay out training cases as nnU-Net wants them."""
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    count = 0
    for name, image, labels in cases_of(model, data):
        written = sitk.GetImageFromArray(labels)
        written.CopyInformation(image)
        sitk.WriteImage(image, str(folder / "imagesTr" / f"{name}_0000.nii.gz"))
        sitk.WriteImage(written, str(folder / "labelsTr" / f"{name}.nii.gz"))
        count += 1
    names = {"background": 0} | {name: number for number, name in enumerate(classes_of(model), start=1)}
    description = {"channel_names": {"0": "CT"}, "labels": names, "numTraining": count, "file_ending": ".nii.gz"}
    description["overwrite_image_reader_writer"] = reader
    (folder / "dataset.json").write_text(json.dumps(description))


def write_inputs(model: str, data: Path, folder: Path) -> None:
    """CTs to predict: as stored, in other orientations, with thick slices, oblique, cut, of another patient."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in _inputs(model, data):
        sitk.WriteImage(image, str(folder / f"{name}_0000.nii.gz"))


def _inputs(model: str, data: Path) -> Iterator[tuple[str, sitk.Image]]:
    if model == "plain":
        whole = sitk.ReadImage(str(data / "totalsegmentator" / "example_ct" / "ct.nii.gz"))
        cut = middle(whole, ABDOMEN_MIDDLE)
        yield "cut", cut
        yield "cut_turned", sitk.DICOMOrient(cut, "PIR")
        other = middle(sitk.ReadImage(str(data / "unlabelled" / "abdomen_Philips" / "ct.nii.gz")), ABDOMEN_MIDDLE)
        images = [*[whole] * 5, other]
    else:
        patients = sorted((data / "openkbp" / "validation").iterdir())[:6]
        images = [middle(sitk.ReadImage(str(one / "ct.nii.gz")), NECK_MIDDLE) for one in patients]
    yield "stored", images[0]
    yield "turned", sitk.DICOMOrient(images[1], "PIR")
    yield "flipped", sitk.DICOMOrient(images[2], "LPI")
    yield "thick", images[3][:, :, ::5]
    oblique = sitk.Image(images[4])
    oblique.SetDirection(sitk.Euler3DTransform((0, 0, 0), 0.05, -0.1, 0.2).GetMatrix())
    yield "oblique", oblique
    yield "other", images[5]


def middle(image: sitk.Image, size: Sequence[int]) -> sitk.Image:
    """The middle of a CT, at most ``size`` voxels along I, J, K."""
    low = [max(0, (there - wanted) // 2) for there, wanted in zip(image.GetSize(), size, strict=True)]
    return image[tuple(slice(start, start + wanted) for start, wanted in zip(low, size, strict=True))]
