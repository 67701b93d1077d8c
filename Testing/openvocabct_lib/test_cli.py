from __future__ import annotations

import errno
import io
import json
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner, Result

from OpenVocabCTLib import __version__
from OpenVocabCTLib.cli import app
from OpenVocabCTLib.commands.results import decimal
from OpenVocabCTLib.commands.sample import REFERENCED_PROMPTS, Sample, dice
from OpenVocabCTLib.commands.services import Services
from OpenVocabCTLib.commands.terminal import Progress, one_line
from OpenVocabCTLib.errors import InputError, ModelError, ResourceError
from OpenVocabCTLib.models.checkpoints import MODELS_VARIABLE
from Testing.openvocabct_lib.ct_phantoms import ct_phantom
from Testing.openvocabct_lib.dicom_series import write_series
from Testing.openvocabct_lib.fake_model import TILES, fake_services, write_ct
from Testing.openvocabct_lib.model_folder import write_model_folder

ROOT = Path(__file__).resolve().parents[2]
ESCAPES = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ct(tmp_path_factory.mktemp("ct") / "ct.nii.gz")


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(MODELS_VARIABLE, str(tmp_path / "models"))
    return write_model_folder(tmp_path / "models" / "test-model")


def run(*words: str | Path, services: Services | None = None) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], obj=services or fake_services())


def segment(ct: Path, output: Path, *words: str | Path, prompts: tuple[str, ...] = ("bones",)) -> Result:
    return run("segment", ct, *(word for prompt in prompts for word in ("-p", prompt)), "-o", output, *words)


