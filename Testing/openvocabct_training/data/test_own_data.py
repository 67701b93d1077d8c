"""A person's own data: nnU-Net raw folders, and CT + label map + labels.csv."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openvocabct_training.data.adapters import RawCase, adapters_named
from openvocabct_training.data.adapters.base import split_of
from openvocabct_training.data.adapters.generic import concept_named
from openvocabct_training.data.plan import raw_cases
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_training.data import layouts

NNUNET = "nnunet:Dataset501_Kidneys"


def cases_of(name: str, source: Path) -> list[RawCase]:
    return raw_cases(source, adapters_named([name]))


def voxels(case: RawCase) -> dict[str, set[int]]:
    masks = case.masks(CTVolume.read(case.ct).geometry)
    return {concept: set(np.flatnonzero(mask)) for concept, mask in masks.items()}


# Names of concepts


@pytest.mark.parametrize(
    ("name", "concept"),
    [
        ("left_kidney", "left_kidney"),
        ("Left Kidney", "left_kidney"),
        ("kidney_left", "left_kidney"),
        ("KIDNEY-LEFT", "left_kidney"),
        ("liver", "liver"),
        ("whole tumor thing", None),
        ("", None),
    ],
)
def test_names_of_concepts(name: str, concept: str | None) -> None:
    assert concept_named(name) == concept


@given(st.sampled_from([concept.id for concept in Vocabulary.load()]), st.sampled_from([" ", "-", "_", "."]))
def test_an_id_names_itself_however_it_is_written(concept: str, separator: str) -> None:
    assert concept_named(concept) == concept
    assert concept_named(concept.upper().replace("_", separator)) == concept


@given(st.text(string.printable, max_size=30))
def test_any_text_is_a_concept_or_none(text: str) -> None:
    found = concept_named(text)
    assert found is None or found in Vocabulary.load()


# nnU-Net


def test_nnunet_names_and_regions(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    labels = {"background": 0, "kidneys": [1, 2, 3], "kidney tumor": 2, "what is this": 3}
    layouts.nnunet(tmp_path, labels, licence="CC0", regions_class_order=[1, 2, 3])
    with caplog.at_level("INFO"):
        first, second = cases_of(NNUNET, tmp_path)
    assert (first.case, first.dataset, second.case) == ("case_1", "Dataset501_Kidneys", "case_2")
    assert first.licence == "CC0"
    assert first.split == split_of("Dataset501_Kidneys/case_1")
    assert voxels(first) == voxels(second) == {"kidneys": {1, 2, 3}, "kidney_tumor": {2}}
    assert "no concept is called 'what is this'" in caplog.text


def test_nnunet_labels_that_are_taken_for_a_concept_by_another_word_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    layouts.nnunet(tmp_path, {"background": 0, "LV": 1, "kidney_left": 2, "Liver": 3})
    with caplog.at_level("INFO"):
        cases_of(NNUNET, tmp_path)
    said = [record.getMessage() for record in caplog.records if "is taken for" in record.getMessage()]
    assert said == ["Dataset501_Kidneys: 'LV' is taken for left_ventricle; say in labels.csv if it is something else"]


def test_nnunet_labels_csv_says_what_labels_are(tmp_path: Path) -> None:
    folder = layouts.nnunet(tmp_path, {"background": 0, "a": 1, "b": 2, "c": 3})
    (folder / "labels.csv").write_text("label,concept\na,kidneys\nb,kidneys\nb,kidney_tumor\nc,\n")
    assert voxels(cases_of(NNUNET, tmp_path)[0]) == {"kidneys": {1, 2}, "kidney_tumor": {2}}
    (folder / "labels.csv").write_text("label,concept\nd,kidneys\n")
    with pytest.raises(InputError, match="names the label 'd'"):
        cases_of(NNUNET, tmp_path)


@pytest.mark.parametrize(
    ("labels", "changes", "said"),
    [
        ({"0": "background", "1": "liver"}, {}, "the label '0' is 'background'"),
        ({"background": 0, "liver": []}, {}, "the label 'liver' is"),
        ({"background": 0, "liver": True}, {}, "the label 'liver' is True"),
        ({"background": 0, "x": 1}, {}, "no label that the vocabulary knows"),
        ({"background": 0, "liver": 1}, {"channel_names": {"0": "T1"}}, "has the channels"),
        ({"background": 0, "liver": 1}, {"channel_names": {"0": "CT", "1": "PET"}}, "has the channels"),
        ({"background": 0, "liver": 1}, {"modality": {"0": "CT"}}, "is of nnU-Net version 1"),
    ],
)
def test_nnunet_data_that_cannot_be_used(
    labels: dict[str, Any], changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    layouts.nnunet(tmp_path, labels, **changes)
    with pytest.raises(InputError, match=said):
        cases_of(NNUNET, tmp_path)


def test_nnunet_voxels_that_nobody_decided_about_are_refused(tmp_path: Path) -> None:
    layouts.nnunet(tmp_path, {"background": 0, "liver": 1, "spleen": 2, "ignore": 3})
    with pytest.raises(InputError, match="holds the label value 3"):
        voxels(cases_of(NNUNET, tmp_path)[0])


# A folder with labels.csv


def test_a_folder_with_a_table_of_labels(tmp_path: Path) -> None:
    folder = layouts.own_folder(tmp_path, "value,concept\n1,Left Kidney\n2,left kidney\n2,kidney_tumor\n3,\n")
    (folder / "cases.csv").write_text("case;patient;split;licence\nb;smith;validation;CC BY 4.0\n")
    first, second = cases_of("folder:mine", tmp_path)
    assert voxels(first) == voxels(second) == {"left_kidney": {1, 2}, "kidney_tumor": {2}}
    assert (first.case, first.patient, first.split, first.licence) == (
        "a", "mine/a", split_of("mine/a"), "not stated",
    )  # fmt: skip
    assert (second.patient, second.split, second.licence) == ("mine/smith", "validation", "CC BY 4.0")


def test_a_case_that_is_described_and_not_there_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = layouts.own_folder(tmp_path, "value,concept\n1,liver\n2,spleen\n3,aorta\n")
    (folder / "cases.csv").write_text("case,split\na,train\nB,validation\n")
    assert len(cases_of("folder:mine", tmp_path)) == 2
    assert caplog.messages == [f"{folder / 'cases.csv'} describes the case B, of which there is no folder"]


def test_two_scans_of_one_patient_are_in_one_split(tmp_path: Path) -> None:
    folder = layouts.own_folder(tmp_path, "value,concept\n1,liver\n2,spleen\n3,aorta\n", cases="abcdefgh")
    (folder / "cases.csv").write_text("case,patient\n" + "".join(f"{case},p\n" for case in "abcdefgh"))
    assert {case.split for case in cases_of("folder:mine", tmp_path)} == {split_of("mine/p")}


@pytest.mark.parametrize("header", ["Case,Patient,Split", "case, patient, split", '"case" ;"patient" ;"split" '])
def test_columns_are_known_however_they_are_written(header: str, tmp_path: Path) -> None:
    folder = layouts.own_folder(tmp_path, "Value, Concept\n1, liver\n2, spleen\n3, aorta\n")
    row = "a,p,validation\n".replace(",", ";" if ";" in header else ",")
    (folder / "cases.csv").write_text(f"{header}\n{row}")
    first, _ = cases_of("folder:mine", tmp_path)
    assert (first.patient, first.split) == ("mine/p", "validation")
    assert voxels(first) == {"liver": {1}, "spleen": {2}, "aorta": {3}}


def test_the_split_of_one_scan_is_that_of_all_scans_of_the_patient(tmp_path: Path) -> None:
    folder = layouts.own_folder(tmp_path, "value,concept\n1,liver\n2,spleen\n3,aorta\n", cases="abcdef")
    for split in ("train", "validation"):
        rows = f"a,p,\nb,p,{split}\n" + "".join(f"{case},p,\n" for case in "cdef")
        (folder / "cases.csv").write_text("case,patient,split\n" + rows)
        assert {case.split for case in cases_of("folder:mine", tmp_path)} == {split}
    (folder / "cases.csv").write_text("case,patient,split\na,p,train\nb,p,validation\nc,,train\nd,,validation\n")
    with pytest.raises(InputError, match="the patient 'p' both trains and validates"):
        cases_of("folder:mine", tmp_path)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("", "has no column 'value'"),
        ("value\n1\n", "has no column 'concept'"),
        ("value,concept\nx,liver\n", "has the value 'x'"),
        ("value,concept\n-1,liver\n", "has the value '-1'"),
        ("value,concept\n1,\n", "names no concept"),
    ],
)
def test_tables_of_labels_that_cannot_be_used(table: str, said: str, tmp_path: Path) -> None:
    layouts.own_folder(tmp_path, table)
    with pytest.raises(InputError, match=said):
        cases_of("folder:mine", tmp_path)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    folder = layouts.own_folder(tmp_path, "value,concept\n1,liver\n")
    (folder / "b" / "labels.nii.gz").unlink()
    with pytest.raises(InputError, match=f"{folder / 'b' / 'labels.nii.gz'} is missing"):
        cases_of("folder:mine", tmp_path)
    (folder / "labels.csv").unlink()
    with pytest.raises(InputError, match=f"{folder / 'labels.csv'} is missing"):
        cases_of("folder:mine", tmp_path)
    (folder / "labels.csv").write_text("value,concept\n1,liver\n")
    (folder / "cases.csv").write_text("case,split\na,test\n")
    with pytest.raises(InputError, match="the split of a is 'test'"):
        cases_of("folder:mine", tmp_path)


@pytest.mark.parametrize("name", ["folder:", "folder:..", "folder:a/b", "nnunet:.hidden", "folder:openkbp"])
def test_names_of_folders_that_cannot_be_used(name: str) -> None:
    with pytest.raises(InputError):
        adapters_named([name])
