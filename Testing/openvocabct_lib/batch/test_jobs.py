from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from OpenVocabCTLib.batch.inputs import Case
from OpenVocabCTLib.batch.jobs import Job, check_distinct, jobs_for, read_jobs
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_lib.ct_phantoms import ct_phantom
from Testing.openvocabct_lib.dicom_series import SERIES, write_series


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_of_a_table(tmp_path: Path) -> None:
    table = write(
        tmp_path / "jobs.csv",
        'input,prompts,output,threshold\na.nii.gz,"left lung; spinal cord",x/one.nii.gz,0.4\nsub/b.nrrd,,,\n',
    )
    first, second = read_jobs(table, tmp_path / "out", ".seg.nrrd", ["bones"], 0.6)
    assert (first.prompts, first.threshold) == (("left lung", "spinal cord"), 0.4)
    assert (first.case.source, first.case.output) == (tmp_path / "a.nii.gz", tmp_path / "out/x/one.nii.gz")
    assert (second.prompts, second.threshold) == (("bones",), 0.6)
    assert second.case.output == tmp_path / "out/b.seg.nrrd"


def test_lines_of_json(tmp_path: Path) -> None:
    rows = [{"input": str(tmp_path / "a.mha"), "prompts": ["liver", "bones"]}, {"input": "b.nii", "prompts": "body"}]
    lines = write(tmp_path / "jobs.jsonl", "\n\n".join(json.dumps(row) for row in rows))
    first, second = read_jobs(lines, tmp_path / "out", ".nii.gz")
    assert first.prompts == ("liver", "bones")
    assert first.case.source == tmp_path / "a.mha"
    assert second.prompts == ("body",)
    assert second.case.output == tmp_path / "out/b.nii.gz"


def test_a_cell_with_several_lines_is_as_many_prompts(tmp_path: Path) -> None:
    """Spreadsheets break lines within a cell; joined, the words would be another prompt."""
    table = write(tmp_path / "jobs.csv", 'input,prompts\r\na.nii,"liver\nbones;\r\nleft lung"\r\nb.nii,body\r\n')
    jobs = read_jobs(table, tmp_path / "out", ".seg.nrrd")
    assert [job.prompts for job in jobs] == [("liver", "bones", "left lung"), ("body",)]


def test_empty_columns_of_a_spreadsheet_are_no_columns(tmp_path: Path) -> None:
    table = write(tmp_path / "jobs.csv", "input,prompts,,\na.nii,liver,,\n")
    assert [job.prompts for job in read_jobs(table, tmp_path / "out", ".seg.nrrd")] == [("liver",)]


