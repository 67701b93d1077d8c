"""Organs of the abdomen: AMOS22, BTCV, FLARE22, WORD, AbdomenCT-1K."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from openvocabct_training.data.adapters.base import DataSet, Found
from openvocabct_training.data.adapters.labels import LabelScheme
from openvocabct_training.data.adapters.layout import first_folder, listed, numbered, pairs, read_json, stated_licence
from OpenVocabCTLib.errors import InputError

AMOS22_LABELS = LabelScheme(
    values={
        "spleen": (1,),
        "right_kidney": (2,),
        "left_kidney": (3,),
        "gallbladder": (4,),
        "esophagus": (5,),
        "liver": (6,),
        "stomach": (7,),
        "aorta": (8,),
        "inferior_vena_cava": (9,),
        "pancreas": (10,),
        "right_adrenal_gland": (11,),
        "left_adrenal_gland": (12,),
        "duodenum": (13,),
        "urinary_bladder": (14,),
    },
    left_out=(15,),  # prostate or uterus, by the patient's sex
)
BTCV_LABELS = LabelScheme(
    values={
        "spleen": (1,),
        "right_kidney": (2,),
        "left_kidney": (3,),
        "gallbladder": (4,),
        "esophagus": (5,),
        "liver": (6,),
        "stomach": (7,),
        "aorta": (8,),
        "inferior_vena_cava": (9,),
        "portal_and_splenic_vein": (10,),
        "pancreas": (11,),
        "right_adrenal_gland": (12,),
        "left_adrenal_gland": (13,),
    }
)
FLARE22_LABELS = LabelScheme(
    values={
        "liver": (1,),
        "right_kidney": (2,),
        "spleen": (3,),
        "pancreas": (4,),
        "aorta": (5,),
        "inferior_vena_cava": (6,),
        "right_adrenal_gland": (7,),
        "left_adrenal_gland": (8,),
        "gallbladder": (9,),
        "esophagus": (10,),
        "stomach": (11,),
        "duodenum": (12,),
        "left_kidney": (13,),
    }
)
WORD_LABELS = LabelScheme(
    values={
        "liver": (1,),
        "spleen": (2,),
        "left_kidney": (3,),
        "right_kidney": (4,),
        "stomach": (5,),
        "gallbladder": (6,),
        "esophagus": (7,),
        "pancreas": (8,),
        "duodenum": (9,),
        "colon": (10,),
        "small_bowel": (11,),
        "adrenal_glands": (12,),
        "rectum": (13,),
        "urinary_bladder": (14,),
        "left_femoral_head": (15,),
        "right_femoral_head": (16,),
    }
)
ABDOMENCT_1K_LABELS = LabelScheme(values={"liver": (1,), "kidneys": (2,), "spleen": (3,), "pancreas": (4,)})
# AMOS numbers its CTs up to here; what follows is MR.
AMOS22_LAST_CT = 500


def _amos22(root: Path) -> Iterator[Found]:
    """``dataset.json`` lists training and, since the end of the challenge, validation cases with labels."""
    description = read_json(root / "dataset.json", "training")
    validation = list(listed(root, description, "validation"))
    groups = [(list(listed(root, description, "training")), "train" if validation else ""), (validation, "validation")]
    for cases, split in groups:
        for case, ct, labels in cases:
            number = case.rpartition("_")[2]
            if not number.isdigit():
                raise InputError(
                    f"{root / 'dataset.json'} lists {case}, which ends with no number", "download it again"
                )
            if int(number) <= AMOS22_LAST_CT:
                yield Found(case, ct, AMOS22_LABELS.of(labels), split, licence=stated_licence(description))


def _btcv(root: Path) -> Iterator[Found]:
    training = first_folder(root, "RawData/Training", "Abdomen/RawData/Training", "Training")
    for number, ct, labels in pairs(training / "img", training / "label", "img*.nii.gz", "label*.nii.gz"):
        yield Found(f"img{number}", ct, BTCV_LABELS.of(labels))


def _flare22(root: Path) -> Iterator[Found]:
    places = ("FLARE22Train", "Training/FLARE22_LabeledCase50", "Training/FLARE_LabeledCase50")
    folder = root if (root / "images").is_dir() else first_folder(root, *places)
    for case, ct, labels in pairs(folder / "images", folder / "labels", "*_0000.nii.gz", "*.nii.gz"):
        yield Found(case, ct, FLARE22_LABELS.of(labels))


def _word(root: Path) -> Iterator[Found]:
    """The test patients (``imagesTs``) are not read."""
    root = root if (root / "imagesTr").is_dir() else first_folder(root, "WORD-V0.1.0", ".")
    for ending, split in (("Tr", "train"), ("Val", "validation")):
        for number, ct, labels in pairs(root / f"images{ending}", root / f"labels{ending}", *["word_*.nii.gz"] * 2):
            yield Found(f"word_{number}", ct, WORD_LABELS.of(labels), split)


def _abdomenct_1k(root: Path) -> Iterator[Found]:
    """The images come in several archives, so they are looked for below the folder; unlabelled ones are passed over."""
    files = sorted((p for p in root.rglob("Case_*.nii.gz")), key=lambda path: numbered(path.name))
    images = {path.name.removesuffix("_0000.nii.gz"): path for path in files if path.name.endswith("_0000.nii.gz")}
    labels = {path.name.removesuffix(".nii.gz"): path for path in files if not path.name.endswith("_0000.nii.gz")}
    if not labels:
        raise InputError(f"{root / 'Mask' / 'Case_00001.nii.gz'} is missing", "unpack Mask.zip of AbdomenCT-1K there")
    for case, path in labels.items():
        missing = root / "AbdomenCT-1K-ImagePart1" / f"{case}_0000.nii.gz"
        yield Found(case, images.get(case, missing), ABDOMENCT_1K_LABELS.of(path))


ABDOMEN = (
    DataSet(
        name="amos22",
        title="AMOS22",
        licence="as stated on the download page",
        page="https://zenodo.org/records/7262581",
        folders=("amos22", "AMOS22"),
        find=_amos22,
    ),
    DataSet(
        name="btcv",
        title="BTCV (Multi-Atlas Labeling Beyond the Cranial Vault)",
        licence="terms of use of Synapse syn3193805",
        page="https://www.synapse.org/Synapse:syn3193805",
        folders=("btcv", "BTCV", "Abdomen"),
        find=_btcv,
        rules_out=("head",),
    ),
    DataSet(
        name="flare22",
        title="FLARE22",
        licence="as stated on the download page, for research",
        page="https://zenodo.org/records/7860267",
        folders=("flare22", "FLARE22", "FLARE2022"),
        find=_flare22,
        rules_out=("head",),
    ),
    DataSet(
        name="word",
        title="WORD",
        licence="GPL-3.0 and the makers' statement: academic research only",
        page="https://github.com/HiLab-git/WORD",
        folders=("word", "WORD", "WORD-V0.1.0"),
        find=_word,
    ),
    DataSet(
        name="abdomenct_1k",
        title="AbdomenCT-1K",
        licence="as stated on the download page; images under the licences of their sources",
        page="https://github.com/JunMa11/AbdomenCT-1K",
        folders=("abdomenct_1k", "AbdomenCT-1K"),
        find=_abdomenct_1k,
    ),
)
