"""Preparing again, after an interruption, a kill, a full disk, or with bad cases."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from openvocabct_training.data import prepare as module
from openvocabct_training.data.adapters import adapters_named
from openvocabct_training.data.prepare import prepare
from openvocabct_training.data.store import MANIFEST, RECORD, SKIPPED, CaseRecord, CaseStore, SkippedCase
from OpenVocabCTLib.errors import InputError, ResourceError
from Testing.openvocabct_training.data import layouts
from Testing.openvocabct_training.raw_data import SHAPE, write_image

TABLE = "value,concept\n1,liver\n2,spleen\n3,aorta\n"
CASES = "abcd"
SPACING = 3.0
ROOT = Path(__file__).parents[3]
# Run by a process of its own: it forks, and the fork ends itself by SIGKILL just before the n-th time that it opens,
# makes, renames or removes anything in the store.
KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from openvocabct_training.data.adapters import adapters_named
from openvocabct_training.data.prepare import prepare
from openvocabct_training.data.store import CaseStore

torch.set_num_threads(1)
source, store = Path(sys.argv[1]), Path(sys.argv[2])
for allowed in map(int, sys.argv[3:]):
    child = os.fork()
    if child == 0:
        left = [allowed]
        def count(event, arguments):
            if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link") and arguments:
                if str(arguments[0]).startswith(str(store) + os.sep):
                    left[0] -= 1
                    if left[0] < 0:
                        os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(count)
        prepare(source, CaseStore(store), 3.0, adapters_named(["folder:mine"]))
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    whole = [p.parent.name for p in store.glob("mine/*/record.json")]
    names = sorted(p.name for p in store.glob("mine/*/*"))
    print(allowed, "killed" if killed else os.waitstatus_to_exitcode(status), len(whole), len(names), flush=True)
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    layouts.own_folder(tmp_path / "raw", TABLE, CASES)
    return tmp_path / "raw"


@pytest.fixture
def store(tmp_path: Path) -> CaseStore:
    return CaseStore(tmp_path / "store")


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the cases that were really prepared, not kept."""
    ids: list[str] = []
    really = module.prepare_case

    def noted(case: module.RawCase, *arguments: object, **keywords: object) -> CaseRecord:
        ids.append(case.id)
        return really(case, *arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "prepare_case", noted)
    return ids


def run(source: Path, store: CaseStore, **options: object) -> list[CaseRecord]:
    return prepare(source, store, SPACING, adapters_named(["folder:mine"]), **options)  # type: ignore[arg-type]


