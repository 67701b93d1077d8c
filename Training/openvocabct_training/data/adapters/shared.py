"""The data that the shipped weights were trained on, each with a ``meta.json`` a case (see ``Training/DATA.md``)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from openvocabct_training.data.adapters.base import LUNGS, TISSUES, RawCase
from openvocabct_training.data.adapters.labels import LabelMap
from openvocabct_training.data.adapters.layout import folders_in, meta
from openvocabct_training.data.adapters.totalsegmentator import totalsegmentator_values

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

# No chest scan of the shared data reaches the jaw, except lung1, whose first slices come close.
NO_JAW = ("brainstem", "mandible", "left_parotid_gland", "right_parotid_gland")
# What the same model looked for in the abdominal example and did not report.
EXAMPLE_CT_ABSENT = ("heart", "pulmonary_artery", "airway", "esophagus")


def openkbp(root: Path) -> Iterator[RawCase]:
    """OpenKBP head-and-neck CTs (folders ``train`` and ``validation``).

    A label that is missing from a case's ``organ_values`` was not drawn, which says nothing about the organ.
    """
    for split in ("train", "validation"):
        for folder in folders_in(root / "openkbp" / split):
            described = meta(folder, "id", "organ_values", "suspect", "tiny_ct")
            values = {
                OPENKBP_CONCEPTS[name]: (value,)
                for name, value in described["organ_values"].items()
                if name not in described["suspect"]
            }
            if described["tiny_ct"] or not values:
                continue
            yield RawCase(
                case=described["id"],
                dataset="openkbp",
                split=split,
                licence="MIT (ababier/open-kbp); images from TCIA",
                ct=folder / "ct.nii.gz",
                labels=LabelMap(folder / "organs.nii.gz", values),
                rules_out=HEAD_AND_NECK_SLAB_RULES_OUT,
                symmetric=True,
                physics=("body", "bones", *LUNGS),
            )


def totalsegmentator(root: Path) -> Iterator[RawCase]:
    """The two TotalSegmentator reference scans; their labels are a model's output, not a reader's."""
    example = root / "totalsegmentator" / "example_ct"
    classes = meta(example, "label_values")["label_values"]
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
    classes = dict(meta(aorta, "label_values")["label_values"])
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
    for index, folder in enumerate(folders_in(root / "ibsi_sts")):
        yield RawCase(
            case=folder.name,
            dataset="ibsi_sts",
            split="validation" if index % 5 == 4 else "train",
            licence=meta(folder, "licence")["licence"],
            ct=folder / "ct.nii.gz",
            labels=LabelMap(folder / "labels.nii.gz", {"soft_tissue_sarcoma": (1,)}),
            rules_out=("head", "neck"),
            physics=TISSUES,
        )
