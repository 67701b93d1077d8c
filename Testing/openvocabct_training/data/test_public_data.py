"""Every public data set: what is found in its layout, and what is said when a part of it is missing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from openvocabct_training.data.adapters import ADAPTERS, PUBLIC, LabelScheme, RawCase, adapters_named
from openvocabct_training.data.adapters.base import split_of
from openvocabct_training.data.adapters.totalsegmentator import V2_CLASSES
from openvocabct_training.data.plan import known_concepts_only, raw_cases
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.prompts.vocabulary import REGIONS, Vocabulary
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_training.data import layouts

LIVER_NAMES = {"0": "background", "1": "liver", "2": "cancer"}
LUNG_NAMES = {"0": "background", "1": "cancer"}
PANCREAS_NAMES = {"0": "background", "1": "pancreas", "2": "cancer"}
SPLEEN_NAMES = {"0": "background", "1": "spleen"}
COLON_NAMES = {"0": "background", "1": "colon cancer primaries"}
VESSEL_NAMES = {"0": "background", "1": "Vessel", "2": "Tumour"}


class Expected(NamedTuple):
    """What a data set in miniature holds: case -> split ("" where the patient decides), concept -> label values."""

    write: Callable[[Path], None]
    cases: dict[str, str]
    values: dict[str, set[int]]


EXPECTED = {
    "amos22": Expected(
        layouts.amos22,
        {"amos_0001": "train", "amos_0004": "train", "amos_0008": "validation"},
        {
            "spleen": {1}, "right_kidney": {2}, "left_kidney": {3}, "gallbladder": {4}, "esophagus": {5}, "liver": {6},
            "stomach": {7}, "aorta": {8}, "inferior_vena_cava": {9}, "pancreas": {10}, "right_adrenal_gland": {11},
            "left_adrenal_gland": {12}, "duodenum": {13}, "urinary_bladder": {14},
        },
    ),
    "btcv": Expected(
        layouts.btcv,
        {"img0001": "", "img0040": ""},
        {
            "spleen": {1}, "right_kidney": {2}, "left_kidney": {3}, "gallbladder": {4}, "esophagus": {5}, "liver": {6},
            "stomach": {7}, "aorta": {8}, "inferior_vena_cava": {9}, "portal_and_splenic_vein": {10}, "pancreas": {11},
            "right_adrenal_gland": {12}, "left_adrenal_gland": {13},
        },
    ),
    "flare22": Expected(
        layouts.flare22,
        {"FLARE22_Tr_0001": "", "FLARE22_Tr_0050": ""},
        {
            "liver": {1}, "right_kidney": {2}, "spleen": {3}, "pancreas": {4}, "aorta": {5}, "inferior_vena_cava": {6},
            "right_adrenal_gland": {7}, "left_adrenal_gland": {8}, "gallbladder": {9}, "esophagus": {10},
            "stomach": {11}, "duodenum": {12}, "left_kidney": {13},
        },
    ),
    "word": Expected(
        layouts.word,
        {"word_0002": "train", "word_0001": "validation"},
        {
            "liver": {1}, "spleen": {2}, "left_kidney": {3}, "right_kidney": {4}, "stomach": {5}, "gallbladder": {6},
            "esophagus": {7}, "pancreas": {8}, "duodenum": {9}, "colon": {10}, "small_bowel": {11},
            "adrenal_glands": {12}, "rectum": {13}, "urinary_bladder": {14}, "left_femoral_head": {15},
            "right_femoral_head": {16},
        },
    ),
    "abdomenct_1k": Expected(
        layouts.abdomenct_1k,
        {"Case_00001": "", "Case_01000": ""},
        {"liver": {1}, "kidneys": {2}, "spleen": {3}, "pancreas": {4}},
    ),
    "kits23": Expected(
        layouts.kits23,
        {"case_00000": "", "case_00588": ""},
        {"kidneys": {1, 2, 3}, "kidney_tumor": {2}, "kidney_cysts": {3}},
    ),
    "lits": Expected(
        layouts.lits,
        {"volume-0": "", "volume-2": "", "volume-10": "", "volume-130": ""},
        {"liver": {1, 2}, "liver_tumor": {2}},
    ),
    "msd_liver": Expected(
        partial(layouts.decathlon, task="Task03_Liver", cases=("liver_0", "liver_130"), labels=LIVER_NAMES),
        {"liver_0": "", "liver_130": ""},
        {"liver": {1, 2}, "liver_tumor": {2}},
    ),
    "msd_lung": Expected(
        partial(layouts.decathlon, task="Task06_Lung", cases=("lung_001",), labels=LUNG_NAMES),
        {"lung_001": ""},
        {"lung_tumor": {1}},
    ),
    "msd_pancreas": Expected(
        partial(layouts.decathlon, task="Task07_Pancreas", cases=("pancreas_001",), labels=PANCREAS_NAMES),
        {"pancreas_001": ""},
        {"pancreas": {1, 2}, "pancreatic_tumor": {2}},
    ),
    "msd_hepatic_vessel": Expected(
        partial(layouts.decathlon, task="Task08_HepaticVessel", cases=("hepaticvessel_001",), labels=VESSEL_NAMES),
        {"hepaticvessel_001": ""},
        {"liver_vessels": {1}, "liver_tumor": {2}},
    ),
    "msd_spleen": Expected(
        partial(layouts.decathlon, task="Task09_Spleen", cases=("spleen_2",), labels=SPLEEN_NAMES),
        {"spleen_2": ""},
        {"spleen": {1}},
    ),
    "msd_colon": Expected(
        partial(layouts.decathlon, task="Task10_Colon", cases=("colon_001",), labels=COLON_NAMES),
        {"colon_001": ""},
        {"colon_tumor": {1}},
    ),
    "segthor": Expected(
        layouts.segthor,
        {"Patient_01": "", "Patient_40": ""},
        {"esophagus": {1}, "heart": {2}, "trachea": {3}, "aorta": {4}},
    ),
}  # fmt: skip
TOTALSEGMENTATOR_NUMBER = {name: number for number, name in enumerate(layouts.TOTALSEGMENTATOR_NAMES, start=1)}


def voxels(case: RawCase) -> dict[str, set[int]]:
    masks = case.masks(CTVolume.read(case.ct).geometry)
    return {concept: set(np.flatnonzero(mask)) for concept, mask in masks.items()}


def cases_of(name: str, source: Path) -> list[RawCase]:
    return raw_cases(source, adapters_named([name]))


def test_every_public_data_set_is_tested() -> None:
    assert {*EXPECTED, "totalsegmentator_v2"} == set(PUBLIC)


@pytest.mark.parametrize("name", EXPECTED)
def test_cases_splits_and_label_values(name: str, tmp_path: Path) -> None:
    expected = EXPECTED[name]
    expected.write(tmp_path)
    cases = cases_of(name, tmp_path)
    assert [case.case for case in cases] == list(expected.cases)
    for case in cases:
        assert case.dataset == name
        assert case.split == (expected.cases[case.case] or split_of(case.patient))
        assert voxels(case) == expected.values
        assert case.licence
        assert set(case.rules_out) <= REGIONS
        assert not case.symmetric
    assert len({case.patient for case in cases}) == len(cases)


@pytest.mark.parametrize("name", [*EXPECTED, "totalsegmentator_v2"])
def test_every_concept_is_in_the_vocabulary_today(name: str, tmp_path: Path) -> None:
    (layouts.totalsegmentator_v2 if name == "totalsegmentator_v2" else EXPECTED[name].write)(tmp_path)
    case = cases_of(name, tmp_path)[0]
    assert case.labels is not None
    assert [concept for concept in case.labels.concepts if concept not in Vocabulary.load()] == []


def test_totalsegmentator_v2(tmp_path: Path) -> None:
    assert sorted(V2_CLASSES) == sorted(layouts.TOTALSEGMENTATOR_NAMES)
    assert len(V2_CLASSES) == 117
    layouts.totalsegmentator_v2(tmp_path)
    first, second = cases_of("totalsegmentator_v2", tmp_path)
    assert (first.case, first.split, second.case, second.split) == ("s0000", "train", "s0001", "validation")
    found = voxels(first)
    number = TOTALSEGMENTATOR_NUMBER
    assert set().union(*found.values()) == set(number.values())  # no class is forgotten
    assert found["left_kidney"] == {number["kidney_left"], number["kidney_cyst_left"]}
    assert found["left_kidney_cyst"] == {number["kidney_cyst_left"]}
    assert found["left_lung"] == {number["lung_upper_lobe_left"], number["lung_lower_lobe_left"]}
    assert found["left_lower_lobe"] == {number["lung_lower_lobe_left"]}
    assert found["vertebra_t1"] == {number["vertebrae_T1"]}
    assert found["cervical_vertebrae"] == {number[f"vertebrae_C{n}"] for n in range(1, 8)}
    assert found["thoracic_vertebrae"] == {number[f"vertebrae_T{n}"] for n in range(1, 13)}
    assert len(found["vertebrae"]) == 25
    assert found["right_rib_1"] == {number["rib_right_1"]}
    assert found["right_ribs"] == {number[f"rib_right_{n}"] for n in range(1, 13)}
    assert found["sacrum"] == {number["sacrum"], number["vertebrae_S1"]}
    assert found["heart"] == {number["heart"], number["atrial_appendage_left"]}
    for concept in found:
        side = concept.partition("_")[0]
        if side in ("left", "right"):
            names = {name for name, n in number.items() if n in found[concept]}
            assert all(f"_{side}" in name for name in names), concept


def test_a_missing_class_is_named(tmp_path: Path) -> None:
    layouts.totalsegmentator_v2(tmp_path)
    missing = tmp_path / "Totalsegmentator_dataset_v201" / "s0001" / "segmentations" / "liver.nii.gz"
    missing.unlink()
    with pytest.raises(InputError, match=f"{missing} is missing"):
        cases_of("totalsegmentator_v2", tmp_path)


# Patients and licences


def test_lits_and_the_decathlons_liver_task_share_patients_and_splits(tmp_path: Path) -> None:
    layouts.lits(tmp_path)
    EXPECTED["msd_liver"].write(tmp_path)
    both = raw_cases(tmp_path, adapters_named(["lits", "msd_liver"]))
    splits = {(case.patient, case.split) for case in both}
    assert {patient for patient, _ in splits} == {f"lits/{number}" for number in (0, 2, 10, 130)}
    assert len(splits) == 4


def test_a_stated_licence_is_kept(tmp_path: Path) -> None:
    EXPECTED["msd_colon"].write(tmp_path)
    layouts.amos22(tmp_path)
    cases = raw_cases(tmp_path, adapters_named(["msd_colon", "amos22"]))
    assert {case.licence for case in cases} == {"CC-BY-SA 4.0"}


def test_one_patient_in_ten_validates_whoever_else_is_there() -> None:
    splits = [split_of(f"btcv/img{number:04d}") for number in range(2000)]
    assert 150 < splits.count("validation") < 250
    assert splits == [split_of(f"btcv/img{number:04d}") for number in range(2000)]


def test_amos_before_validation_labels_were_published(tmp_path: Path) -> None:
    layouts.amos22(tmp_path)
    path = tmp_path / "amos22" / "dataset.json"
    description = json.loads(path.read_text())
    description["validation"] = [{"image": entry["image"]} for entry in description["validation"]]
    path.write_text(json.dumps(description))
    cases = cases_of("amos22", tmp_path)
    assert [(case.case, case.split) for case in cases] == [
        (name, split_of(f"amos22/{name}")) for name in ("amos_0001", "amos_0004")
    ]


# Merging


def test_what_is_drawn_within_an_organ_belongs_to_it() -> None:
    scheme = LabelScheme({"liver": (1,), "liver_tumor": (2, 3)}, {"liver": ("liver_tumor",)}, left_out=(9,))
    assert scheme.merged == {"liver": (1, 2, 3), "liver_tumor": (2, 3)}
    assert scheme.known == {0, 1, 2, 3, 9}


def test_concepts_that_the_vocabulary_lacks_are_left_out_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    layouts.kits23(tmp_path)
    everything = Vocabulary.load()
    smaller = Vocabulary(tuple(concept for concept in everything if concept.id != "kidney_tumor"))
    with caplog.at_level("INFO"):
        cases = known_concepts_only(cases_of("kits23", tmp_path), smaller)
    assert [voxels(case) for case in cases] == [{"kidneys": {1, 2, 3}, "kidney_cysts": {3}}] * 2
    assert [record.message for record in caplog.records] == [
        "kits23: the vocabulary has no concept 'kidney_tumor'; its labels are left out"
    ]


# Places and wrong layouts


def test_the_folder_of_the_data_set_itself_may_be_given(tmp_path: Path) -> None:
    layouts.segthor(tmp_path)
    assert [case.case for case in cases_of("segthor", tmp_path / "SegTHOR")] == ["Patient_01", "Patient_40"]


@pytest.mark.parametrize("name", PUBLIC)
def test_a_missing_data_set_is_named_with_its_page(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as failed:
        cases_of(name, tmp_path)
    assert str(tmp_path / PUBLIC[name].folders[0]) in failed.value.what
    assert PUBLIC[name].page in failed.value.todo


@pytest.mark.parametrize("name", PUBLIC)
def test_an_empty_data_set_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / PUBLIC[name].folders[0]).mkdir(parents=True)
    with pytest.raises(InputError, match=f"{PUBLIC[name].folders[0]}.*(is missing|holds no labelled CT)"):
        cases_of(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("amos22", "amos22/dataset.json"),
        ("amos22", "amos22/labelsVa/amos_0008.nii.gz"),
        ("btcv", "Abdomen/RawData/Training/label"),
        ("btcv", "Abdomen/RawData/Training/img/img0040.nii.gz"),
        ("btcv", "Abdomen/RawData/Training/label/label0001.nii.gz"),
        ("flare22", "flare22/FLARE22Train/images/FLARE22_Tr_0050_0000.nii.gz"),
        ("flare22", "flare22/FLARE22Train/labels"),
        ("word", "WORD-V0.1.0/imagesVal"),
        ("word", "WORD-V0.1.0/labelsTr/word_0002.nii.gz"),
        ("abdomenct_1k", "AbdomenCT-1K/AbdomenCT-1K-ImagePart1/Case_00001_0000.nii.gz"),
        ("kits23", "kits23/dataset/case_00588/segmentation.nii.gz"),
        ("lits", "LiTS/Training Batch 2/segmentation-130.nii"),
        ("lits", "LiTS/Training Batch 1/volume-2.nii"),
        ("msd_spleen", "Task09_Spleen/dataset.json"),
        ("msd_spleen", "Task09_Spleen/imagesTr/spleen_2.nii.gz"),
        ("segthor", "SegTHOR/train/Patient_40/GT.nii.gz"),
        ("totalsegmentator_v2", "Totalsegmentator_dataset_v201/meta.csv"),
    ],
)
def test_what_is_missing_is_named(name: str, missing: str, tmp_path: Path) -> None:
    (layouts.totalsegmentator_v2 if name == "totalsegmentator_v2" else EXPECTED[name].write)(tmp_path)
    path = tmp_path / missing
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    with pytest.raises(InputError) as failed:
        cases_of(name, tmp_path)
    assert failed.value.what == f"{path} is missing"


def test_another_task_of_the_decathlon_is_refused(tmp_path: Path) -> None:
    layouts.decathlon(tmp_path, "Task09_Spleen", ("spleen_2",), LIVER_NAMES)
    with pytest.raises(InputError, match=r"has the labels \[0, 1, 2\], expected \[0, 1\]"):
        cases_of("msd_spleen", tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"labels": {}}', '{"training": 3, "labels": {"0": "", "1": ""}}'])
def test_a_damaged_dataset_json(text: str, tmp_path: Path) -> None:
    (tmp_path / "Task09_Spleen").mkdir()
    (tmp_path / "Task09_Spleen" / "dataset.json").write_text(text)
    with pytest.raises(InputError, match=r"dataset\.json"):
        cases_of("msd_spleen", tmp_path)


def test_a_table_of_another_version(tmp_path: Path) -> None:
    folder = tmp_path / "totalsegmentator_v2"
    folder.mkdir()
    (folder / "meta.csv").write_text("image_id;age\ns0000;49\n")
    with pytest.raises(InputError, match=r"meta\.csv has no column 'split'"):
        cases_of("totalsegmentator_v2", tmp_path)
    (folder / "meta.csv").write_text("image_id;split\ns0000;fold1\n")
    with pytest.raises(InputError, match="has the split 'fold1'"):
        cases_of("totalsegmentator_v2", tmp_path)


def test_an_unknown_data_set_names_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"there is no data set 'amos': choose among openkbp, .*amos22.*folder:FOLDER"):
        adapters_named(["amos"])


def test_the_documentation_names_every_data_set_folder_and_page() -> None:
    text = (Path(__file__).parents[3] / "Training" / "DATA.md").read_text(encoding="utf-8")
    for data in PUBLIC.values():
        assert f"`{data.name}`" in text
        assert f"`{data.folders[0]}`" in text
        assert data.page in text
    for name in ADAPTERS:
        assert f"`{name}`" in text
