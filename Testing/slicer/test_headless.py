from __future__ import annotations

import csv
import importlib.util
import os
import runpy
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from OpenVocabCTLib.errors import InputError, ModelError, OpenVocabCTError, ResourceError
from OpenVocabCTLib.output import atomic
from OpenVocabCTLib.output.segmentation import Segmentation
from OpenVocabCTLib.worker.errors import WorkerLost
from OpenVocabCTLib.worker.process import WorkerProcess
from OpenVocabCTLib.worker.session import Session
from OpenVocabCTLib.worker.steps import run
from OpenVocabCTSlicer import headless
from OpenVocabCTSlicer.batch_inputs import find_cases
from OpenVocabCTSlicer.batch_options import parse
from OpenVocabCTSlicer.batch_summary import COLUMNS
from OpenVocabCTSlicer.headless import main, start_session
from Testing.openvocabct_lib.ct_phantoms import ct_phantom
from Testing.openvocabct_lib.dicom.clinical_series import write_clinical
from Testing.openvocabct_lib.output.output_cases import box_mask, read_with_slicer
from Testing.slicer.fake_session import FakeSession

SCRIPT = Path(__file__).resolve().parents[2] / "OpenVocabCT" / "Scripts" / "batch.py"
SHAPE = (12, 16, 16)
LIVER = box_mask(SHAPE, (0, 0, 0), (6, 8, 8))
CORD = box_mask(SHAPE, (5, 5, 5), (9, 12, 12))
SPLEEN = box_mask(SHAPE, (9, 12, 12), (12, 16, 16))
TABLE = {"liver": LIVER, "spinal cord": CORD, "spleen": SPLEEN, "gallbladder": None}
"""One CT after the other: an error to raise, or None for an answer."""
Errors = Sequence[BaseException | None]


class Engine(FakeSession):
    """A fake session whose errors follow a script, one entry per CT."""

    def __init__(self, errors: Errors = ()) -> None:
        super().__init__(TABLE)
        self.script = list(errors)

    def segment(self, *arguments: Any, **named: Any) -> Any:
        error = self.script.pop(0) if self.script else None
        answer: Segmentation = yield from super().segment(*arguments, **named)
        if error is not None:
            raise error
        return answer


def write_ct(path: Path) -> Path:
    import SimpleITK as sitk

    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(ct_phantom(SHAPE))
    image.SetSpacing((2.0, 2.0, 3.0))
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture
def cts(tmp_path: Path) -> Path:
    for name in ("a.nii.gz", "b.nrrd", "deeper/c.mha"):
        write_ct(tmp_path / "in" / name)
    return tmp_path / "in"


def batch(engine: Engine, *words: str | Path) -> int:
    code = main([str(word) for word in words], lambda _folder: engine)
    assert engine.closed or not engine.calls
    return code


