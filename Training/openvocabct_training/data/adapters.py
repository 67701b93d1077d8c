"""One adapter per data set: where its files are, what its label values mean, what else its scans rule out.

An adapter yields cases; it reads no voxels.  A concept that is neither labelled in a case nor ``absent`` from it is not
annotated there and will contribute no loss.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.geometry import Geometry

OPENKBP_CONCEPTS = {
    "Brainstem": "brainstem",
    "SpinalCord": "spinal_cord",
    "RightParotid": "right_parotid_gland",
    "LeftParotid": "left_parotid_gland",
    "Esophagus": "esophagus",
    "Larynx": "larynx",
    "Mandible": "mandible",
}
# A treated head-and-neck slab is at most 38 cm long; the longest end at the heart.
HEAD_AND_NECK_SLAB_RULES_OUT = ("abdomen", "pelvis", "leg")

TOTALSEGMENTATOR_CONCEPTS = {
    "spleen": "spleen",
    "kidney_right": "right_kidney",
    "kidney_left": "left_kidney",
    "gallbladder": "gallbladder",
    "liver": "liver",
    "stomach": "stomach",
    "pancreas": "pancreas",
    "adrenal_gland_right": "right_adrenal_gland",
    "adrenal_gland_left": "left_adrenal_gland",
    "small_bowel": "small_bowel",
    "duodenum": "duodenum",
    "colon": "colon",
    "urinary_bladder": "urinary_bladder",
    "prostate": "prostate",
    "aorta": "aorta",
    "inferior_vena_cava": "inferior_vena_cava",
    "portal_vein_and_splenic_vein": "portal_and_splenic_vein",
    "iliac_artery_left": "left_common_iliac_artery",
    "iliac_artery_right": "right_common_iliac_artery",
    "iliac_vena_left": "left_common_iliac_vein",
    "iliac_vena_right": "right_common_iliac_vein",
    "femur_left": "left_femur",
    "femur_right": "right_femur",
    "hip_left": "left_hip_bone",
    "hip_right": "right_hip_bone",
    "spinal_cord": "spinal_cord",
    "gluteus_maximus_left": "left_gluteus_maximus",
    "gluteus_maximus_right": "right_gluteus_maximus",
    "gluteus_medius_left": "left_gluteus_medius",
    "gluteus_medius_right": "right_gluteus_medius",
    "gluteus_minimus_left": "left_gluteus_minimus",
    "gluteus_minimus_right": "right_gluteus_minimus",
    "autochthon_left": "left_erector_spinae",
    "autochthon_right": "right_erector_spinae",
    "iliopsoas_left": "left_iliopsoas",
    "iliopsoas_right": "right_iliopsoas",
    "costal_cartilages": "costal_cartilage",
    "heart": "heart",
    "pulmonary_artery": "pulmonary_artery",
    "brachiocephalic_trunk": "brachiocephalic_trunk",
    "common_carotid_artery_left": "left_common_carotid_artery",
    "subclavian_artery_left": "left_subclavian_artery",
    "celiac_trunk": "celiac_trunk",
    "superior_mesenteric_artery": "superior_mesenteric_artery",
}
# Concepts that are unions of classes.  Counting single vertebrae, ribs or lobes cannot be learned from one patient.
TOTALSEGMENTATOR_UNIONS: Mapping[str, tuple[str, ...]] = {
    "left_lung": ("lung_*_lobe_left",),
    "right_lung": ("lung_*_lobe_right",),
    "left_ribs": ("rib_left_*",),
    "right_ribs": ("rib_right_*",),
    "vertebrae": ("vertebrae_*",),
    "lumbar_vertebrae": ("vertebrae_L*",),
    # These classes share no voxel, but the first sacral vertebra is part of the bone.
    "sacrum": ("sacrum", "vertebrae_S1"),
}
# No chest scan of the shared data reaches the jaw, except lung1, whose first slices come close.
NO_JAW = ("brainstem", "mandible", "left_parotid_gland", "right_parotid_gland")
# What the same model looked for in the abdominal example and did not report.
EXAMPLE_CT_ABSENT = ("heart", "pulmonary_artery", "airway", "esophagus")
# What Hounsfield units label for free where no reader did (see ``physics``).
TISSUES = ("body", "bones", "adipose_tissue")
LUNGS = ("left_lung", "right_lung")


@dataclass(frozen=True)
class LabelMap:
    """A file of label values on the grid of a CT.

    Attributes:
        path: the file.
        values: concept id -> label values whose union it is.
    """

    path: Path
    values: Mapping[str, tuple[int, ...]]

    def masks(self, geometry: Geometry) -> dict[str, np.ndarray]:
        """Read the concepts' masks, bool (K, J, I).

        Raises:
            InputError: the labels do not lie on ``geometry``, the grid of their CT.
        """
        import SimpleITK as sitk

        image = sitk.ReadImage(str(self.path))
        found = Geometry.from_sitk(image)
        if found.shape != geometry.shape or not np.allclose(found.affine_lps(), geometry.affine_lps(), atol=1e-2):
            raise InputError(f"{self.path} is not on the grid of its CT", "resample the labels to the CT")
        labels = sitk.GetArrayFromImage(image)
        return {concept: np.isin(labels, values) for concept, values in self.values.items()}


@dataclass(frozen=True)
class RawCase:
    """A scan and what is known about it.

    Attributes:
        case: id within the data set.
        dataset: name of the data set.
        split: "train" or "validation".
        licence: as the source states it.
        ct: file of the scan.
        labels: what is annotated, if anything is.
        absent: concepts that were looked for and are not there.
        rules_out: body regions that cannot be in this scan; concepts that lie only there are absent.
        symmetric: a mirrored copy is anatomically plausible.
        physics: which Hounsfield-unit labels to add.
    """

    case: str
    dataset: str
    split: str
    licence: str
    ct: Path
    labels: LabelMap | None = None
    absent: tuple[str, ...] = ()
    rules_out: tuple[str, ...] = ()
    symmetric: bool = False
    physics: tuple[str, ...] = (*TISSUES, *LUNGS)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that must be there."""
        return (self.ct,) if self.labels is None else (self.ct, self.labels.path)

    def masks(self, geometry: Geometry) -> dict[str, np.ndarray]:
        """Read what is annotated: concept id -> bool (K, J, I) on the scan's own grid.

        Raises:
            InputError: the labels do not lie on ``geometry``, the grid of the scan.
        """
        return {} if self.labels is None else self.labels.masks(geometry)