def assert_one_line_error(result: Result, code: int) -> str:
    """Exit code, exactly one line "error: what: todo" on stderr's end, nothing on stdout."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert re.fullmatch(r"error: [^:].*: .+", last)
    assert "Traceback" not in result.stderr
    assert result.stderr.count("error:") == 1
    return last


# Answers


@pytest.mark.parametrize(("mean_hu", "shown"), [(-0.4, "0"), (0.4, "0"), (-0.6, "-1"), (None, "-")])
def test_water_has_no_sign(mean_hu: float | None, shown: str) -> None:
    assert decimal(mean_hu, 0) == shown


def test_table_on_stdout_progress_on_stderr(ct: Path, tmp_path: Path) -> None:
    result = segment(ct, tmp_path / "out.seg.nrrd", prompts=("bones", "heart"))
    assert result.exit_code == 0
    header, bones, heart = result.stdout.splitlines()
    assert header.split() == ["prompt", "found", "volume", "ml", "mean", "HU"]
    assert re.fullmatch(r"bones +yes +\d+\.\d +\d+", bones)
    assert re.fullmatch(r"heart +no +- +- +not in this scan", heart)
    assert "image pass: 8/8" in result.stderr
    assert "note: a note" in result.stderr
    assert str(tmp_path / "out.seg.nrrd") in result.stderr
    assert len(result.stderr.splitlines()) < 12


def test_json_is_one_object(ct: Path, tmp_path: Path) -> None:
    result = segment(ct, tmp_path / "out.nii.gz", "--json", "--threshold", "0.25", prompts=("bones", "lt kidney"))
    report = json.loads(result.stdout)
    bones, kidney = report["segments"]
    expected = {
        "id", "prompt", "canonical", "code", "found", "reason", "presence", "volume_ml", "mean_hu", "threshold",
        "seconds", "doubts",
    }  # fmt: skip
    assert set(bones) == set(kidney) == expected
    assert bones["found"] is True
    assert bones["volume_ml"] > 0
    assert bones["mean_hu"] > 300
    assert bones["threshold"] == 0.25
    assert kidney | {"seconds": 0} == {
        "id": "left_kidney",
        "prompt": "lt kidney",
        "canonical": "left_kidney",
        "code": {"scheme": "SCT", "value": "64033007", "meaning": "Kidney", "modifier": "Left"},
        "found": False,
        "reason": "not in this scan",
        "presence": 0.125,
        "volume_ml": 0.0,
        "mean_hu": None,
        "threshold": 0.25,
        "seconds": 0,
        "doubts": [],
    }
    assert list(report["timings"]) == ["checks", "model", "read", "image_pass", "prompts", "write", "total"]
    assert (report["model"], report["device"], report["notes"]) == ("fake", "auto", ["a note"])
    assert report["output"] == str(tmp_path / "out.nii.gz")
    assert report["written"] == [report["output"]]


def test_output_is_on_the_input_grid_in_prompt_order(ct: Path, tmp_path: Path) -> None:
    assert segment(ct, tmp_path / "out.nii.gz", prompts=("heart", "bones")).exit_code == 0
    source, labels = sitk.ReadImage(str(ct)), sitk.ReadImage(str(tmp_path / "out.nii.gz"))
    for get in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(labels, get)() == pytest.approx(getattr(source, get)(), abs=1e-5)
    values = sitk.GetArrayFromImage(labels)
    assert np.array_equal(values == 2, sitk.GetArrayFromImage(source) >= 300)
    assert set(np.unique(values)) == {0, 2}


def test_every_output(ct: Path, tmp_path: Path) -> None:
    result = segment(
        ct, tmp_path / "out.mha", "--stats", tmp_path / "s.csv", "--preview", tmp_path / "p.png",
        "--probabilities", tmp_path / "probabilities", prompts=("bones", "heart"),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert (tmp_path / "s.csv").read_text(encoding="utf-8").count("\n") == 3
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in (tmp_path / "probabilities").iterdir()) == ["bones.nii.gz", "heart.nii.gz"]
    probabilities = sitk.ReadImage(str(tmp_path / "probabilities" / "bones.nii.gz"))
    assert probabilities.GetPixelID() == sitk.sitkFloat32
    assert probabilities.GetDirection() == pytest.approx(sitk.ReadImage(str(ct)).GetDirection(), abs=1e-5)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_a_label_map_replaces_an_earlier_one_but_no_other_ct(suffix: str, ct: Path, tmp_path: Path) -> None:
    other = write_ct(tmp_path / f"other{suffix}")
    before = other.read_bytes()
    last = assert_one_line_error(segment(ct, other), 2)
    assert f"other{suffix} is there already and is an image, no label map" in last
    assert other.read_bytes() == before
    (tmp_path / f"half{suffix}").write_bytes(b"")
    for name in ("half", "out", "out"):
        assert segment(ct, tmp_path / f"{name}{suffix}").exit_code == 0


@pytest.mark.parametrize("name", ["bones.nii.gz", "body.nii.gz"])
def test_probabilities_replace_neither_the_ct_nor_a_mask_but_their_own(name: str, tmp_path: Path) -> None:
    """The first is the CT of the run itself, the second a file of the same folder that a person made."""
    ct = write_ct(tmp_path / "bones.nii.gz")
    write_ct(tmp_path / "body.nii.gz")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    prompt = name.removesuffix(".nii.gz")
    result = segment(ct, tmp_path / "out.seg.nrrd", "--probabilities", tmp_path, prompts=(prompt,))
    last = assert_one_line_error(result, 2)
    assert name in last and "give --probabilities a folder of its own" in last
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    for _ in range(2):  # those of an earlier run are replaced, as every other output is
        words = ("--probabilities", tmp_path / "maps")
        assert segment(ct, tmp_path / "out.seg.nrrd", *words, prompts=(prompt,)).exit_code == 0


def test_quiet_says_nothing(ct: Path, tmp_path: Path) -> None:
    assert segment(ct, tmp_path / "out.seg.nrrd", "--quiet").stderr == ""


def test_overlap_in_a_label_map(ct: Path, tmp_path: Path) -> None:
    prompts = ("body", "bones")
    assert "overlap" in assert_one_line_error(segment(ct, tmp_path / "out.nii.gz", prompts=prompts), 2)
    assert list(tmp_path.iterdir()) == []
    for winner, values in (("first", {0, 1}), ("last", {0, 1, 2})):
        assert segment(ct, tmp_path / "out.nii.gz", "--overlap", winner, prompts=prompts).exit_code == 0
        assert set(np.unique(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out.nii.gz"))))) == values


# Odd prompts


@pytest.mark.parametrize(
    "prompt", ["the quick brown fox", "kidney" * 2000, "\x1b[31mred\x07\u202e\x9b2J", "左肾", "=1+1"]
)
@pytest.mark.parametrize("form", ["--quiet", "--json"])
def test_odd_prompts_are_answers(ct: Path, tmp_path: Path, prompt: str, form: str) -> None:
    began = time.monotonic()
    result = segment(ct, tmp_path / "out.seg.nrrd", form, prompts=(prompt,))
    assert result.exit_code == 0, result.output
    assert not ESCAPES.search(result.output)
    assert len(result.output) < 2000
    assert (tmp_path / "out.seg.nrrd").is_file()
    assert time.monotonic() - began < 5


# Failures


BAD_USAGE = {
    "no prompt": "{ct} -o {out}",
    "no output": "{ct} -p bones",
    "no input": "-p bones -o {out}",
    "two inputs": "{ct} {ct} -p bones -o {out}",
    "empty prompt": "{ct} -p '' -o {out}",
    "blank prompt": "{ct} -p ' \t' -o {out}",
    "missing input": "{tmp}/missing.nii.gz -p bones -o {out}",
    "unknown suffix": "{ct} -p bones -o {tmp}/out.xyz",
    "mixed case": "{ct} -p bones -o {tmp}/out.Nii.gz",
    "missing folder": "{ct} -p bones -o {tmp}/no/out.seg.nrrd",
    "folder is a file": "{ct} -p bones -o {tmp}/file/out.seg.nrrd",
    "output is a folder": "{ct} -p bones -o {tmp}",
    "output is the input": "{ct} -p bones -o {ct}",
    "one file twice": "{ct} -p bones -o {out} --stats {tmp}/a.csv --preview {tmp}/a.csv",
    "statistics suffix": "{ct} -p bones -o {out} --stats {tmp}/s.txt",
    "preview suffix": "{ct} -p bones -o {out} --preview {tmp}/p.jpg",
    "preview folder": "{ct} -p bones -o {out} --preview {tmp}/no/p.png",
    "probabilities in a file": "{ct} -p bones -o {out} --probabilities {tmp}/file",
    "probabilities too deep": "{ct} -p bones -o {out} --probabilities {tmp}/no/more",
    "probabilities over the output": "{ct} -p bones -o {tmp}/bones.nii.gz --probabilities {tmp}",
    "threshold 0": "{ct} -p bones -o {out} --threshold 0",
    "threshold 1": "{ct} -p bones -o {out} --threshold 1",
    "threshold nan": "{ct} -p bones -o {out} --threshold nan",
    "threshold text": "{ct} -p bones -o {out} --threshold high",
    "device": "{ct} -p bones -o {out} --device tpu",
    "overlap": "{ct} -p bones -o {out} --overlap both",
    "unknown option": "{ct} -p bones -o {out} --fast",
}


@pytest.mark.parametrize("line", BAD_USAGE.values(), ids=BAD_USAGE.keys())
def test_bad_usage_is_found_before_the_model_is_loaded(line: str, ct: Path, tmp_path: Path) -> None:
    def load_model(name: str | None, device: str) -> Any:
        pytest.fail("the model was loaded")

    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    words = [word.format(ct=ct, tmp=tmp_path, out=tmp_path / "out.seg.nrrd") for word in shlex.split(line)]
    before = ct.read_bytes()
    assert_one_line_error(run("segment", *words, services=fake_services(load_model=load_model)), 2)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert ct.read_bytes() == before


EMPTY_PATHS = (
    "segment '' -p bones -o {tmp}/out.seg.nrrd",
    "segment {ct} -p bones -o {tmp}/out.seg.nrrd --probabilities ''",
    "segment {ct} -p bones -o {tmp}/out.seg.nrrd --cache ''",
    "batch {ct} '' -p bones -o {tmp}/out",
    "batch {ct} -p bones -o ''",
    "dicom list ''",
    "demo -o ''",
)


@pytest.mark.parametrize("line", EMPTY_PATHS)
def test_an_empty_path_is_not_the_current_folder(
    line: str, ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script whose variable is not set gives one; the series that lies here is nobody's question."""
    write_series(tmp_path, ct_phantom())
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert_one_line_error(run(*(word.format(ct=ct, tmp=tmp_path) for word in shlex.split(line))), 2)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("words", [["sgement"], ["\x1b[31mred"], ["--no-such-option"], ["models", "sho"], ["models"]])
def test_unknown_words(words: list[str]) -> None:
    last = assert_one_line_error(run(*words), 2)
    assert not ESCAPES.search(last)


