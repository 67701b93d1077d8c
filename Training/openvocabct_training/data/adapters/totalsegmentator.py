"""TotalSegmentator: class names, and its data set of version 2 (one file for every class of every scan)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from openvocabct_training.data.adapters.base import DataSet, Found
from openvocabct_training.data.adapters.labels import MaskFolder
from openvocabct_training.data.adapters.layout import read_table
from OpenVocabCTLib.errors import InputError

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


def totalsegmentator_values(classes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Concept id -> label values, from the class names of a TotalSegmentator label map."""
    single = {concept: (name,) for name, concept in TOTALSEGMENTATOR_CONCEPTS.items()}
    values = {
        concept: tuple(value for name, value in classes.items() if any(fnmatchcase(name, p) for p in patterns))
        for concept, patterns in {**single, **TOTALSEGMENTATOR_UNIONS}.items()
    }
    return {concept: members for concept, members in values.items() if members}


# The further classes of version 2; with many patients, single vertebrae, ribs and lobes can be told apart.
_V2_CLASSES: Mapping[str, tuple[str, ...]] = {
    **{f"{side}_upper_lobe": (f"lung_upper_lobe_{side}",) for side in ("left", "right")},
    **{f"{side}_lower_lobe": (f"lung_lower_lobe_{side}",) for side in ("left", "right")},
    "right_middle_lobe": ("lung_middle_lobe_right",),
    "esophagus": ("esophagus",),
    "trachea": ("trachea",),
    "thyroid_gland": ("thyroid_gland",),
    "left_kidney_cyst": ("kidney_cyst_left",),
    "right_kidney_cyst": ("kidney_cyst_right",),
    "pulmonary_vein": ("pulmonary_vein",),
    "superior_vena_cava": ("superior_vena_cava",),
    "left_atrial_appendage": ("atrial_appendage_left",),
    **{f"{side}_brachiocephalic_vein": (f"brachiocephalic_vein_{side}",) for side in ("left", "right")},
    "right_subclavian_artery": ("subclavian_artery_right",),
    "right_common_carotid_artery": ("common_carotid_artery_right",),
    **{f"{side}_{bone}": (f"{bone}_{side}",) for bone in ("humerus", "scapula") for side in ("left", "right")},
    **{f"{side}_clavicle": (f"clavicula_{side}",) for side in ("left", "right")},
    "brain": ("brain",),
    "skull": ("skull",),
    "sternum": ("sternum",),
    **{f"vertebra_{name.lower()}": (f"vertebrae_{name}",) for name in (
        *(f"C{n}" for n in range(1, 8)), *(f"T{n}" for n in range(1, 13)), *(f"L{n}" for n in range(1, 6)), "S1",
    )},
    **{f"{side}_rib_{n}": (f"rib_{side}_{n}",) for side in ("left", "right") for n in range(1, 13)},
    # Unions: regions of the spine, and organs with what is drawn in their place.
    "cervical_vertebrae": ("vertebrae_C?",),
    "thoracic_vertebrae": ("vertebrae_T*",),
    "left_kidney": ("kidney_left", "kidney_cyst_left"),
    "right_kidney": ("kidney_right", "kidney_cyst_right"),
    "heart": ("heart", "atrial_appendage_left"),
}  # fmt: skip
# Classes of other tasks, which the data set does not have.
_NOT_IN_V2 = ("pulmonary_artery", "celiac_trunk", "superior_mesenteric_artery")
V2_CLASSES: tuple[str, ...] = (
    *(name for name in TOTALSEGMENTATOR_CONCEPTS if name not in _NOT_IN_V2),
    *dict.fromkeys(
        name for names in _V2_CLASSES.values() for name in names if "*" not in name and "?" not in name
        and name not in TOTALSEGMENTATOR_CONCEPTS
    ),
    "sacrum",
)  # fmt: skip
"""The 117 classes of version 2."""


def v2_files() -> dict[str, tuple[str, ...]]:
    """Concept id -> names of the files of version 2 whose union it is."""
    patterns = {
        **{concept: (name,) for name, concept in TOTALSEGMENTATOR_CONCEPTS.items() if name not in _NOT_IN_V2},
        **TOTALSEGMENTATOR_UNIONS,
        **_V2_CLASSES,
    }
    return {
        concept: tuple(f"{name}.nii.gz" for name in V2_CLASSES if any(fnmatchcase(name, p) for p in wanted))
        for concept, wanted in patterns.items()
    }


_SPLITS = {"train": "train", "val": "validation"}


def _find(root: Path) -> Iterator[Found]:
    """``meta.csv`` says who is in which split; the test patients are not read."""
    files = v2_files()
    for row in read_table(root / "meta.csv", "image_id", "split"):
        if row["split"] not in (*_SPLITS, "test"):
            raise InputError(
                f"{root / 'meta.csv'} has the split {row['split']!r}", "download version 2 of the data set"
            )
        if row["split"] == "test":
            continue
        folder = root / row["image_id"]
        yield Found(
            case=row["image_id"],
            ct=folder / "ct.nii.gz",
            labels=MaskFolder(folder / "segmentations", files),
            split=_SPLITS[row["split"]],
        )


TOTALSEGMENTATOR_V2 = DataSet(
    name="totalsegmentator_v2",
    title="the TotalSegmentator CT data set, version 2",
    licence="CC BY 4.0",
    page="https://doi.org/10.5281/zenodo.6802613",
    folders=("totalsegmentator_v2", "Totalsegmentator_dataset_v201", "Totalsegmentator_dataset_v2"),
    find=_find,
)
