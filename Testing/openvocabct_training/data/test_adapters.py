from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from openvocabct_training.data import adapters
from openvocabct_training.data.adapters import (
    ADAPTERS,
    EXAMPLE_CT_ABSENT,
    NO_JAW,
    OPENKBP_CONCEPTS,
    TOTALSEGMENTATOR_CONCEPTS,
    TOTALSEGMENTATOR_UNIONS,
    LabelMap,
    RawCase,
    totalsegmentator_values,
)
from openvocabct_training.data.prepare import raw_cases, ruled_out
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.inference.grid import to_working, working_grid
from OpenVocabCTLib.prompts.vocabulary import REGIONS, Vocabulary
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_training import raw_data


def geometry(case: RawCase) -> Geometry:
    return CTVolume.read(case.ct).geometry


def one(cases: list[RawCase], name: str) -> RawCase:
    (case,) = [case for case in cases if case.case == name]
    return case


# OpenKBP


def test_openkbp_reads_what_is_drawn_and_no_more(tmp_path: Path) -> None:
    raw_data.write_openkbp(tmp_path, "train", "pt_1", {"Brainstem": 1, "LeftParotid": 4, "Mandible": 7})
    raw_data.write_openkbp(tmp_path, "validation", "pt_201", {"RightParotid": 3})
    first, second = adapters.openkbp(tmp_path)
    assert (first.case, first.split, second.case, second.split) == ("pt_1", "train", "pt_201", "validation")
    masks = first.masks(geometry(first))
    assert set(masks) == {"brainstem", "left_parotid_gland", "mandible"}
    for concept, value in (("brainstem", 1), ("left_parotid_gland", 4), ("mandible", 7)):
        np.testing.assert_array_equal(masks[concept], np.arange(9)[:, None, None] == np.full((9, 12, 15), value))
    assert set(second.masks(geometry(second))) == {"right_parotid_gland"}


def test_openkbp_organs_without_value_are_not_annotated_rather_than_absent(tmp_path: Path) -> None:
    raw_data.write_openkbp(tmp_path, "train", "pt_1", {"Brainstem": 1})
    (tmp_path / "openkbp" / "validation").mkdir()
    (case,) = adapters.openkbp(tmp_path)
    assert case.absent == ()
    assert not set(OPENKBP_CONCEPTS.values()) & set(ruled_out(Vocabulary.load(), case.rules_out))


def test_openkbp_suspect_labels_and_tiny_scans_are_dropped(tmp_path: Path) -> None:
    organs = {"Esophagus": 5, "Larynx": 6}
    raw_data.write_openkbp(tmp_path, "train", "pt_1", organs, suspect={"Esophagus": ["median -311 HU"]})
    raw_data.write_openkbp(tmp_path, "train", "pt_2", organs, tiny_ct=True)
    raw_data.write_openkbp(tmp_path, "train", "pt_3", {"Larynx": 6}, suspect={"Larynx": ["volume 0.5 ml"]})
    (tmp_path / "openkbp" / "validation").mkdir()
    (case,) = adapters.openkbp(tmp_path)
    assert case.case == "pt_1"
    assert set(case.masks(geometry(case))) == {"larynx"}
    assert case.absent == ()


def test_openkbp_patients_are_symmetric_and_have_no_fat_label(tmp_path: Path) -> None:
    raw_data.write_everything(tmp_path)
    cases = list(adapters.openkbp(tmp_path))
    assert all(case.symmetric for case in cases)
    # Outside of the treated slab the scans are masked, which would look like air within the body's fat.
    assert not any("adipose_tissue" in case.physics for case in cases)


# TotalSegmentator