def table(output: Path) -> list[dict[str, str]]:
    with (output / "summary.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_all_cts_of_a_folder(cts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "out"
    assert (
        batch(Engine(), "--input", cts, "--prompt", "liver", "gallbladder", "--prompt", "spinal cord", "--output", out)
        == 0
    )
    assert files(out) == {"summary.csv", "a.seg.nrrd", "b.seg.nrrd", "deeper/c.seg.nrrd"}
    for name in ("a", "b", "deeper/c"):
        liver, cord = read_with_slicer(out / f"{name}.seg.nrrd", SHAPE)
        np.testing.assert_array_equal(liver.mask, LIVER)
        np.testing.assert_array_equal(cord.mask, CORD)
    rows = table(out)
    assert [(r["input"], r["prompt"], r["found"]) for r in rows[:3]] == [
        ("a.nii.gz", "liver", "true"),
        ("a.nii.gz", "gallbladder", "false"),
        ("a.nii.gz", "spinal cord", "true"),
    ]
    assert len(rows) == 9
    assert rows[0]["output"] == "a.seg.nrrd"
    assert float(rows[0]["volume_ml"]) == pytest.approx(LIVER.sum() * 12 / 1000)
    assert rows[0]["code_value"] == "10200004"
    assert rows[1]["reason"] == "not in this scan"
    assert rows[1]["volume_ml"] == ""
    # As "only left rib 1, which the model was trained on": the numbers mean little without it.
    assert {row["notes"] for row in rows} == {"a note"}
    printed = capsys.readouterr()
    assert printed.out == f"3 done, 0 finished before, 0 failed: {out / 'summary.csv'}\n"
    lines = printed.err.splitlines()
    assert "[1/3] a.nii.gz: reading" in lines
    assert "[3/3] deeper/c.mha: encoding 50%" in lines
    assert "[2/3] b.nrrd: found 2 of 3, wrote b.seg.nrrd" in lines


def test_label_maps(cts: Path, tmp_path: Path) -> None:
    import SimpleITK as sitk

    out = tmp_path / "out"
    words = ("--input", cts / "a.nii.gz", "--prompt", "spleen", "liver", "--format", "nii.gz", "--output", out)
    assert batch(Engine(), *words) == 0
    image = sitk.ReadImage(str(out / "a.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), SPLEEN * 1 + LIVER * 2)
    np.testing.assert_allclose(image.GetSpacing(), (2, 2, 3))


def test_overlap_in_a_label_map_is_reported_or_decided(cts: Path, tmp_path: Path) -> None:
    words = ("--input", cts / "a.nii.gz", "--prompt", "spinal cord", "liver", "--format", "nii.gz", "--output")
    assert batch(Engine(), *words, tmp_path / "one") == 2
    assert files(tmp_path / "one") == {"summary.csv"}
    assert batch(Engine(), *words, tmp_path / "two", "--overlap", "first") == 0
    assert "a.nii.gz" in files(tmp_path / "two")


def test_bad_files_are_reported_and_skipped(cts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cts / "0bad.nrrd").write_bytes(b"no volume")
    (cts / "empty.nii.gz").touch()
    (cts / "notes.txt").write_text("not looked at")
    out = tmp_path / "out"
    engine = Engine()
    assert batch(engine, "--input", cts, cts / "missing.nii", "--prompt", "liver", "--output", out) == 2
    assert len(engine.calls) == 3
    failed = {row["input"]: row["reason"] for row in table(out) if row["status"] == "failed"}
    assert set(failed) == {"0bad.nrrd", "empty.nii.gz", "missing.nii"}
    assert "does not exist" in failed["missing.nii"]
    assert sum(row["status"] == "done" for row in table(out)) == 3
    err = capsys.readouterr().err
    assert "[1/6] 0bad.nrrd: error: " in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("errors", "code", "asked"),
    [
        ((None, InputError("odd", "look"), None), 2, 3),
        ((ResourceError("out of memory", "crop it"), None, None), 4, 3),
        ((ModelError("no weights", "install"),), 3, 1),
        ((WorkerLost("ended", "again"), None, None), 1, 3),
        ((WorkerLost("ended", "again"), WorkerLost("ended", "again"), None), 1, 2),
        ((InputError("odd", "look"), ResourceError("out of memory", "crop it"), None), 4, 3),
        ((KeyboardInterrupt(),), 130, 1),
    ],
    ids=["bad input", "memory", "model", "worker lost", "worker lost twice", "the worse one", "ctrl-c"],
)
def test_exit_codes(cts: Path, tmp_path: Path, errors: Errors, code: int, asked: int) -> None:
    engine = Engine(errors)
    assert batch(engine, "--input", cts, "--prompt", "liver", "--output", tmp_path / "out") == code
    assert len(engine.calls) == asked
    assert engine.closed


def test_a_full_disk_ends_the_batch(cts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    engine = Engine()
    monkeypatch.setattr(atomic, "_flush_to_disk", full)
    out = tmp_path / "out"
    assert batch(engine, "--input", cts, "--prompt", "liver", "--output", out) == 4
    assert len(engine.calls) == 1
    assert files(out) == set()


def test_resume_does_what_is_left(cts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("--input", cts, "--prompt", "liver", "--output", out, "--resume")
    assert batch(Engine((None, InputError("odd", "look"), KeyboardInterrupt())), *words) == 130
    engine = Engine()
    assert batch(engine, *words) == 0
    assert len(engine.calls) == 2
    assert {(row["input"], row["status"]) for row in table(out)} == {
        ("a.nii.gz", "done"),
        ("b.nrrd", "done"),
        ("deeper/c.mha", "done"),
    }
    engine = Engine()
    assert batch(engine, *words) == 0
    assert not engine.calls


@pytest.mark.parametrize("change", ["prompt", "threshold", "input", "output gone", "no resume"])
def test_resume_does_again_what_changed(cts: Path, tmp_path: Path, change: str) -> None:
    out = tmp_path / "out"
    ct = cts / "a.nii.gz"
    words: list[str | Path] = ["--input", ct, "--prompt", "liver", "--output", out, "--resume"]
    assert batch(Engine(), *words) == 0
    if change == "prompt":
        words[3:4] = ["spleen"]
    if change == "threshold":
        words += ["--threshold", "0.4"]
    if change == "input":
        os.utime(ct, ns=(1, 1))
    if change == "output gone":
        (out / "a.seg.nrrd").unlink()
    if change == "no resume":
        words.remove("--resume")
    engine = Engine()
    assert batch(engine, *words) == 0
    assert len(engine.calls) == 1
    assert len(table(out)) == 1


@pytest.mark.parametrize("resume", [(), ("--resume",)])
def test_a_loop_over_patients_loses_no_result(
    tmp_path: Path, resume: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    # The CTs of all patients have the same name, and each run is about one of them.
    first, second = (write_ct(tmp_path / name / "ct.nii.gz") for name in ("first", "second"))
    out = tmp_path / "out"
    words = ("--prompt", "liver", "--output", out, *resume)
    assert batch(Engine(), "--input", first, *words) == 0
    before = (out / "ct.seg.nrrd").read_bytes(), table(out)
    engine = Engine()
    assert batch(engine, "--input", second, *words) == 2
    assert not engine.calls
    assert "ct.seg.nrrd in the output folder is the result of another CT called ct.nii.gz" in capsys.readouterr().err
    assert ((out / "ct.seg.nrrd").read_bytes(), table(out)) == before
    first.rename(tmp_path / "ct.nii.gz")  # moved, so that nobody knows whether it is the same
    assert batch(Engine(), "--input", second, *words) == 0


def test_runs_keep_the_rows_of_each_other(cts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for ct in ("a.nii.gz", "b.nrrd", "a.nii.gz"):
        assert batch(Engine(), "--input", cts / ct, "--prompt", "liver", "--output", out) == 0
    assert {row["input"]: row["source"] for row in table(out)} == {n: str(cts / n) for n in ("a.nii.gz", "b.nrrd")}
    assert len(table(out)) == 2


def test_batches_at_the_same_time_keep_the_rows_of_each_other(cts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    class Meanwhile(Engine):
        """Another batch does its CT while this one does the first of two."""

        def segment(self, *arguments: Any, **named: Any) -> Any:
            if not self.calls:
                assert batch(Engine(), "--input", cts / "deeper", "--prompt", "liver", "--output", out) == 0
            return super().segment(*arguments, **named)

    words = ("--input", cts / "a.nii.gz", cts / "b.nrrd", "--prompt", "liver", "--output", out)
    assert batch(Meanwhile(), *words) == 0
    assert {row["input"] for row in table(out)} == {"a.nii.gz", "b.nrrd", "c.mha"}
    assert len(table(out)) == 3


def test_a_table_of_an_earlier_version_is_taken_up(cts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("--input", cts, "--prompt", "liver", "--output", out, "--resume")
    assert batch(Engine(), *words) == 0
    rows = [list(row.values())[:-2] for row in table(out)]
    with (out / "summary.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([COLUMNS[:-2], *rows])
    engine = Engine()
    assert batch(engine, *words) == 0
    assert not engine.calls


def test_a_summary_that_is_another_table_is_not_overwritten(cts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "summary.csv").write_text("my,own\n1,2\n")
    assert batch(Engine(), "--input", cts, "--prompt", "liver", "--output", out, "--resume") == 2
    assert (out / "summary.csv").read_text() == "my,own\n1,2\n"


GOOD = ["--input", "ct.nii.gz", "--prompt", "liver", "--output", "out"]


@pytest.mark.parametrize(
    "words",
    [
        [],
        GOOD[:4],
        GOOD[2:],
        [*GOOD, "--resum"],
        [*GOOD, "--unknown"],
        ["word", *GOOD],
        [*GOOD, "--format", "dcm"],
        [*GOOD, "--threshold", "1.5"],
        [*GOOD, "--threshold", "nan"],
        [*GOOD, "--threshold", "high"],
        [*GOOD, "--prompt", " "],
        [*GOOD, "--overlap", "middle"],
        [*GOOD, "--prompt"],
    ],
)
def test_wrong_usage_is_one_line_and_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words, lambda _folder: pytest.fail("nothing is to be started")) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert printed.err.startswith("error: ")


def test_options_are_read() -> None:
    options = parse([*GOOD, "--input", "x", "y", "--prompt", "a, b", "--model", "m", "--device", "cpu", "--resume"])
    assert options.inputs == (Path("ct.nii.gz"), Path("x"), Path("y"))
    assert options.prompts == ("liver", "a, b")
    assert (options.model, options.device, options.resume, options.suffix) == ("m", "cpu", True, ".seg.nrrd")


def test_no_ct_at_all(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert main(["--input", str(tmp_path / "in"), "--prompt", "liver", "--output", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file(cts: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    assert batch(Engine(), "--input", cts, "--prompt", "liver", "--output", tmp_path / "out") == 2
    assert (tmp_path / "out").read_text() == "in the way"


def found(inputs: Iterable[Path], out: Path) -> list[tuple[str, str]]:
    cases = find_cases(inputs, out, ".seg.nrrd")
    return [(case.name, case.output.relative_to(out).as_posix()) for case in cases]


def test_dicom_folders_are_one_ct_each_and_results_are_not_searched(tmp_path: Path) -> None:
    root = tmp_path / "in"
    for name in ("one/1.dcm", "one/2.dcm", "two/deep/IM0001", "x.nii", "x.seg.nrrd", ".hidden.nii", "out/x.nii"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\0" * 128 + b"DICM")
    out = root / "out"
    assert found([root], out) == [
        ("x.nii", "x.seg.nrrd"),
        ("one", "one.seg.nrrd"),
        ("two/deep", "two/deep.seg.nrrd"),
    ]
    assert found([root / "one", root / "one", root / "x.nii"], out) == [
        ("one", "one.seg.nrrd"),
        ("x.nii", "x.seg.nrrd"),
    ]


def test_equal_names_stay_apart_or_are_refused(tmp_path: Path) -> None:
    for name in ("p/ct.nii", "p/ct.nrrd", "q/ct.nii"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    out = tmp_path / "out"
    assert found([tmp_path / "p"], out) == [("ct.nii", "ct.nii.seg.nrrd"), ("ct.nrrd", "ct.nrrd.seg.nrrd")]
    assert found([tmp_path], out)[-1] == ("q/ct.nii", "q/ct.seg.nrrd")
    with pytest.raises(InputError, match=r"two inputs.*give the folder that holds both"):
        found([tmp_path / "p" / "ct.nii", tmp_path / "q" / "ct.nii"], out)


def test_a_result_never_replaces_its_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ct = write_ct(tmp_path / "ct.nii.gz")
    before = ct.read_bytes()
    words = ("--input", ct, "--prompt", "liver", "--output", tmp_path, "--format", "nii.gz")
    assert batch(Engine(), *words) == 2
    assert "the result ct.nii.gz would replace the input ct.nii.gz" in capsys.readouterr().err
    assert ct.read_bytes() == before


def test_a_table_of_something_else_is_not_overwritten(
    cts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "summary.csv").write_text("patient,diagnosis\n1,x\n")
    assert batch(Engine(), "--input", cts, "--prompt", "liver", "--output", out) == 2
    assert "summary.csv in the output folder is no table of a batch" in capsys.readouterr().err
    assert files(out) == {"summary.csv"}
    (out / "summary.csv").write_text("input,output,status,prompt,name\n")  # as an earlier version began it
    assert batch(Engine(), "--input", cts, "--prompt", "liver", "--output", out) == 0


def test_an_older_pydicom_stops_dicom_only(
    cts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in Slicer 5.10, which brings pydicom 2.4."""
    write_clinical(cts / "0 series")
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pydicom.pixels" else find_spec(name))
    assert batch(Engine(), "--input", cts, "--prompt", "liver", "--output", tmp_path / "out") == 2
    assert "0 series: error: DICOM is read with pydicom 3, which this Python does not have" in capsys.readouterr().err
    assert {row["input"]: row["status"] for row in table(tmp_path / "out")} == {
        "0 series": "failed",
        "a.nii.gz": "done",
        "b.nrrd": "done",
        "deeper/c.mha": "done",
    }


def test_names_that_a_spreadsheet_would_run_are_quoted(tmp_path: Path) -> None:
    ct = write_ct(tmp_path / "=cmd.nrrd")
    out = tmp_path / "out"
    words = ("--input", ct, "--prompt", "liver", "--output", out, "--resume")
    assert batch(Engine(), *words) == 0
    assert table(out)[0]["input"] == "'=cmd.nrrd"
    engine = Engine()
    assert batch(engine, *words) == 0
    assert not engine.calls


def test_the_script_finds_the_packages_from_any_folder(tmp_path: Path) -> None:
    """As a plain Python outside the checkout sees it: without installed packages of ours, without PYTHONPATH."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--input", "none.nii", "--prompt", "liver", "--output", "o", "--frobnicate"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: unrecognized arguments: --frobnicate")


def test_the_script_runs_as_slicer_runs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slicer executes the text in its main module, with the words after the script in sys.argv."""
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--input", str(tmp_path / "no.nii"), "--prompt", "x", "--output"])
    with pytest.raises(SystemExit) as end:
        exec(compile(SCRIPT.read_text(), "<string>", "exec"), {"__name__": "__main__"})
    assert end.value.code == 2
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert end.value.code == 2


def test_a_bug_ends_the_script_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a window Slicer would wait for ever after an exception."""

    def broken(_arguments: Sequence[str]) -> int:
        raise ValueError("a bug")

    monkeypatch.setattr(headless, "main", broken)
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert end.value.code == 1
    assert "ValueError: a bug" in capsys.readouterr().err


def test_nothing_heavy_is_imported_in_this_process(tmp_path: Path) -> None:
    """Torch inside the Slicer process crashes some versions; it belongs into the worker."""
    code = (
        f"import sys; sys.path[:0] = {[str(SCRIPT.parents[1]), str(SCRIPT.parents[2])]!r}\n"
        "import OpenVocabCTSlicer.headless, OpenVocabCTSlicer.logic, OpenVocabCTSlicer.combine\n"
        "import OpenVocabCTSlicer.parameters, OpenVocabCTSlicer.history\n"
        "print(sorted({'torch', 'transformers', 'yaml', 'SimpleITK', 'scipy', 'qt'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_worker_is_started_with_this_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[str, Path]] = []

    def start(python: str, *, library_folder: Path, log: Path) -> Any:
        started.append((python, library_folder))
        raise WorkerLost("not really", "never mind")

    monkeypatch.setattr(WorkerProcess, "start", start)
    session = start_session(tmp_path)
    assert isinstance(session, Session)
    with pytest.raises(OpenVocabCTError, match="not really"):
        run(session.status())
    assert started == [(sys.executable, SCRIPT.parents[2])]