@pytest.mark.parametrize("command", ["prompts '{}'", "segment {ct} -p '{}' -o {tmp}/out.seg.nrrd"])
def test_letters_of_another_encoding_are_not_left_out_of_a_prompt(command: str, ct: Path, tmp_path: Path) -> None:
    words = shlex.split(command.format(os.fsdecode("gro\xdfe Leber".encode("latin-1")), ct=ct, tmp=tmp_path))
    assert "It is not in UTF-8" in assert_one_line_error(run(*words), 2)
    assert not list(tmp_path.iterdir())


def test_no_command_shows_the_help() -> None:
    result = run()
    assert (result.exit_code, result.stdout) == (2, "")
    assert "segment" in result.stderr


def test_unusable_input_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "text.nii.gz").write_text("hello", encoding="utf-8")
    last = assert_one_line_error(segment(tmp_path / "text.nii.gz", tmp_path / "out.nii.gz"), 2)
    assert "text.nii.gz" in last
    assert [path.name for path in tmp_path.iterdir()] == ["text.nii.gz"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("a", "b"), 2),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 2),
        (ModelError("a", "b"), 3),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 3),
        (ResourceError("a", "b"), 4),
        (MemoryError(), 4),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"), 4),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), 4),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 4),
        (ValueError("two\nlines \x1b[31m"), 1),
    ],
)
def test_failures_have_one_line_and_their_exit_code(error: Exception, code: int, ct: Path, tmp_path: Path) -> None:
    def load_model(name: str | None, device: str) -> Any:
        raise error

    services = fake_services(load_model=load_model)
    result = run("segment", ct, "-p", "bones", "-o", tmp_path / "out.nii", "--json", services=services)
    last = assert_one_line_error(result, code)
    assert not ESCAPES.search(last)
    assert list(tmp_path.iterdir()) == []