def test_totalsegmentator_names_become_concepts_and_unions(tmp_path: Path) -> None:
    raw_data.write_totalsegmentator(tmp_path)
    example, aorta = adapters.totalsegmentator(tmp_path)
    masks = example.masks(geometry(example))
    expected = {
        "spleen": {1},
        "right_kidney": {2},
        "left_kidney": {3},
        "left_lung": {10, 11},
        "right_lung": {12},
        "sacrum": {18, 19},
        "vertebrae": {19, 20, 21, 25},
        "lumbar_vertebrae": {20, 21},
        "left_ribs": {49, 50},
        "right_ribs": {55},
        "left_erector_spinae": {45},
    }
    assert {concept: set(np.flatnonzero(mask)) for concept, mask in masks.items()} == expected
    assert example.absent == EXAMPLE_CT_ABSENT
    # Of all vertebrae, the aortic scan labels one: that is no mask of the vertebrae.
    assert set(aorta.masks(geometry(aorta))) == {"heart", "aorta"}
    assert "bones" not in aorta.physics


def test_single_classes_and_unions_do_not_name_a_concept_twice() -> None:
    assert not set(TOTALSEGMENTATOR_CONCEPTS.values()) & set(TOTALSEGMENTATOR_UNIONS)
    assert len(set(TOTALSEGMENTATOR_CONCEPTS.values())) == len(TOTALSEGMENTATOR_CONCEPTS)
    assert totalsegmentator_values({}) == {}


def test_sides_are_kept_by_name() -> None:
    for name, concept in TOTALSEGMENTATOR_CONCEPTS.items():
        for side in ("left", "right"):
            assert name.endswith(f"_{side}") == concept.startswith(f"{side}_"), name


# The other data sets


def test_cip_lungs_and_airway(tmp_path: Path) -> None:
    raw_data.write_case(tmp_path / "cip_ct64", {}, {"labels.nii.gz": {1: 1, 2: 2, 3: 3}})
    (case,) = adapters.cip(tmp_path)
    masks = case.masks(geometry(case))
    assert {concept: mask.any((1, 2)).argmax() for concept, mask in masks.items()} == {
        "left_lung": 1,
        "right_lung": 2,
        "airway": 3,
    }
    assert not {"left_lung", "right_lung"} & set(case.physics)


def test_sarcoma_every_fifth_patient_validates(tmp_path: Path) -> None:
    raw_data.write_sarcoma(tmp_path, 11)
    cases = list(adapters.sarcoma(tmp_path))
    assert [case.case for case in cases if case.split == "validation"] == ["STS_005", "STS_010"]
    assert len(cases) == 11
    assert set(cases[0].masks(geometry(cases[0]))) == {"soft_tissue_sarcoma"}
    assert cases[0].licence == "CC BY 3.0 (LICENSE.md)"


def test_unlabelled_scans_are_annotated_by_physics_only(tmp_path: Path) -> None:
    for place in (*raw_data.CHEST_FOLDERS, *raw_data.BODY_PART_FOLDERS):
        raw_data.write_case(tmp_path / place)
    cases = [*adapters.chest(tmp_path), *adapters.body_parts(tmp_path)]
    assert all(case.masks(geometry(case)) == {} and case.physics for case in cases)
    assert one(cases, "lung1").absent == ()
    assert one(cases, "body_Siemens").absent == NO_JAW
    assert one(cases, "LIDC-IDRI-0314").split == "validation"


# What all have in common


def test_every_concept_is_in_the_vocabulary(tmp_path: Path) -> None:
    raw_data.write_everything(tmp_path)
    vocabulary = Vocabulary.load()
    named = {*OPENKBP_CONCEPTS.values(), *TOTALSEGMENTATOR_CONCEPTS.values(), *TOTALSEGMENTATOR_UNIONS}
    for case in raw_cases(tmp_path):
        named |= {*case.absent, *case.physics, *(case.labels.values if case.labels else ())}
        assert set(case.rules_out) <= REGIONS
    assert [concept for concept in named if concept not in vocabulary] == []


def test_data_sets_are_named_as_their_adapters(tmp_path: Path) -> None:
    raw_data.write_everything(tmp_path)
    for name, adapter in ADAPTERS.items():
        cases = list(adapter(tmp_path))
        assert cases
        assert {case.dataset for case in cases} == {name}
        assert {case.split for case in cases} <= {"train", "validation"}
        assert all(case.licence for case in cases)


def test_nothing_is_both_labelled_and_absent(tmp_path: Path) -> None:
    raw_data.write_everything(tmp_path)
    for case in raw_cases(tmp_path):
        if case.labels is not None:
            assert not set(case.labels.values) & set(case.absent), case.case


