"""Which CTs are found under folders, with everything that lies beside them on a hospital's disk."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from OpenVocabCTLib.batch.inputs import find_cases
from OpenVocabCTLib.errors import InputError
from Testing.openvocabct_lib.ct_phantoms import ct_phantom
from Testing.openvocabct_lib.dicom_series import SERIES, write_series, write_slice

SEG = "1.2.840.10008.5.1.4.1.1.66.4"
DIRECTORY = "1.2.840.10008.1.3.10"


def found(tmp_path: Path, *inputs: str) -> tuple[list[str], list[str]]:
    """Return the names of the CTs below tmp_path/in, or of some inputs there, and what was said."""
    said: list[str] = []
    paths = [tmp_path / "in" / name for name in inputs or ("",)]
    return [case.name for case in find_cases(paths, tmp_path / "out", ".nrrd", said.append)], said


def test_a_directory_file_above_the_patients_hides_none(tmp_path: Path) -> None:
    for patient in ("p1", "p2"):
        write_series(tmp_path / "in" / patient / "s", ct_phantom(), SeriesInstanceUID=f"{SERIES}.{patient[1]}")
    write_slice(tmp_path / "in" / "DICOMDIR", ct_phantom()[0], (0, 0, 0), SOPClassUID=DIRECTORY)
    write_slice(tmp_path / "in" / "p1" / "index", ct_phantom()[0], (0, 0, 0), SOPClassUID=DIRECTORY, Modality=None)
    (tmp_path / "in" / "._x.dcm").write_bytes(b"what a Mac leaves")
    assert found(tmp_path) == (["p1/s", "p2/s"], ["p1 holds DICOM that is no CT: passed over"])


def test_other_dicom_objects_hide_no_volume_file(tmp_path: Path) -> None:
    write_slice(tmp_path / "in" / "seg.dcm", ct_phantom()[0], (0, 0, 0), SOPClassUID=SEG, Modality="SEG")
    for name in ("a.nrrd", "b.nii.gz"):
        (tmp_path / "in" / name).touch()
    assert found(tmp_path) == (["a.nrrd", "b.nii.gz"], ["in holds DICOM that is no CT: passed over"])


def test_volume_files_beside_and_below_a_series_are_cts_too(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "p", ct_phantom())
    (tmp_path / "in" / "p" / "deep").mkdir()
    for name in ("p/a.nrrd", "p/deep/b.nrrd"):
        (tmp_path / "in" / name).touch()
    assert found(tmp_path) == (["p", "p/a.nrrd", "p/deep/b.nrrd"], [])


def test_a_series_is_one_ct_with_what_is_below_it(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "p", ct_phantom())
    write_series(tmp_path / "in" / "p" / "more", ct_phantom())
    write_series(tmp_path / "in" / "q", ct_phantom())
    assert found(tmp_path) == (["p", "q"], ["p/more is read with the images in p, as one CT"])


def test_links_to_folders_are_named(tmp_path: Path) -> None:
    """Cohorts are often put together of links; a patient that is left out without a word is not missed."""
    write_series(tmp_path / "archive" / "p1", ct_phantom())
    write_series(tmp_path / "in" / "p2", ct_phantom())
    (tmp_path / "in" / "p1").symlink_to(tmp_path / "archive" / "p1")
    assert found(tmp_path) == (["p2"], ["p1 is a link to a folder: passed over, give it as an input itself"])
    assert found(tmp_path, "p1", "p2") == (["p1", "p2"], [])


def test_damaged_dicom_is_reported_by_reading_it_unless_there_is_a_ct(tmp_path: Path) -> None:
    (tmp_path / "in" / "p").mkdir(parents=True)
    (tmp_path / "in" / "p" / "1.dcm").write_bytes(b"cut off")
    (tmp_path / "in" / "stray.dcm").write_bytes(b"cut off")
    write_series(tmp_path / "in" / "q", ct_phantom())
    assert found(tmp_path) == (["q", "p"], ["in holds DICOM that cannot be read: passed over"])


def test_zips_of_dicom_ct_are_cts_and_others_are_named(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", ct_phantom())
    write_slice(tmp_path / "seg" / "x", ct_phantom()[0], (0, 0, 0), SOPClassUID=SEG, Modality="SEG")
    (tmp_path / "in").mkdir()
    for name in ("ct", "seg"):
        with zipfile.ZipFile(tmp_path / "in" / f"{name}.ZIP", "w") as archive:
            archive.writestr("readme.txt", "hello")
            for path in (tmp_path / name).iterdir():
                archive.write(path, path.name)
    (tmp_path / "in" / "cut.zip").write_bytes(b"PK")
    names, said = found(tmp_path)
    assert names == ["ct.ZIP"]
    assert said[0].startswith("cut.zip passed over: cut.zip is not a zip that can be read")
    assert said[1] == "seg.ZIP holds DICOM that is no CT: passed over"


def test_a_folder_without_a_ct_fails_beside_others_and_alone(tmp_path: Path) -> None:
    (tmp_path / "in" / "empty").mkdir(parents=True)
    (tmp_path / "in" / "a.nrrd").touch()
    assert found(tmp_path, "empty", "a.nrrd") == (["a.nrrd", "empty"], [])
    with pytest.raises(InputError, match="no CT in the input"):
        found(tmp_path, "empty")


def test_a_change_in_a_subfolder_changes_the_fingerprint_and_a_result_does_not(tmp_path: Path) -> None:
    write_series(tmp_path / "in", ct_phantom()[:3])
    write_series(tmp_path / "in" / "more", ct_phantom()[3:])
    (case,) = find_cases([tmp_path / "in"], tmp_path / "in" / "results", ".nrrd")
    before = case.fingerprint()
    (tmp_path / "in" / "results").mkdir()
    for name in ("in.nrrd", "manifest.jsonl", "summary.csv"):
        (tmp_path / "in" / "results" / name).write_text("a result")
    assert case.fingerprint() == before
    shutil.copy(next((tmp_path / "in" / "more").iterdir()), tmp_path / "in" / "more" / "another")
    assert case.fingerprint() != before