Adapter = Callable[[Path], Iterator[RawCase]]


def _meta(folder: Path, *required: str) -> dict[str, Any]:
    path = folder / "meta.json"
    if not path.is_file():
        raise InputError(f"{path} is missing", "give the folder that holds one folder per data set")
    meta: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    missing = [key for key in required if key not in meta]
    if missing:
        raise InputError(f"{path} has no entry {missing[0]!r}", "give the data set as its README describes it")
    return meta


def _case_folders(parent: Path) -> list[Path]:
    if not parent.is_dir():
        raise InputError(f"{parent} is missing", "give the folder that holds one folder per data set")
    return sorted(folder for folder in parent.iterdir() if folder.is_dir())


def openkbp(root: Path) -> Iterator[RawCase]:
    """OpenKBP head-and-neck CTs (folders ``train`` and ``validation``).

    A label that is missing from a case's ``organ_values`` was not drawn, which says nothing about the organ.
    """
    for split in ("train", "validation"):
        for folder in _case_folders(root / "openkbp" / split):
            meta = _meta(folder, "id", "organ_values", "suspect", "tiny_ct")
            values = {
                OPENKBP_CONCEPTS[name]: (value,)
                for name, value in meta["organ_values"].items()
                if name not in meta["suspect"]
            }
            if meta["tiny_ct"] or not values:
                continue
            yield RawCase(
                case=meta["id"],
                dataset="openkbp",
                split=split,
                licence="MIT (ababier/open-kbp); images from TCIA",
                ct=folder / "ct.nii.gz",
                labels=LabelMap(folder / "organs.nii.gz", values),
                rules_out=HEAD_AND_NECK_SLAB_RULES_OUT,
                symmetric=True,
                physics=("body", "bones", *LUNGS),
            )