def test_labels_on_another_grid_are_refused(tmp_path: Path) -> None:
    folder = raw_data.write_openkbp(tmp_path, "train", "pt_1", {"Brainstem": 1})
    raw_data.write_image(folder / "organs.nii.gz", np.zeros(raw_data.SHAPE, np.uint8), spacing=(3.0, 3.0, 2.5))
    case = LabelMap(folder / "organs.nii.gz", {"brainstem": (1,)})
    with pytest.raises(InputError, match="not on the grid of its CT"):
        case.masks(CTVolume.read(folder / "ct.nii.gz").geometry)


# Wrong folders


def test_another_folder_is_named_in_the_error(tmp_path: Path) -> None:
    for adapter in ADAPTERS.values():
        with pytest.raises(InputError, match="is missing"):
            raw_cases(tmp_path, {"it": adapter})


def test_a_missing_file_is_named_before_anything_is_read(tmp_path: Path) -> None:
    raw_data.write_everything(tmp_path)
    missing = tmp_path / "ibsi_sts" / "STS_007" / "labels.nii.gz"
    missing.unlink()
    with pytest.raises(InputError, match=str(missing)):
        raw_cases(tmp_path)


def test_meta_of_another_kind(tmp_path: Path) -> None:
    folder = raw_data.write_openkbp(tmp_path, "train", "pt_1", {"Brainstem": 1})
    meta = json.loads((folder / "meta.json").read_text())
    del meta["organ_values"]
    (folder / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(InputError, match="no entry 'organ_values'"):
        list(adapters.openkbp(tmp_path))


def test_files_beside_the_patients_do_not_matter(tmp_path: Path) -> None:
    raw_data.write_everything(tmp_path)
    (tmp_path / "openkbp" / "train" / ".DS_Store").write_text("")
    (tmp_path / "ibsi_sts" / "LICENSE.md").write_text("")
    assert len(list(adapters.openkbp(tmp_path))) == 2
    assert len(list(adapters.sarcoma(tmp_path))) == 11


# The real folders


def test_counts_of_the_real_data(shared_data: Path) -> None:
    counts = Counter((case.dataset, case.split) for case in raw_cases(shared_data))
    assert counts == {
        ("openkbp", "train"): 167,
        ("openkbp", "validation"): 32,
        ("totalsegmentator", "train"): 2,
        ("cip", "train"): 1,
        ("chest", "train"): 2,
        ("chest", "validation"): 1,
        ("body_parts", "train"): 4,
        ("ibsi_sts", "train"): 16,
        ("ibsi_sts", "validation"): 4,
    }


def test_no_reserved_test_patient_is_used(shared_data: Path) -> None:
    cases = list(adapters.openkbp(shared_data))
    assert {case.ct.parent.parent.name for case in cases} == {"train", "validation"}
    patients = {split: {case.case for case in cases if case.split == split} for split in ("train", "validation")}
    assert not patients["train"] & patients["validation"]


def test_left_is_left_in_the_real_data(shared_data: Path) -> None:
    pairs = {
        "openkbp": ("left_parotid_gland", "right_parotid_gland"),
        "cip": ("left_lung", "right_lung"),
        "totalsegmentator": ("left_kidney", "right_kidney"),
    }
    seen: Counter[str] = Counter()
    for case in raw_cases(shared_data):
        left, right = pairs.get(case.dataset, ("", ""))
        if case.labels is None or not {left, right} <= set(case.labels.values) or seen[case.dataset] >= 12:
            continue
        seen[case.dataset] += 1
        ct = CTVolume.read(case.ct).geometry
        masks, grid = case.masks(ct), working_grid(ct, 3.0)
        centres = [
            np.nonzero(to_working(masks[side].astype(np.float32), grid, outside=0.0, clip=False).numpy() >= 0.5)[
                2
            ].mean()
            for side in (left, right)
        ]
        assert centres[0] < centres[1], case.case
    assert seen == {"openkbp": 12, "cip": 1, "totalsegmentator": 1}
