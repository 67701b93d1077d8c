from __future__ import annotations

import json
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from openvocabct_training.data.adapters import HEAD_AND_NECK_SLAB_RULES_OUT, MaskFolder
from openvocabct_training.evaluation.cases import find_cases
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.geometry import Geometry
from Testing.openvocabct_training import raw_data
from Testing.openvocabct_training.data import layouts
from Testing.openvocabct_training.evaluation.scans import GRID, LEFT, masks, write_list, write_scan

LINE: dict[str, Any] = {"case": "a", "ct": "a/ct.nii.gz", "labels": "a/labels.nii.gz", "values": {LEFT: [1]}}


def listed(tmp_path: Path, *cases: dict[str, Any]) -> Path:
    return write_list(tmp_path / "cases.jsonl", cases)


def test_openkbp_keeps_suspect_references_and_small_scans(tmp_path: Path) -> None:
    raw_data.write_openkbp(tmp_path, "validation", "pt_201", {"SpinalCord": 2, "RightParotid": 3})
    raw_data.write_openkbp(tmp_path, "validation", "pt_202", {"Mandible": 7}, {"Mandible": ["cut"]}, tiny_ct=True)
    raw_data.write_openkbp(tmp_path, "train", "pt_1", {"Mandible": 7})
    first, second = find_cases(tmp_path, "openkbp", "validation")
    assert (first.case, second.case) == ("pt_201", "pt_202")
    assert second.suspect == ("mandible",)
    assert first.rules_out == HEAD_AND_NECK_SLAB_RULES_OUT
    volume, references = first.read()
    assert volume.geometry.shape == raw_data.SHAPE
    assert set(references) == {"spinal_cord", "right_parotid_gland"}
    assert references["spinal_cord"].box[0] == slice(2, 3)  # raw_data fills the slice that the label value numbers


def test_listed_cases_are_read_on_their_own_grid(tmp_path: Path) -> None:
    write_scan(tmp_path / "a")
    listing = listed(
        tmp_path, {**LINE, "absent": ["liver"], "rules_out": ["leg"], "suspect": [LEFT], "patient": "somebody"}
    )
    (case,) = find_cases(tmp_path, "openkbp", "validation", listing)
    assert (case.absent, case.rules_out, case.suspect) == (("liver",), ("leg",), (LEFT,))
    assert (case.dataset, case.patient) == ("cases", "somebody")
    volume, references = case.read()
    assert volume.geometry.axis_codes() == GRID.axis_codes() != "LPS"
    assert np.array_equal(references[LEFT].full(), masks()[LEFT])


def test_the_stamp_changes_with_the_case(tmp_path: Path) -> None:
    write_scan(tmp_path / "a")
    (case,) = find_cases(tmp_path, "", "", listed(tmp_path, LINE))
    (doubted,) = find_cases(tmp_path, "", "", listed(tmp_path, {**LINE, "suspect": [LEFT]}))
    assert case.stamp() != doubted.stamp()
    before = case.stamp()
    assert before == case.stamp()
    write_scan(tmp_path / "a", {LEFT: 1})
    assert case.stamp() != before


def test_the_stamp_changes_with_what_label_values_mean(tmp_path: Path) -> None:
    write_scan(tmp_path / "a")
    stamps = set()
    for values in ({LEFT: [1]}, {LEFT: [2]}, {LEFT: [1, 2]}, {LEFT: [1], "larynx": [3]}):
        (case,) = find_cases(tmp_path, "", "", listed(tmp_path, {**LINE, "values": values}))
        stamps.add(case.stamp())
    assert len(stamps) == 4
    mine = layouts.own_folder(tmp_path, "value,concept\n1,liver\n2,spleen\n3,\n")
    before = find_cases(tmp_path, "folder:mine", "train")[0].stamp()
    (mine / "labels.csv").write_text("value,concept\n1,spleen\n2,liver\n3,\n")
    assert find_cases(tmp_path, "folder:mine", "train")[0].stamp() != before


def test_adapters_of_the_training_data(tmp_path: Path) -> None:
    raw_data.write_everything(tmp_path)
    cases = find_cases(tmp_path, "ibsi_sts", "validation")
    assert [case.case for case in cases] == ["STS_005", "STS_010"]
    _, references = cases[0].read()
    assert references["soft_tissue_sarcoma"].count == 12 * 15
    assert cases[0].rules_out == ("head", "neck")