def totalsegmentator_values(classes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Concept id -> label values, from the class names of a TotalSegmentator label map."""
    single = {concept: (name,) for name, concept in TOTALSEGMENTATOR_CONCEPTS.items()}
    values = {
        concept: tuple(value for name, value in classes.items() if any(fnmatchcase(name, p) for p in patterns))
        for concept, patterns in {**single, **TOTALSEGMENTATOR_UNIONS}.items()
    }
    return {concept: members for concept, members in values.items() if members}


def totalsegmentator(root: Path) -> Iterator[RawCase]:
    """The two TotalSegmentator reference scans; their labels are a model's output, not a reader's."""
    example = root / "totalsegmentator" / "example_ct"
    classes = _meta(example, "label_values")["label_values"]
    yield RawCase(
        case="example_ct",
        dataset="totalsegmentator",
        split="train",
        licence="Apache-2.0",
        ct=example / "ct.nii.gz",
        labels=LabelMap(example / "labels.nii.gz", totalsegmentator_values(classes)),
        absent=EXAMPLE_CT_ABSENT,
        rules_out=("head", "neck"),
        physics=TISSUES,
    )
    aorta = root / "totalsegmentator" / "aorta_ct"
    classes = dict(_meta(aorta, "label_values")["label_values"])
    # One vertebra is labelled and the others are not, so this is no mask of "vertebrae".
    classes.pop("vertebrae_T12", None)
    yield RawCase(
        case="aorta_ct",
        dataset="totalsegmentator",
        split="train",
        licence="Apache-2.0",
        ct=aorta / "ct.nii.gz",
        labels=LabelMap(aorta / "labels.nii.gz", totalsegmentator_values(classes)),
        absent=NO_JAW,
        rules_out=("head", "pelvis", "leg"),
        physics=("body", *LUNGS),  # contrast-filled vessels would count as bone
    )


def cip(root: Path) -> Iterator[RawCase]:
    """The Chest Imaging Platform's test scan, with lungs and airway."""
    folder = root / "cip_ct64"
    yield RawCase(
        case="ct64",
        dataset="cip",
        split="train",
        licence="BSD-style (ChestImagingPlatform)",
        ct=folder / "ct.nii.gz",
        labels=LabelMap(folder / "labels.nii.gz", {"left_lung": (1,), "right_lung": (2,), "airway": (3,)}),
        absent=NO_JAW,
        rules_out=("head", "pelvis", "leg"),
        physics=TISSUES,
    )


def chest(root: Path) -> Iterator[RawCase]:
    """Chest scans that only Hounsfield units label."""
    rows = (
        ("pyradiomics/lung1", "train", "BSD-3-Clause (pyradiomics)"),
        ("unlabelled/body_Siemens", "train", "BSD-3-Clause (xcist); image from TCIA"),
        ("unlabelled/LIDC-IDRI-0314", "validation", "CC BY 3.0 (TCIA LIDC-IDRI)"),
    )
    for place, split, licence in rows:
        case = place.rpartition("/")[2]
        yield RawCase(
            case=case,
            dataset="chest",
            split=split,
            licence=licence,
            ct=root / place / "ct.nii.gz",
            absent=() if case == "lung1" else NO_JAW,
            rules_out=("head", "pelvis", "leg"),
        )


def body_parts(root: Path) -> Iterator[RawCase]:
    """Scans of other regions without reader-made labels: what they rule out teaches "not found"."""
    crlm, xcist = "CC BY 4.0 (TCIA Colorectal-Liver-Metastases)", "BSD-3-Clause (xcist); image from TCIA"
    rows = (
        ("CRLM-CT-1004", crlm, ("head", "neck"), TISSUES),
        ("abdomen_Philips", xcist, ("head", "neck"), TISSUES),
        ("neck_GE", xcist, ("abdomen", "pelvis", "leg"), ("body", "bones", *LUNGS)),
        ("head_Toshiba", xcist, ("chest", "abdomen", "pelvis", "leg"), ("body", "bones")),
    )
    for case, licence, rules_out, physics in rows:
        yield RawCase(
            case=case,
            dataset="body_parts",
            split="train",
            licence=licence,
            ct=root / "unlabelled" / case / "ct.nii.gz",
            rules_out=rules_out,
            physics=physics,
        )


def sarcoma(root: Path) -> Iterator[RawCase]:
    """IBSI soft-tissue sarcoma crops, mostly limbs; every fifth patient validates."""
    for index, folder in enumerate(_case_folders(root / "ibsi_sts")):
        yield RawCase(
            case=folder.name,
            dataset="ibsi_sts",
            split="validation" if index % 5 == 4 else "train",
            licence=_meta(folder, "licence")["licence"],
            ct=folder / "ct.nii.gz",
            labels=LabelMap(folder / "labels.nii.gz", {"soft_tissue_sarcoma": (1,)}),
            rules_out=("head", "neck"),
            physics=TISSUES,
        )


# Data set -> adapter; the names are those of ``dataset_weights`` in the training configurations.
ADAPTERS: Mapping[str, Adapter] = {
    "openkbp": openkbp,
    "totalsegmentator": totalsegmentator,
    "cip": cip,
    "chest": chest,
    "body_parts": body_parts,
    "ibsi_sts": sarcoma,
}
