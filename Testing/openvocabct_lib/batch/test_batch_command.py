from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nrrd
import numpy as np
import pytest

from OpenVocabCTLib.batch import ray_pool
from OpenVocabCTLib.batch.manifest import Record
from OpenVocabCTLib.batch.ray_pool import CaseWorker
from OpenVocabCTLib.batch.steps import CaseSteps
from OpenVocabCTLib.commands.services import LoadedModel, Services
from OpenVocabCTLib.errors import ModelError, ResourceError
from OpenVocabCTLib.output.segmentation import Segmentation
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_lib.fake_model import FakeSegmenter, fake_services, write_ct
from Testing.openvocabct_lib.model_folder import write_model_folder
from Testing.openvocabct_lib.test_cli import assert_one_line_error, run, segment

PROMPTS = ("-p", "bones", "-p", "left lung")


@pytest.fixture
def cts(tmp_path: Path) -> Path:
    folder = tmp_path / "cts"
    for name in ("a.nii.gz", "b/b.nrrd", "c.mha"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_ct(folder / name)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_help() -> None:
    result = run("batch", "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: openvocabct batch")


def test_every_ct_gets_what_segment_gives(cts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("batch", cts, *PROMPTS, "-o", out)
    assert result.exit_code == 0, result.output
    assert names(out) == ["a.seg.nrrd", "b/b.seg.nrrd", "c.seg.nrrd", "manifest.jsonl"]
    assert segment(cts / "a.nii.gz", tmp_path / "one.seg.nrrd", prompts=("bones", "left lung")).exit_code == 0
    for one, other in [(out / "a.seg.nrrd", tmp_path / "one.seg.nrrd")]:
        (batch_voxels, batch_header), (voxels, header) = nrrd.read(str(one)), nrrd.read(str(other))
        assert np.array_equal(batch_voxels, voxels)
        assert batch_header["Segment0_Name"] == header["Segment0_Name"]
    lines = result.stdout.splitlines()
    assert len(lines) == 4
    assert "done" in lines[1]
    assert "[3/3]" in result.stderr


def test_a_bad_ct_is_reported_and_the_next_one_follows(cts: Path, tmp_path: Path) -> None:
    (cts / "aa.nii.gz").write_bytes(b"no volume")
    result = run("batch", cts, *PROMPTS, "-o", tmp_path / "out", "--json")
    assert result.exit_code == 2
    report = json.loads(result.stdout)
    assert (report["done"], report["failed"]) == (3, 1)
    (failed,) = [case for case in report["cases"] if case["error"]]
    assert failed["case"] == "aa.nii.gz"
    assert not (tmp_path / "out" / "aa.seg.nrrd").exists()


def test_resume_does_what_is_missing_failed_or_changed(cts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (cts / "aa.nii.gz").write_bytes(b"no volume")
    words = ("batch", cts, *PROMPTS, "-o", out, "--resume", "--json")
    assert run(*words).exit_code == 2
    before = {name: (out / name).stat().st_mtime_ns for name in names(out)}
    write_ct(cts / "aa.nii.gz")
    (out / "c.seg.nrrd").unlink()
    write_ct(cts / "b/b.nrrd", (22, 24, 30))
    report = json.loads(run(*words).stdout)
    assert (report["done"], report["failed"], report["finished_before"]) == (4, 0, 1)
    assert (out / "a.seg.nrrd").stat().st_mtime_ns == before["a.seg.nrrd"]
    assert (out / "b/b.seg.nrrd").stat().st_mtime_ns != before["b/b.seg.nrrd"]
    assert json.loads(run(*words).stdout)["finished_before"] == 4
    other = json.loads(run(*words, "--threshold", "0.3").stdout)
    assert other["finished_before"] == 0


def test_jobs_with_their_own_prompts(cts: Path, tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.csv"
    jobs.write_text(f"input,prompts,output\n{cts}/a.nii.gz,bones,x.nii.gz\n{cts}/a.nii.gz,left lung;body,y.nrrd\n")
    result = run("batch", "--jobs", jobs, "-o", tmp_path / "out", "--json", "--overlap", "first")
    assert result.exit_code == 0, result.output
    assert [len(case["segments"]) for case in json.loads(result.stdout)["cases"]] == [1, 2]
    assert names(tmp_path / "out") == ["manifest.jsonl", "x.nii.gz", "y.nrrd"]


@pytest.mark.parametrize("line", ["-p bones", "CTS", "CTS -p bones --threshold 2", "CTS CTS/a.nii.gz -p ' '"])
def test_bad_usage_is_found_before_anything_is_done(line: str, cts: Path, tmp_path: Path) -> None:
    words = ["" if word == "' '" else word.replace("CTS", str(cts)) for word in line.replace("' '", "''").split()]
    words = [word.replace("''", " ") for word in words]

    def never(*arguments: Any) -> Any:
        raise AssertionError("the model was loaded")

    result = run("batch", *words, "-o", tmp_path / "out", services=fake_services(load_model=never))
    assert_one_line_error(result, 2)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("resume", [(), ("--resume",)])
def test_one_run_after_the_other_loses_no_result(resume: tuple[str, ...], tmp_path: Path) -> None:
    """A loop over patients whose CTs have all the same name, into one folder."""
    for patient in ("p1", "p2"):
        (tmp_path / patient).mkdir()
        write_ct(tmp_path / patient / "ct.nrrd")
    write_ct(tmp_path / "p2" / "other.nrrd")
    words = ("-p", "bones", "-o", tmp_path / "out", *resume)
    assert run("batch", tmp_path / "p1" / "ct.nrrd", *words).exit_code == 0
    assert run("batch", tmp_path / "p2" / "other.nrrd", *words).exit_code == 0
    before = (tmp_path / "out" / "ct.seg.nrrd").stat().st_mtime_ns
    last = assert_one_line_error(run("batch", tmp_path / "p2" / "ct.nrrd", *words), 2)
    assert "ct.seg.nrrd in the output folder is the result of another CT called ct.nrrd" in last
    assert (tmp_path / "out" / "ct.seg.nrrd").stat().st_mtime_ns == before
    # The same CT again replaces its result, and so does one that was moved.
    assert run("batch", tmp_path / "p1" / "ct.nrrd", *words).exit_code == 0
    (tmp_path / "p1").rename(tmp_path / "p3")
    assert run("batch", tmp_path / "p3" / "ct.nrrd", *words).exit_code == 0


def test_a_result_replaces_no_other_ct_in_the_folder(cts: Path) -> None:
    """Its name is not typed but follows from that of the input."""
    other = write_ct(cts / "a.nrrd")
    before = other.read_bytes()
    last = assert_one_line_error(run("batch", cts / "a.nii.gz", "-p", "bones", "-o", cts, "--format", ".nrrd"), 2)
    assert "a.nrrd is there already and is an image, no label map" in last
    assert other.read_bytes() == before
    other.unlink()
    for _ in range(2):
        assert run("batch", cts / "a.nii.gz", "-p", "bones", "-o", cts, "--format", ".nrrd").exit_code == 0


@pytest.mark.parametrize("resume", [(), ("--resume",)])
def test_a_job_list_of_the_name_of_the_record_is_not_overwritten(
    resume: tuple[str, ...], cts: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    jobs = tmp_path / "out" / "manifest.jsonl"
    jobs.write_text(json.dumps({"input": str(cts / "a.nii.gz"), "prompts": ["bones"]}))
    before = jobs.read_text()
    last = assert_one_line_error(run("batch", "--jobs", jobs, "-o", tmp_path / "out", *resume), 2)
    assert "manifest.jsonl in the output folder is no record of a batch" in last
    assert jobs.read_text() == before


def test_what_was_noticed_about_a_ct_is_said(cts: Path, tmp_path: Path) -> None:
    (cts / "x.zip").write_bytes(b"no zip")
    said = run("batch", cts, *PROMPTS, "-o", tmp_path / "out").stderr.splitlines()
    assert sum("note: a note" in line for line in said) == 3
    assert any(line.startswith("x.zip passed over") for line in said)


@pytest.mark.parametrize("how", ["its own name", "a link", "a row of the job list"])
def test_a_result_never_replaces_an_input(how: str, cts: Path, tmp_path: Path) -> None:
    before = (cts / "a.nii.gz").read_bytes()
    words: tuple[Any, ...] = (cts / "a.nii.gz", "-p", "bones", "-o", cts, "--format", ".nii.gz")
    if how == "a link":
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "a.nii.gz").symlink_to(cts / "a.nii.gz")
        words = (cts / "a.nii.gz", "-p", "bones", "-o", tmp_path / "out", "--format", ".nii.gz")
    elif how == "a row of the job list":
        # The row's own input is another one: the results of all rows are compared with the inputs of all.
        jobs = tmp_path / "jobs.csv"
        jobs.write_text(f"input,output\n{cts}/c.mha,a.nii.gz\n{cts}/a.nii.gz,x.nrrd\n")
        words = ("--jobs", jobs, "-p", "bones", "-o", cts)
    last = assert_one_line_error(run("batch", *words), 2)
    assert "the result a.nii.gz would replace the input" in last
    assert (cts / "a.nii.gz").read_bytes() == before
    assert not (cts / "manifest.jsonl").exists()


@pytest.mark.parametrize(
    ("stage", "error", "code", "goes_on"),
    [
        ("encode", ResourceError("out of memory", "crop it"), 4, True),
        ("encode", RuntimeError("a bug"), 1, True),
        ("encode", ModelError("weights do not fit", "install again"), 3, False),
        ("write", ResourceError("the disk is full", "free some"), 4, False),
    ],
)
def test_what_one_ct_met_ends_the_batch_only_if_all_would(
    stage: str, error: Exception, code: int, goes_on: bool, cts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = FakeSegmenter if stage == "encode" else Segmentation
    original = getattr(owner, stage)
    calls: list[int] = []

    def broken(self: Any, *arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise error
        return original(self, *arguments, **options)

    monkeypatch.setattr(owner, stage, broken)
    result = run("batch", cts, *PROMPTS, "-o", tmp_path / "out")
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    done = [name for name in names(tmp_path / "out") if name.endswith(".seg.nrrd")]
    assert len(done) == (2 if goes_on else 1)


def test_reading_computing_and_writing_overlap_and_memory_stays_bounded(tmp_path: Path) -> None:
    """The next CT is read while one is computed, but never more than one ahead."""
    cts = [write_ct(tmp_path / f"{number}.nii.gz") for number in range(8)]
    events: list[str] = []
    reading = threading.Event()

    class Slow(FakeSegmenter):
        def encode(self, volume: CTVolume, progress: Any = None) -> Any:
            if len([event for event in events if event == "encoded"]) < 7:
                assert reading.wait(10)  # the next one is being read meanwhile
            reading.clear()
            events.append("encoded")
            return super().encode(volume, progress)

    def read(path: Path) -> CTVolume:
        events.append("read")
        volume = CTVolume.read(path)
        if path != cts[0]:
            reading.set()
        return volume

    services = Services(lambda name, device: LoadedModel("slow", "cpu", Slow()), read)
    assert run("batch", *cts, *PROMPTS, "-o", tmp_path / "out", services=services).exit_code == 0
    ahead = [events[: place + 1].count("read") - events[: place + 1].count("encoded") for place in range(len(events))]
    assert max(ahead) <= 2


def test_relative_paths_are_those_of_the_command_in_every_worker(
    cts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str | None] = []

    class ElsewherePool:
        """What a cluster does that was started in another folder."""

        def __init__(self, _address: str, make_segmenter: Any, read_volume: Any, _workers: int | None) -> None:
            self.parts = (make_segmenter, read_volume)

        def __enter__(self) -> ElsewherePool:
            return self

        def __exit__(self, *_: object) -> None:
            """Nothing to end."""

        def run(self, cases: list[CaseSteps]) -> Iterator[Record]:
            (tmp_path / "elsewhere").mkdir()
            monkeypatch.chdir(tmp_path / "elsewhere")
            worker = CaseWorker(*self.parts)
            yield from map(worker.run, cases)

    def load(name: str | None, device: str) -> LoadedModel:
        loaded.append(name)
        return LoadedModel("fake", device, FakeSegmenter())

    monkeypatch.setattr(ray_pool, "RayPool", ElsewherePool)
    write_model_folder(tmp_path / "model")
    (cts / "jobs.csv").write_text("input,prompts\na.nii.gz,bones\n")
    monkeypatch.chdir(tmp_path)
    words = ("cts/c.mha", "--jobs", "cts/jobs.csv", *PROMPTS, "-o", "out", "--cache", "kept", "--model", "model")
    result = run("batch", *words, "--ray", "local", services=fake_services(load_model=load))
    assert result.exit_code == 0, result.output
    assert names(tmp_path / "out") == ["a.seg.nrrd", "c.seg.nrrd", "manifest.jsonl"]
    assert names(tmp_path / "elsewhere") == []
    assert loaded == [str(tmp_path / "model")]


def test_the_cache_is_off(cts: Path, tmp_path: Path) -> None:
    segmenter = FakeSegmenter()
    segmenter.cache = SimpleNamespace(max_bytes=10**9)
    run(
        "batch",
        cts,
        *PROMPTS,
        "-o",
        tmp_path / "out",
        services=fake_services(load_model=lambda name, device: LoadedModel("fake", device, segmenter)),
    )
    assert segmenter.cache.max_bytes == 0


def test_interrupted_and_resumed(cts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = [sys.executable, "-m", "Testing.openvocabct_lib.fake_model", "batch", str(cts), *PROMPTS, "-o", str(out)]
    process = subprocess.Popen(words, env={**os.environ, "FAKE_TILE_SECONDS": "0.5"}, stderr=subprocess.PIPE)
    end = time.monotonic() + 60
    while not (out / "a.seg.nrrd").exists() and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert not list(out.glob("*.part*"))
    assert run("batch", cts, *PROMPTS, "-o", out, "--resume").exit_code == 0
    assert len(names(out)) == 4
