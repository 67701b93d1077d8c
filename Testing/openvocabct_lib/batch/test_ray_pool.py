"""One Ray cluster on this machine, with the model that answers from the HU alone."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest

from OpenVocabCTLib.batch.inputs import Case
from OpenVocabCTLib.batch.jobs import Job
from OpenVocabCTLib.batch.manifest import Record
from OpenVocabCTLib.batch.ray_pool import ATTEMPTS, LOCAL, RayPool
from OpenVocabCTLib.batch.steps import CaseSteps
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_lib.fake_model import FakeSegmenter, write_ct
from Testing.openvocabct_lib.test_cli import run

POISON = "poison.nii.gz"


def read_unless_poison(path: Path) -> CTVolume:
    if path.name == POISON:
        os._exit(1)
    return CTVolume.read(path)


def cases(folder: Path, names: list[str]) -> list[CaseSteps]:
    found = []
    for name in names:
        output = folder / "out" / name.replace(".nii.gz", ".seg.nrrd")
        job = Job(Case(write_ct(folder / name), name, output), ("bones", "left lung"))
        found.append(CaseSteps(job, Record(name, output.name, "s")))
    return found


def test_a_killed_worker_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_TILE_SECONDS", "0.1")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # by default whatever else runs goes first
    todo = cases(tmp_path, [f"{number}.nii.gz" for number in range(6)] + [POISON])
    (tmp_path / "bad.nii.gz").write_bytes(b"no volume")
    bad = Job(Case(tmp_path / "bad.nii.gz", "bad.nii.gz", tmp_path / "out" / "bad.seg.nrrd"), ("bones",))
    todo.append(CaseSteps(bad, Record("bad.nii.gz", "bad.seg.nrrd", "s")))
    with RayPool(LOCAL, FakeSegmenter, read_unless_poison, workers=2) as pool:
        finished = pool.run(todo)
        records = [next(finished)]
        os.kill(pool.worker_pids()[0], signal.SIGKILL)
        records += finished
    assert sorted(record.case for record in records) == sorted(step.job.case.name for step in todo)
    by_name = {record.case: record for record in records}
    for step in todo[:6]:
        assert by_name[step.job.case.name].done
        assert step.job.case.output.is_file()
    assert max(record.attempts for record in records if record.done) >= 2
    assert by_name[POISON].attempts == ATTEMPTS
    assert "lost its worker" in by_name[POISON].error
    # A second attempt means that its first worker was lost; were its own failure tried again, there would be three.
    assert by_name["bad.nii.gz"].exit_code == 2 and by_name["bad.nii.gz"].attempts < ATTEMPTS


def test_an_address_where_nobody_answers(tmp_path: Path) -> None:
    ct = write_ct(tmp_path / "ct.nii.gz")
    result = run("batch", ct, "-p", "bones", "-o", tmp_path / "out", "--ray", "127.0.0.1:1")
    assert result.exit_code == 2
    assert "no Ray cluster answers" in result.stderr


def test_without_ray_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(InputError, match=r"openvocabct\[ray\]"):
        RayPool(LOCAL, FakeSegmenter, partial(CTVolume.read))
