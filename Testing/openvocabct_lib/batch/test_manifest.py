from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from OpenVocabCTLib.batch.manifest import Manifest, Record
from OpenVocabCTLib.errors import InputError


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path / "manifest.jsonl")
    done = Record("a", "a.nrrd", "s", ({"prompt": "liver", "found": True},), ("a note",), seconds={"read": 0.5})
    failed = Record("b", "b.nrrd", "s", error="no CT: give one", exit_code=2, attempts=3)
    manifest.add(done)
    manifest.add(failed)
    again = Manifest(tmp_path / "manifest.jsonl")
    again.load()
    assert again.records(["b.nrrd", "missing", "a.nrrd"]) == (failed, done)
    assert again.finished("a.nrrd", "s")
    assert not again.finished("a.nrrd", "other")
    assert not again.finished("b.nrrd", "s")
    assert not again.finished("missing", "s")


@pytest.mark.parametrize("rest", [b'{"case": "b", "outp', b"\x00\x00\x00", b"[]\n", b'{"case": 1}\n', b"\xff\n"])
def test_what_a_power_cut_left_costs_one_record_at_most(tmp_path: Path, rest: bytes) -> None:
    manifest = Manifest(tmp_path / "manifest.jsonl")
    manifest.add(Record("a", "a.nrrd", "s"))
    with manifest.path.open("ab") as stream:
        stream.write(rest)
    after = Manifest(manifest.path)
    after.load()
    after.add(Record("c", "c.nrrd", "s"))
    again = Manifest(manifest.path)
    again.load()
    assert [record.case for record in again.records(["a.nrrd", "b.nrrd", "c.nrrd"])] == ["a", "c"]


def test_start_anew_and_no_file(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path / "manifest.jsonl")
    manifest.load()
    manifest.add(Record("a", "a.nrrd", "s"))
    manifest.add(Record("kept", "kept.nrrd", "s", source="/x/kept.nii"))
    manifest.start_anew(["a.nrrd"])
    assert manifest.records(["a.nrrd"]) == ()
    again = Manifest(manifest.path)
    again.load()  # a run that ended before its first CT has taken nothing away
    assert again.finished("a.nrrd", "s")
    for name in "bc":
        manifest.add(Record(name, f"{name}.nrrd", "s"))
    again = Manifest(manifest.path)
    again.load()
    assert [record.case for record in again.records(["a.nrrd", "b.nrrd", "kept.nrrd", "c.nrrd"])] == ["b", "kept", "c"]
    assert (again.source("kept.nrrd"), again.source("b.nrrd")) == (Path("/x/kept.nii"), None)


def test_two_batches_at_once_keep_the_records_of_each_other(tmp_path: Path) -> None:
    """As those of a cluster's job array do that write to one folder."""
    runs = [Manifest(tmp_path / "manifest.jsonl") for _ in range(2)]
    for name, run in zip("ab", runs, strict=True):
        run.start_anew([f"{name}{number}.nrrd" for number in range(3)])
    for number in range(3):
        for name, run in zip("ab", runs, strict=True):
            run.add(Record(f"{name}{number}", f"{name}{number}.nrrd", "s"))
    again = Manifest(tmp_path / "manifest.jsonl")
    again.load()
    assert len(again.records([f"{name}{number}.nrrd" for name in "ab" for number in range(3)])) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.jsonl"]


@pytest.mark.parametrize("start", [Manifest.load, lambda manifest: manifest.start_anew([])])
def test_a_file_of_something_else_is_left_alone(start: Callable[[Manifest], None], tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text('{"input": "a.nii.gz", "prompts": ["liver"]}\n')
    with pytest.raises(InputError, match="no record of a batch"):
        start(Manifest(tmp_path / "manifest.jsonl"))
    assert "liver" in (tmp_path / "manifest.jsonl").read_text()


@pytest.mark.parametrize("rest", ["", "\n", '{"case": "a", "ou', "\0\0\0"])
def test_what_is_left_of_a_first_record_is_no_file_of_something_else(rest: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text(rest)
    Manifest(tmp_path / "manifest.jsonl").load()
    Manifest(tmp_path / "manifest.jsonl").start_anew([])


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"manifest\.jsonl cannot be written"):
        Manifest(tmp_path / "missing" / "manifest.jsonl").add(Record("a", "a.nrrd", "s"))