def test_public_data_sets_and_ones_own(tmp_path: Path) -> None:
    layouts.kits23(tmp_path)
    cases = find_cases(tmp_path, "kits23", "train")
    assert [case.case for case in cases] == ["case_00000", "case_00588"]
    volume, references = cases[0].read()
    assert {"kidneys", "kidney_tumor", "kidney_cysts"} == set(references)
    assert all(mask.shape == volume.geometry.shape for mask in references.values())
    layouts.lits(tmp_path)
    assert {case.patient for case in find_cases(tmp_path, "lits", "train")} <= {f"lits/{n}" for n in (0, 2, 10, 130)}
    layouts.own_folder(tmp_path, "value,concept\n1,liver\n2,\n3,spleen\n")
    assert [case.case for case in find_cases(tmp_path, "folder:mine", "train")] == ["a", "b"]


def test_references_of_many_structures_are_never_in_memory_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layouts.totalsegmentator_v2(tmp_path)
    (case,) = find_cases(tmp_path, "totalsegmentator_v2", "validation")
    whole, most = weakref.WeakSet[Watched](), 0

    def each(self: MaskFolder, geometry: Geometry) -> Iterator[tuple[str, np.ndarray]]:
        nonlocal most
        for concept in self.concepts:
            mask = np.zeros(geometry.shape, bool).view(Watched)
            whole.add(mask)
            most = max(most, len(whole))
            yield concept, mask

    monkeypatch.setattr(MaskFolder, "each", each)
    assert len(case.read()[1]) > 100
    assert most <= 2


class Watched(np.ndarray):
    """An array that a set can hold."""

    __hash__ = object.__hash__


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("not JSON", "line 1 of cases.jsonl does not describe a case"),
        ('{"case": "a"}', "does not describe a case"),
        (json.dumps({**LINE, "values": {LEFT: 1}}), "does not describe a case"),
        (json.dumps({**LINE, "absent": "liver"}), "does not describe a case"),
        (json.dumps({**LINE, "values": {"liverr": [1]}}), "names 'liverr'"),
        (json.dumps({**LINE, "rules_out": ["tail"]}), "names 'tail'"),
        ("[1]", "does not describe a case"),
        ("", "there are no patients in"),
        (json.dumps(LINE) + "\n" + json.dumps(LINE), "case 'a' is there twice"),
    ],
)
def test_bad_lists(tmp_path: Path, line: str, said: str) -> None:
    listing = tmp_path / "cases.jsonl"
    listing.write_text(line + "\n")
    with pytest.raises(InputError, match=said):
        find_cases(tmp_path, "openkbp", "validation", listing)


def test_a_list_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        find_cases(tmp_path, "openkbp", "validation", tmp_path / "no.jsonl")


def test_unknown_data_set_and_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no data set 'nnunet3'"):
        find_cases(tmp_path, "nnunet3", "validation")
    with pytest.raises(InputError, match="there are no patients in"):
        find_cases(tmp_path, "openkbp", "validation")


@pytest.mark.parametrize(
    ("meta", "said"),
    [
        (None, "meta.json is missing"),
        ("{", "not valid JSON"),
        ('{"id": "pt_201"}', "has no entry 'organ_values'"),
        ('{"id": "x", "organ_values": {"Tail": 9}, "suspect": {}}', "unknown organ 'Tail'"),
    ],
)
def test_bad_openkbp_meta(tmp_path: Path, meta: str | None, said: str) -> None:
    folder = raw_data.write_openkbp(tmp_path, "validation", "pt_201", {"Mandible": 7})
    (folder / "meta.json").unlink()
    if meta is not None:
        (folder / "meta.json").write_text(meta)
    with pytest.raises(InputError, match=said):
        find_cases(tmp_path, "openkbp", "validation")


def test_bad_files_are_named(tmp_path: Path) -> None:
    folder = write_scan(tmp_path / "a")
    (case,) = find_cases(tmp_path, "", "", listed(tmp_path, LINE))
    (folder / "labels.nii.gz").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"labels\.nii\.gz cannot be read"):
        case.read()
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((5, 5, 5), np.uint8)), str(folder / "labels.nii.gz"))
    with pytest.raises(InputError, match="not on the grid of its CT"):
        case.read()
    (folder / "labels.nii.gz").unlink()
    with pytest.raises(InputError, match=r"case a lacks .*labels.nii.gz"):
        case.read()
