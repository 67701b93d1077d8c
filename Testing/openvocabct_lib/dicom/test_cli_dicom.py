"""``openvocabct dicom list``, and DICOM in ``openvocabct segment``."""

from __future__ import annotations

import importlib.util
import json
from functools import partial
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner, Result

from OpenVocabCTLib.cli import app
from OpenVocabCTLib.dicom import dicomweb
from OpenVocabCTLib.prompts import PromptSet
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_lib.dicom.clinical_series import write_clinical, write_enhanced
from Testing.openvocabct_lib.dicom.test_reading import mixed, zipped
from Testing.openvocabct_lib.dicom_series import SERIES
from Testing.openvocabct_lib.fake_model import FakeStudy, fake_services, write_ct


def run(*words: Any) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], obj=fake_services())


def check_refusal(result: Result, message: str) -> None:
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_list_says_what_can_be_segmented(tmp_path: Path) -> None:
    mixed(tmp_path)
    result = run("dicom", "list", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    rows = {one["number"]: one for one in answer["series"]}
    assert {number: (one["modality"], one["images"], one["positions"]) for number, one in rows.items()} == {
        1: ("CT", 2, 0), 2: ("CT", 5, 5), 4: ("CT", 9, 9), 99: ("SR", 1, 0),
    }  # fmt: skip
    assert (rows[1]["reason"], rows[4]["reason"], rows[99]["reason"]) == ("localizer", "", "SR object")
    assert rows[4]["series_uid"] == SERIES
    assert "1 file that is not DICOM left out" in answer["notes"]
    table = run("dicom", "list", tmp_path).stdout.splitlines()
    assert len(table) == 5
    assert sum("can be segmented" in line for line in table) == 1
    # The one that `segment` reads.
    assert [number for number, one in rows.items() if one["taken"]] == [4]
    assert [line.endswith(SERIES) for line in table if "taken by default" in line] == [True]


def test_list_of_a_zip_names_no_patient(tmp_path: Path) -> None:
    write_clinical(tmp_path / "ct")
    result = run("dicom", "list", zipped(tmp_path / "ct", tmp_path / "x.zip"))
    assert result.exit_code == 0, result.output
    assert SERIES in result.stdout
    assert "Test" not in result.stdout
    assert "PID" not in result.stdout


@pytest.mark.parametrize("name", ["gone", "empty"])
def test_list_of_nothing(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    check_refusal(run("dicom", "list", tmp_path / name), f"{name} ")
    check_refusal(run("dicom", "list", tmp_path / name, "--json"), f"{name} ")


def test_help_of_the_group() -> None:
    assert "list" in run("dicom", "--help").stdout


# --- segment ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_zip", [False, True])
def test_segment_into_dicom_seg(as_zip: bool, tmp_path: Path) -> None:
    write_clinical(tmp_path / "ct", "tilted")
    source = zipped(tmp_path / "ct", tmp_path / "x.zip") if as_zip else tmp_path / "ct"
    result = run("segment", source, "-p", "bones", "-p", "heart", "-p", "body", "-o", tmp_path / "out.dcm")
    assert result.exit_code == 0, result.output
    seg = pydicom.dcmread(tmp_path / "out.dcm")
    assert [one.SegmentLabel for one in seg.SegmentSequence] == ["bones", "body"]
    contours = run("segment", source, "-p", "bones", "-o", tmp_path / "out.rtstruct.dcm")
    assert contours.exit_code == 0, contours.output
    assert pydicom.dcmread(tmp_path / "out.rtstruct.dcm").Modality == "RTSTRUCT"


def test_segment_into_fractional_seg(tmp_path: Path) -> None:
    write_clinical(tmp_path / "ct")
    result = run("segment", tmp_path / "ct", "-p", "bones", "-p", "body", "-o", tmp_path / "out.dcm", "--fractional")
    assert result.exit_code == 0, result.output
    seg = highdicom.seg.segread(tmp_path / "out.dcm")
    volume = CTVolume.read(tmp_path / "ct")
    uids = [frame.instance_uid for frame in volume.dicom.frames]  # type: ignore[union-attr]
    pixels = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    expected = FakeStudy(volume).probabilities(PromptSet.parse(["bones"])[0].text)
    np.testing.assert_allclose(pixels[..., 0], expected, atol=0.5 / 255 + 1e-6)


def test_nothing_found_writes_no_dicom_and_is_no_error(tmp_path: Path) -> None:
    write_clinical(tmp_path / "ct")
    result = run("segment", tmp_path / "ct", "-p", "heart", "-o", tmp_path / "out.dcm")
    assert result.exit_code == 0, result.output
    assert "not in this scan" in result.stdout
    assert "wrote" not in result.stderr
    assert "note: nothing was found, which DICOM cannot say: out.dcm was not written" in result.stderr
    assert not (tmp_path / "out.dcm").exists()


@pytest.mark.parametrize("name", ["out.dcm", "out.rtstruct.dcm"])
def test_nothing_found_leaves_no_earlier_answer(name: str, tmp_path: Path) -> None:
    write_clinical(tmp_path / "ct")
    words = ("segment", tmp_path / "ct", "-o", tmp_path / name, "--stats", tmp_path / "s.csv", "--json", "-p")
    first = json.loads(run(*words, "bones").stdout)
    assert (first["output"], first["written"]) == (
        str(tmp_path / name),
        [str(tmp_path / name), str(tmp_path / "s.csv")],
    )
    result = run(*words, "heart")
    assert result.exit_code == 0, result.output
    second = json.loads(result.stdout)
    assert (second["output"], second["written"]) == (None, [str(tmp_path / "s.csv")])
    assert second["notes"][-1].endswith(f"{name} was not written; the one of an earlier run was removed")
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("kind", ["a slice of the CT", "a segmentation that a person made", "no DICOM"])
def test_dicom_replaces_only_what_it_wrote_itself(kind: str, tmp_path: Path) -> None:
    paths = write_clinical(tmp_path / "ct")
    target = tmp_path / "ct" / "other.dcm"
    if kind == "a slice of the CT":
        target = paths[0].rename(target)
    elif kind == "no DICOM":
        target.write_text("a letter", encoding="utf-8")
    else:
        assert run("segment", tmp_path / "ct", "-p", "bones", "-o", target).exit_code == 0
        drawn = pydicom.dcmread(target)
        drawn.Manufacturer = "A Person"
        drawn.save_as(target)
    before = target.read_bytes()
    for prompt in ("bones", "heart"):
        result = run("segment", tmp_path / "ct", "-p", prompt, "-o", target)
        check_refusal(result, "other.dcm is there already and is no DICOM result of OpenVocabCT")
        assert "loading the model" not in result.stderr
    assert target.read_bytes() == before


def test_what_dicom_needs_is_looked_for_before_the_image_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clinical(tmp_path / "ct", FrameOfReferenceUID=None)
    result = run("segment", tmp_path / "ct", "-p", "bones", "-o", tmp_path / "out.dcm")
    check_refusal(result, "the CT's images lack a FrameOfReferenceUID")
    assert "image pass" not in result.stderr
    real = importlib.util.find_spec
    for missing in ("highdicom", "dicomweb_client"):
        found = partial(lambda gone, name, *rest: None if name == gone else real(name, *rest), missing)
        monkeypatch.setattr(importlib.util, "find_spec", found)
        monkeypatch.setattr(dicomweb, "find_spec", found)
        output = tmp_path / "out.dcm" if missing == "highdicom" else "stow+https://127.0.0.1:1/x"
        result = run("segment", tmp_path / "ct", "-p", "bones", "-o", output)
        check_refusal(result, missing.replace("_", "-"))
        assert "loading the model" not in result.stderr


@pytest.mark.parametrize(
    ("unfit", "output"),
    [
        ({"PatientSex": "U"}, "out.dcm"),
        ({"StudyTime": "10:11:12"}, "out.dcm"),
        ({"PatientSize": ""}, "out.rtstruct.dcm"),
    ],
)
def test_what_dicom_cannot_take_over_is_said_before_the_image_pass(
    unfit: dict[str, str], output: str, tmp_path: Path
) -> None:
    """Anonymisers write such values; after minutes of work it would be too late to choose another format."""
    for path in write_clinical(tmp_path / "ct", **unfit):
        # A size with a comma, which pydicom does not write.
        path.write_bytes(path.read_bytes().replace(b"\x10\x00\x20\x10DS\x00\x00", b"\x10\x00\x20\x10DS\x04\x001,80"))
    result = run("segment", tmp_path / "ct", "-p", "bones", "-o", tmp_path / output)
    check_refusal(result, f"the CT's images have a {next(iter(unfit))} that DICOM cannot take over: write .seg.nrrd")
    assert "image pass" not in result.stderr


def test_a_ct_in_several_multi_frame_files_is_refused_before_the_image_pass(tmp_path: Path) -> None:
    whole = write_enhanced(tmp_path / "whole")
    frames, pixels = list(whole.PerFrameFunctionalGroupsSequence), whole.PixelData
    size = 2 * whole.Rows * whole.Columns
    for number, part in enumerate((slice(0, 5), slice(5, 9))):
        whole.PerFrameFunctionalGroupsSequence, whole.NumberOfFrames = frames[part], part.stop - part.start
        whole.PixelData = pixels[part.start * size : part.stop * size]
        whole.SOPInstanceUID = whole.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
        (tmp_path / "ct").mkdir(exist_ok=True)
        whole.save_as(tmp_path / "ct" / str(number), enforce_file_format=True)
    result = run("segment", tmp_path / "ct", "-p", "bones", "-o", tmp_path / "out.dcm")
    check_refusal(result, "the CT is spread over several multi-frame files: write .seg.nrrd instead")
    assert "image pass" not in result.stderr
    assert run("segment", tmp_path / "ct", "-p", "bones", "-o", tmp_path / "out.rtstruct.dcm").exit_code == 0


def test_segment_one_series_of_many(tmp_path: Path) -> None:
    mixed(tmp_path / "study")
    result = run("segment", tmp_path / "study", "-p", "body", "-o", tmp_path / "out.nrrd", "--series", "2")
    assert result.exit_code == 0, result.output
    assert "series 2 (5 slices) read" in result.stderr or (tmp_path / "out.nrrd").exists()
    check_refusal(
        run("segment", tmp_path / "study", "-p", "body", "-o", tmp_path / "x.nrrd", "--series", "7"),
        "holds no CT series '7'",
    )


def test_dicom_for_a_nifti_is_refused_before_the_work(tmp_path: Path) -> None:
    ct = write_ct(tmp_path / "ct.nii.gz")
    result = run("segment", ct, "-p", "bones", "-o", tmp_path / "out.dcm")
    check_refusal(result, "DICOM can be written only for a CT that is read from DICOM")
    assert "loading the model" not in result.stderr


def test_only_dicom_seg_is_fractional(tmp_path: Path) -> None:
    write_clinical(tmp_path / "ct")
    result = run("segment", tmp_path / "ct", "-p", "bones", "-o", tmp_path / "out.seg.nrrd", "--fractional")
    check_refusal(result, "only DICOM SEG can be fractional")