def contents(store: CaseStore) -> dict[str, bytes]:
    """Every file of a store, except for the lock."""
    return {
        str(path.relative_to(store.root)): path.read_bytes()
        for path in sorted(store.root.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


# Going on


def test_nothing_is_prepared_twice(source: Path, store: CaseStore, prepared: list[str]) -> None:
    first = run(source, store)
    before = contents(store)
    assert prepared == [f"mine/{case}" for case in CASES]
    assert run(source, store) == first
    assert len(prepared) == len(CASES)
    assert contents(store) == before


@pytest.mark.parametrize("change", ["file", "labels", "spacing", "split", "damage", "journal"])
def test_what_changed_is_prepared_again(change: str, source: Path, store: CaseStore, prepared: list[str]) -> None:
    run(source, store)
    prepared.clear()
    expected = {"mine/b"}
    folder = source / "mine"
    if change == "file":
        write_image(folder / "b" / "labels.nii.gz", layouts.label_map((1, 2)))
    elif change == "labels":
        (folder / "labels.csv").write_text(TABLE.replace("liver", "pancreas"))
        expected = {f"mine/{case}" for case in CASES}
    elif change == "split":
        (folder / "cases.csv").write_text("case,split,patient\nb,validation,x\n")
    elif change == "damage":
        (store.root / "mine" / "b" / "labels.b2nd").unlink()
    elif change == "journal":
        (store.root / "mine" / "b" / RECORD).write_text("{")
    if change == "spacing":
        prepare(source, store, 4.0, adapters_named(["folder:mine"]))
        expected = {f"mine/{case}" for case in CASES}
    else:
        run(source, store)
    assert set(prepared) == expected
    assert len(store.records()) == len(CASES)


def test_moving_the_data_changes_nothing(source: Path, store: CaseStore, prepared: list[str]) -> None:
    first = run(source, store)
    source.rename(source.with_name("elsewhere"))
    assert run(source.with_name("elsewhere"), store) == first
    assert len(prepared) == len(CASES)


def test_a_case_that_is_gone_leaves_the_manifest(source: Path, store: CaseStore) -> None:
    run(source, store)
    for path in (source / "mine" / "c").iterdir():
        path.unlink()
    (source / "mine" / "c").rmdir()
    run(source, store)
    assert [record.case for record in store.records()] == ["mine/a", "mine/b", "mine/d"]


def test_other_data_sets_stay_in_the_manifest(source: Path, store: CaseStore) -> None:
    layouts.segthor(source)
    mine = run(source, store)
    both = [*mine, *prepare(source, store, SPACING, adapters_named(["segthor"]))]
    assert store.records() == both
    assert {record.dataset for record in both} == {"mine", "segthor"}
    run(source, store)
    assert sorted(record.case for record in store.records()) == sorted(record.case for record in both)


def test_a_store_of_an_earlier_version_is_made_again(source: Path, store: CaseStore, prepared: list[str]) -> None:
    first = run(source, store)
    rows = [json.loads(line) for line in (store.root / MANIFEST).read_text().splitlines()]
    for row in rows:
        del row["patient"]
    (store.root / MANIFEST).write_text("".join(json.dumps(row) + "\n" for row in rows))
    for path in store.root.glob(f"mine/*/{RECORD}"):
        path.unlink()
    prepared.clear()
    assert run(source, store) == first == store.records()
    assert len(prepared) == len(CASES)


def test_killing_at_any_moment_loses_and_doubles_nothing(source: Path, store: CaseStore, tmp_path: Path) -> None:
    never_killed = CaseStore(tmp_path / "reference")
    run(source, never_killed)
    moments = [0, 2, 4, 6, 8, 10, 12, 13, 14, 15, 16, 17, 25, 30, 200]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "Training")))}
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(source), str(store.root), *map(str, moments)],
        env=environment, capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    lines = [line.split() for line in ended.stdout.splitlines()]
    outcomes = [line[1] for line in lines]
    assert outcomes[:8] == ["killed"] * 8
    assert outcomes[-1] == "0"
    counts = [int(line[2]) for line in lines]
    assert counts == sorted(counts)  # no case is lost again
    assert len(set(counts)) > 2  # killed within the work, not only before and after
    assert all(int(line[3]) == 3 * int(line[2]) for line in lines)  # no case is half there
    assert contents(store) == contents(never_killed)


def test_several_jobs_give_the_same_store(source: Path, store: CaseStore, tmp_path: Path) -> None:
    one, alone = CaseStore(tmp_path / "one"), run(source, CaseStore(tmp_path / "one"))
    (source / "mine" / "b" / "ct.nii.gz").write_bytes(b"")
    together = run(source, store, jobs=2, on_error="skip")
    assert together == [record for record in alone if record.case != "mine/b"]
    assert [case.case for case in store.skipped()] == ["mine/b"]
    for record in together:
        np.testing.assert_array_equal(store.labels(record)[:], one.labels(record)[:])