def test_a_package_without_its_shared_library_is_no_wrong_path(ct: Path, tmp_path: Path) -> None:
    def load_model(name: str | None, device: str) -> Any:
        raise OSError("libcudart.so.12: cannot open shared object file")

    result = run("segment", ct, "-p", "bones", "-o", tmp_path / "o.nii", services=fake_services(load_model=load_model))
    assert assert_one_line_error(result, 2).startswith("error: libcudart.so.12: cannot open shared object file: ")


@pytest.mark.parametrize("words", [("--debug", "segment"), ("segment", "--debug")])
def test_debug_shows_the_traceback(words: tuple[str, str], ct: Path, tmp_path: Path) -> None:
    def load_model(name: str | None, device: str) -> Any:
        raise ModelError("what", "todo")

    services = fake_services(load_model=load_model)
    result = run(*words, ct, "-p", "bones", "-o", tmp_path / "o.nii", services=services)
    assert result.exit_code == 3
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1] == "error: what: todo"


def test_unknown_model(ct: Path, tmp_path: Path, model: Path) -> None:
    last = assert_one_line_error(
        run("segment", ct, "-p", "bones", "-o", tmp_path / "o.nii", "--model", "nothing", services=Services()), 3
    )
    assert "test-model" in last


def test_weights_with_a_wrong_hash(ct: Path, tmp_path: Path, model: Path) -> None:
    with (model / "model.safetensors").open("ab") as stream:
        stream.write(b"x")
    last = assert_one_line_error(
        run("segment", ct, "-p", "bones", "-o", tmp_path / "o.nii", "--model", model, services=Services()), 3
    )
    assert "model.safetensors" in last
    assert not (tmp_path / "o.nii").exists()


# The process


def start(*words: str | Path, tile_seconds: float = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "Testing.openvocabct_lib.fake_model", *(str(word) for word in words)]
    environment = os.environ | {"FAKE_TILE_SECONDS": str(tile_seconds), "PYTHONUNBUFFERED": "1"}
    # A shell's background job ignores Ctrl-C, and a child would inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    finally:
        signal.signal(signal.SIGINT, before)