def test_what_unicode_calls_a_line_end_parts_no_line(tmp_path: Path) -> None:
    lines = write(
        tmp_path / "jobs.jsonl", '{"input": "a.nii", "prompts": "left\u2028lung"}\r\n{"input": "b\x85.nii"}\n'
    )
    first, second = read_jobs(lines, tmp_path / "out", ".seg.nrrd", ["bones"])
    assert (first.prompts, second.case.source.name) == (("left\u2028lung",), "b\x85.nii")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("jobs.txt", "a.nii", "no job file"),
        ("jobs.csv", "", "no job"),
        ("jobs.csv", "input,prompt\na.nii,liver\n", "unknown field 'prompt'"),
        ("jobs.csv", "input,prompts\n,liver\n", "row 2 names no input"),
        ("jobs.csv", "input,prompts\na.nii,\n", "row 2 asks for nothing"),
        ("jobs.csv", "input,prompts\na.nii,liver,bones\n", "more fields"),
        ("jobs.csv", 'input,prompts\na.nii,"liver\nb.nii,bones\nc.nii,body\n', "no proper table"),
        ("jobs.csv", "input,prompts,prompts\na.nii,liver,bones\n", "two columns 'prompts'"),
        ("jobs.csv", "input,prompts,threshold\na.nii,liver,2\n", "no probability"),
        ("jobs.csv", "input,prompts,threshold\na.nii,liver,nan\n", "no probability"),
        ("jobs.jsonl", "{", "line 1 is not JSON"),
        ("jobs.jsonl", "[1]", "no object"),
        ("jobs.jsonl", '{"input": 3, "prompts": "liver"}', "names no input"),
        ("jobs.jsonl", '{"input": "a.nii", "prompts": [1]}', "asks for nothing"),
        ("jobs.jsonl", '{"input": "a.nii", "prompts": "liver", "output": "../a.nii.gz"}', "outside"),
        ("jobs.jsonl", '{"input": "a.nii", "prompts": "liver", "output": "/tmp/a.nii.gz"}', "outside"),
        ("jobs.jsonl", '{"input": "a.nii", "prompts": "liver", "output": "a.png"}', "unknown format"),
        ("jobs.jsonl", '{"input": "a.nii", "prompts": "liver", "output": "a.Nii"}', "upper and lower case"),
    ],
)
def test_bad_job_files_are_refused(name: str, text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        read_jobs(write(tmp_path / name, text), tmp_path / "out", ".seg.nrrd")


def test_no_file_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_jobs(tmp_path / "jobs.csv", tmp_path, ".nrrd")
    (tmp_path / "jobs.csv").write_bytes(b"input,prompts\n\xff\xfe,liver\n")
    with pytest.raises(InputError, match="UTF-8"):
        read_jobs(tmp_path / "jobs.csv", tmp_path, ".nrrd")


def test_a_row_with_a_folder_means_what_segment_reads_from_it(tmp_path: Path) -> None:
    """Not the first of its CTs by name, which of a patient's folder is the localizer or any other series."""
    scout = {"SeriesInstanceUID": f"{SERIES}.8", "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    write_series(tmp_path / "patient/1_scout", ct_phantom()[:2], **scout)
    write_series(tmp_path / "patient/2_thick", ct_phantom()[:4], SeriesInstanceUID=f"{SERIES}.7")
    write_series(tmp_path / "patient/3_thin", ct_phantom())
    (tmp_path / "single").mkdir()
    (tmp_path / "single" / "ct.nrrd").touch()
    (tmp_path / "letters").mkdir()
    table = write(tmp_path / "jobs.csv", "input\npatient\nsingle\nletters\n")
    jobs = read_jobs(table, tmp_path / "out", ".seg.nrrd", ["liver"])
    assert [job.case.source for job in jobs] == [
        tmp_path / "patient", tmp_path / "single" / "ct.nrrd", tmp_path / "letters",
    ]  # fmt: skip
    assert [job.case.output.name for job in jobs] == ["patient.seg.nrrd", "ct.seg.nrrd", "letters.seg.nrrd"]
    np.testing.assert_array_equal(CTVolume.read(jobs[0].case.source).array, ct_phantom())


def test_a_row_with_a_folder_of_several_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    for name in ("a.nrrd", "b.nrrd"):
        (tmp_path / "many" / name).touch()
    table = write(tmp_path / "jobs.csv", "input\nmany\n")
    with pytest.raises(InputError, match="row 2: many is a folder with 2 CTs: name each"):
        read_jobs(table, tmp_path / "out", ".seg.nrrd", ["liver"])


def test_two_results_in_one_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nii").touch()
    jobs = jobs_for([tmp_path / "a.nii"], tmp_path / "out", ".nrrd", ["liver"])
    check_distinct(jobs)
    with pytest.raises(InputError, match=r"written to a\.nrrd"):
        check_distinct([*jobs, *jobs])


def test_two_names_of_one_result_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out" / "s").mkdir(parents=True)
    (tmp_path / "out" / "link").symlink_to("s")

    def check(*names: str) -> None:
        check_distinct(Job(Case(tmp_path / name, name, tmp_path / "out" / name), ("liver",)) for name in names)

    check("s/a.nrrd", "S/A.nrrd")
    with pytest.raises(InputError, match=r"written to a\.nrrd"):
        check("s/a.nrrd", "link/a.nrrd")
    monkeypatch.setattr(sys, "platform", "darwin")  # whose disks do not tell upper from lower case
    with pytest.raises(InputError, match=r"written to A\.nrrd"):
        check("s/a.nrrd", "S/A.nrrd")


def test_settings_change_with_everything_that_the_result_depends_on(tmp_path: Path) -> None:
    source = write(tmp_path / "a.nii", "1")
    job = Job(Case(source, "a", tmp_path / "a.nrrd"), ("liver",), None)
    settings = job.settings("weights", "error")
    assert settings == Job(Case(source, "a", tmp_path / "a.nrrd"), ("liver",), None).settings("weights", "error")
    others = [
        Job(job.case, ("bones",), None).settings("weights", "error"),
        Job(job.case, ("liver",), 0.5).settings("weights", "error"),
        job.settings("other weights", "error"),
        job.settings("weights", "first"),
    ]
    write(source, "changed")
    assert len({settings, *others, job.settings("weights", "error")}) == 6