def test_two_preparations_of_one_store_do_not_meet(
    source: Path, store: CaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def another(*arguments: object, **keywords: object) -> CaseRecord:
        with pytest.raises(InputError, match="another program is preparing"):
            run(source, store)
        raise InputError("seen", "stop")

    monkeypatch.setattr(module, "prepare_case", another)
    with pytest.raises(InputError, match="seen"):
        run(source, store)


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_a_full_disk_stops_and_leaves_nothing_half_written(on_error: str, source: Path, store: CaseStore) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # no file may grow beyond 100 bytes
    try:
        with pytest.raises(ResourceError, match="full"):
            run(source, store, on_error=on_error)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert contents(store) == {}
    assert len(run(source, store)) == len(CASES)


# Bad cases


def empty_file(folder: Path) -> None:
    (folder / "ct.nii.gz").write_bytes(b"")


def cut_ct(folder: Path) -> None:
    path = folder / "ct.nii.gz"
    path.write_bytes(path.read_bytes()[:-300])


def cut_labels(folder: Path) -> None:
    path = folder / "labels.nii.gz"
    path.write_bytes(path.read_bytes()[:40])


def labels_of_another_shape(folder: Path) -> None:
    write_image(folder / "labels.nii.gz", np.zeros((SHAPE[0] - 1, *SHAPE[1:]), np.uint8))


def shifted_labels(folder: Path) -> None:
    image = sitk.ReadImage(str(folder / "labels.nii.gz"))
    image.SetOrigin((0.0, 0.0, 1.5))
    sitk.WriteImage(image, str(folder / "labels.nii.gz"))


def flipped_labels(folder: Path) -> None:
    image = sitk.ReadImage(str(folder / "labels.nii.gz"))
    image.SetDirection((-1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    sitk.WriteImage(image, str(folder / "labels.nii.gz"))


def unknown_value(folder: Path) -> None:
    write_image(folder / "labels.nii.gz", layouts.label_map((1, 2, 77)))


def fractions(folder: Path) -> None:
    write_image(folder / "labels.nii.gz", np.full(SHAPE, 0.5, np.float32))


def no_ct(folder: Path) -> None:
    write_image(folder / "ct.nii.gz", np.zeros(SHAPE, np.uint8))


def no_labels(folder: Path) -> None:
    (folder / "labels.nii.gz").unlink()


BAD = {
    empty_file: "ct.nii.gz is empty",
    cut_ct: "ct.nii.gz",
    cut_labels: "labels.nii.gz cannot be read",
    labels_of_another_shape: r"not on the grid of its CT \(15 x 12 x 8 voxels, the CT has 15 x 12 x 9\)",
    shifted_labels: r"not on the grid of its CT \(its voxels lie up to 1.5 mm away\)",
    flipped_labels: "not on the grid of its CT",
    unknown_value: "labels.nii.gz holds the label value 77, which its data set does not define",
    fractions: "holds values that are no whole numbers",
    no_ct: "ct.nii.gz",
    no_labels: "labels.nii.gz is missing",
}


@pytest.mark.parametrize("spoil", BAD, ids=lambda spoil: spoil.__name__)
def test_a_bad_case_is_named_and_stops_or_is_skipped(
    spoil: Callable[[Path], None], source: Path, store: CaseStore
) -> None:
    spoil(source / "mine" / "b")
    with pytest.raises(InputError, match=BAD[spoil]) as stopped:
        run(source, store)
    assert str(stopped.value).startswith("case mine/b: ") or "labels.nii.gz is missing" in str(stopped.value)
    assert not (store.root / MANIFEST).exists()
    records = run(source, store, on_error="skip")
    assert [record.case for record in records] == ["mine/a", "mine/c", "mine/d"]
    assert store.records() == records
    (skipped,) = store.skipped()
    assert (skipped.case, skipped.dataset) == ("mine/b", "mine")
    assert not list(store.root.glob("mine/b"))


def test_a_mended_case_is_no_longer_skipped(source: Path, store: CaseStore, prepared: list[str]) -> None:
    empty_file(source / "mine" / "b")
    run(source, store, on_error="skip")
    layouts.own_folder(source, TABLE, "b")
    prepared.clear()
    assert len(run(source, store, on_error="skip")) == len(CASES)
    assert prepared == ["mine/b"]
    assert not (store.root / SKIPPED).exists()


def test_skipped_cases_of_other_data_sets_stay_listed(source: Path, store: CaseStore) -> None:
    store.write_skipped([SkippedCase("other/x", "other", "why: what"), SkippedCase("mine/gone", "mine", "why: what")])
    run(source, store)
    assert store.skipped() == [SkippedCase("other/x", "other", "why: what")]


def test_a_data_set_of_bad_cases_only(source: Path, store: CaseStore) -> None:
    for case in CASES:
        empty_file(source / "mine" / case)
    with pytest.raises(InputError, match=r"no case can be used \(.*is empty"):
        run(source, store, on_error="skip")
    assert len(store.skipped()) == len(CASES)
    assert not (store.root / MANIFEST).exists()


def test_two_cases_of_one_name_are_refused(source: Path, store: CaseStore) -> None:
    twice = adapters_named(["folder:mine"])["mine"]
    with pytest.raises(InputError, match="are both called mine/a"):
        prepare(source, store, SPACING, {"one": twice, "two": twice})


def test_no_jobs(source: Path, store: CaseStore) -> None:
    with pytest.raises(InputError, match="--jobs is 0"):
        run(source, store, jobs=0)