def test_whole_process(ct: Path, tmp_path: Path) -> None:
    process = start("segment", ct, "-p", "bones", "-o", tmp_path / "out.seg.nrrd", "--json")
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert json.loads(stdout)["segments"][0]["found"] is True


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-"])
def test_closed_streams(closed: str, ct: Path, tmp_path: Path) -> None:
    words = (sys.executable, "-m", "Testing.openvocabct_lib.fake_model", "segment", ct, "-p", "bones", "-o")
    line = shlex.join([*map(str, words), str(tmp_path / "out.seg.nrrd")])
    ended = subprocess.run(["sh", "-c", f"{line} {closed}"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "out.seg.nrrd").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to a single process on Windows")
def test_interrupt_leaves_nothing_and_exits_130(ct: Path, tmp_path: Path) -> None:
    process = start("segment", ct, "-p", "bones", "-o", tmp_path / "out.seg.nrrd", tile_seconds=0.3)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("image pass"):
            break
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stdout == ""
    assert stderr.splitlines()[-1].startswith("error: cancelled: ")
    assert "Traceback" not in stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_any_terminal_encoding(ct: Path, tmp_path: Path, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    process = start("segment", ct, "-p", "左肾", "-o", tmp_path / "out.seg.nrrd")
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert "\\u5de6" in stdout


def seconds_of_children() -> float:
    """What ended child processes computed; unlike a clock, it does not run while others have the processor."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_is_quick() -> None:
    seconds = []
    for _ in range(3):
        before = seconds_of_children()
        subprocess.run(
            [sys.executable, "-m", "OpenVocabCTLib.cli", "--help"], cwd=ROOT, check=True, capture_output=True
        )
        seconds.append(seconds_of_children() - before)
    assert 0.0 < min(seconds) < 0.5


# The other commands


@pytest.mark.parametrize(
    "command", ["", "segment", "prompts", "models", "models list", "models show", "models verify", "demo", "doctor"]
)
def test_help(command: str) -> None:
    result = run(*command.split(), "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: openvocabct")


def test_version() -> None:
    assert run("--version").stdout == f"openvocabct {__version__}\n"


def test_prompts(model: Path) -> None:
    texts = ("lt lung", "lungs", "right lung", "liver", "the quick brown fox", "123")
    result = run("prompts", *texts, "--model", model, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["model"] == "test-model"
    by_prompt = {record["prompt"]: record for record in report["prompts"]}
    assert {text: by_prompt[text]["training"] for text in texts} == {
        "lt lung": "trained",
        "lungs": "related",
        "right lung": "related",
        "liver": "untested",
        "the quick brown fox": "untested",
        "123": None,
    }
    assert by_prompt["lungs"]["structures"] == ["left_lung", "right_lung"]
    assert by_prompt["lt lung"]["canonical"] == "left_lung"
    assert by_prompt["lt lung"]["code"]["modifier"] == "Left"
    table = run("prompts", *texts, "--model", model).stdout
    assert len(table.splitlines()) == 1 + len(texts)


def test_models_list_and_show(model: Path) -> None:
    listed = json.loads(run("models", "list", "--json").stdout)["models"]
    assert "test-model" in [record["name"] for record in listed]
    assert "test-model" in run("models", "list").stdout
    shown = json.loads(run("models", "show", "test-model", "--json").stdout)
    assert shown["concepts"] == {"left_lung": {"cases": 7, "dice": 0.91}, "spinal_cord": {"cases": 2, "dice": None}}
    text = run("models", "show", "test-model").stdout
    assert "Apache-2.0" in text
    assert re.search(r"spinal_cord +2 +- +yes$", text, re.MULTILINE)


def test_a_user_without_a_home_folder_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Containers run programs as users whom the system does not know."""

    def nobody_knows(path: str) -> str:
        return path

    monkeypatch.setattr(os.path, "expanduser", nobody_knows)  # what pathlib asks
    for name in ("XDG_DATA_HOME", "OPENVOCABCT_MODELS", "OPENVOCABCT_CACHE"):
        monkeypatch.delenv(name, raising=False)
    told = run("prompts", "left lung")
    assert told.exit_code == 2
    assert told.stderr == "error: this user has no home folder: set OPENVOCABCT_CACHE to a folder of yours\n"
    checks = json.loads(run("doctor", "--json").stdout)["checks"]
    assert next(check["status"] for check in checks if check["name"] == "model") == "fail"
    monkeypatch.setenv("OPENVOCABCT_CACHE", str(tmp_path))
    assert run("prompts", "left lung").exit_code == 0
    told = run("models", "verify", "~nobody/model")
    assert told.stderr == "error: the home folder in ~nobody/model is not known: give the whole path\n"


def test_models_tell_what_they_learned_from_what_they_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    concepts = {"left_lung": {"cases": 70}, "liver": {"cases": 1}, "soft_tissue_sarcoma": {"cases": 16}}
    decision = {"minimum_scans": 10, "concept_presence_thresholds": {"soft_tissue_sarcoma": 1.0}}
    folder = write_model_folder(tmp_path / "careful", concepts=concepts, decision=decision)
    monkeypatch.setenv("OPENVOCABCT_MODELS", str(tmp_path))
    assert re.search(r"^careful .* 1$", run("models", "list").stdout, re.MULTILINE)
    shown = run("models", "show", "careful").stdout
    assert re.search(r"left_lung .* yes$", shown, re.MULTILINE)
    assert re.search(r"liver .* no$", shown, re.MULTILINE)
    assert re.search(r"soft_tissue_sarcoma .* no$", shown, re.MULTILINE)
    asked = json.loads(run("prompts", "left lung", "soft tissue sarcoma", "--model", str(folder), "--json").stdout)
    assert [prompt["training"] for prompt in asked["prompts"]] == ["trained", "untested"]


def test_what_a_model_says_of_itself_cannot_rule_the_terminal(tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / "evil", description="\x1b[2Jfine\nlicence MIT", licence="\x1b]0;x\x07")
    text = run("models", "show", str(folder)).stdout
    assert not ESCAPES.search(text) and "\nlicence MIT" not in text


def test_models_verify(model: Path) -> None:
    assert run("models", "verify", "test-model").exit_code == 0
    assert json.loads(run("models", "verify", str(model), "--json").stdout)["verified"] is True
    (model / "text_bank.safetensors").unlink()
    assert "text_bank.safetensors" in assert_one_line_error(run("models", "verify", "test-model"), 3)


def test_demo(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    result = run("demo", "-o", folder)
    assert result.exit_code == 0, result.output
    rows = {re.split(r"  +", line)[0]: re.split(r"  +", line) for line in result.stdout.splitlines()}
    # The fake model calls every dark voxel of a side lung; that is near enough to notice a flip (Dice 0.01).
    assert float(rows["left lung"][4]) > 0.7
    assert float(rows["right lung"][4]) > 0.7
    assert rows["ribs"][1:5] == ["no", "-", "-", "0.000"]
    assert rows["the quick brown fox"][1:5] == ["no", "-", "-", "-"]
    assert sorted(path.name for path in folder.iterdir()) == ["CTChest4.csv", "CTChest4.png", "CTChest4.seg.nrrd"]
    assert run("demo", "-o", folder, "--json").exit_code == 0  # a second time replaces the files


def test_demo_reference_has_every_promised_structure() -> None:
    masks = Sample.find().reference_masks()
    assert set(REFERENCED_PROMPTS) <= set(masks)
    assert all(masks[name].shape == (34, 128, 128) and masks[name].any() for name in REFERENCED_PROMPTS)


def test_missing_sample_says_what_to_install() -> None:
    with pytest.raises(InputError, match=r"pip install 'openvocabct\[demo\]'"):
        Sample.find("no_such_package_anywhere")


def test_demo_into_an_unusable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    assert_one_line_error(run("demo", "-o", tmp_path / "file"), 2)
    assert_one_line_error(run("demo", "-o", tmp_path / "no" / "more"), 2)


def test_doctor() -> None:
    result = run("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    failed = [name for name, check in checks.items() if check["status"] == "fail"]
    assert result.exit_code == (3 if failed else 0)
    assert set(failed) <= {"model"}
    assert checks["text encoder"]["status"] == checks["device"]["status"] == checks["sample CT"]["status"] == "ok"
    assert checks["torch"]["detail"].startswith("2.")
    assert all(check["todo"] for check in checks.values() if check["status"] != "ok")
    assert "text encoder" in run("doctor").stdout


def test_doctor_does_not_wake_the_telemetry_of_openvino() -> None:
    code = (
        "import sys; from OpenVocabCTLib.commands.doctor import check_openvino; assert check_openvino().status == 'ok';"
        "assert 'openvino' in sys.modules; print(sys.modules.get('openvino_telemetry'))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"


@pytest.mark.parametrize(
    ("module", "name", "status"),
    [
        ("SimpleITK", "SimpleITK", "fail"),
        ("yaml", "PyYAML", "fail"),
        ("safetensors", "text encoder", "fail"),
        ("openvino", "openvino", "warn"),
    ],
)
def test_doctor_finds_packages_that_are_there_and_broken(tmp_path: Path, module: str, name: str, status: str) -> None:
    (tmp_path / f"{module}.py").write_text("raise ImportError('libbroken.so: cannot open shared object file')")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    words = [sys.executable, "-m", "OpenVocabCTLib.cli", "doctor", "--json"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks[name]["status"] == status and "libbroken.so" in checks[name]["detail"] and checks[name]["todo"]
    assert done.returncode == (3 if status == "fail" else 0)


# Parts


def test_dice() -> None:
    a, b = np.array([[[1, 1, 0, 0]]], bool), np.array([[[0, 1, 1, 0]]], bool)
    assert dice(a, b) == 0.5
    assert dice(a, a) == 1.0
    assert dice(a & False, b & False) == 0.0


def test_one_line_is_safe_and_bounded() -> None:
    assert one_line("a\n\tb\x1b[2J\u202ec\x00") == "a b [2J c"
    assert len(one_line("x" * 100_000)) < 500


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bar_on_a_terminal_ends_with_a_new_line() -> None:
    stream = Terminal()
    with Progress("image pass", stream) as progress:
        assert all(progress(done, TILES) for done in range(TILES + 1))
    assert stream.getvalue().startswith("\rimage pass [")
    assert f"{TILES}/{TILES}" in stream.getvalue()
    assert stream.getvalue().endswith("\n")


def test_few_lines_elsewhere() -> None:
    stream = io.StringIO()
    with Progress("image pass", stream) as progress:
        for done in range(1001):
            progress(done, 1000)
    assert stream.getvalue().splitlines() == [f"image pass: {done}/1000" for done in (250, 500, 750, 1000)]


# Reports


REPORT = "FINDINGS: Lytic lesions of the bones. No pleural effusion. Left lung: small nodule.\n"


def test_a_report_gives_prompts_that_are_linked_to_its_sentences(ct: Path, tmp_path: Path) -> None:
    (tmp_path / "report.txt").write_text(REPORT, encoding="utf-8")
    result = run(
        "segment", ct, "-p", "body", "--report", tmp_path / "report.txt", "-o", tmp_path / "out.seg.nrrd", "--json"
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    names = {segment["prompt"]: segment["found"] for segment in report["segments"]}
    assert next(iter(names)) == "body"
    assert names["bones"] is True
    findings = {finding["canonical"]: finding for finding in report["report"]}
    assert findings["lytic_bone_lesion"]["sentence"] == "Lytic lesions of the bones."
    assert "bones" in findings["lytic_bone_lesion"]["segments"]
    ids = {segment["id"] for segment in report["segments"]}
    assert all(set(finding["segments"]) <= ids for finding in report["report"])
    effusion = next(finding for finding in report["report"] if "effusion" in finding["canonical"])
    assert (effusion["status"], effusion["segments"]) == ("absent", [])
    assert not any("effusion" in name for name in names)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"No pneumothorax.", "names no finding"),
        (b"", "names no finding"),
        (b"\xff\xfe\x00", "not plain text"),
        (b"nodule " * 200_000, "longer than a report"),
    ],
)
def test_a_report_without_use_is_refused(ct: Path, tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "report.txt").write_bytes(content)
    result = run("segment", ct, "--report", tmp_path / "report.txt", "-o", tmp_path / "out.seg.nrrd")
    assert what in assert_one_line_error(result, 2)


def test_a_report_that_is_not_there_is_refused(ct: Path, tmp_path: Path) -> None:
    result = run("segment", ct, "--report", tmp_path / "no.txt", "-o", tmp_path / "out.seg.nrrd")
    assert "cannot be read" in assert_one_line_error(result, 2)


def test_expressions_are_explained(model: Path) -> None:
    result = run("prompts", "both lungs and liver", "livr", "--model", model, "--json")
    lungs, typo = json.loads(result.stdout)["prompts"]
    assert (lungs["match"], lungs["expression"]) == ("expression", "lungs + liver")
    assert lungs["structures"] == ["left_lung", "right_lung", "liver"]
    assert lungs["training"] == "untested"
    assert (typo["match"], typo["suggestions"]) == ("free", ["liver"])
