from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from openvocabct_training import cli
from openvocabct_training.data.store import CaseStore
from Testing.openvocabct_training import raw_data
from Testing.openvocabct_training.data import layouts
from Testing.openvocabct_training.tiny_run import configuration, write_configuration
from Testing.openvocabct_training.toys import HashEncoder


def failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must fail for the user's fault; gives what it says."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(lines) == 1
    return lines[0]


def changed(store: CaseStore, folder: Path, *keys: str, value: Any) -> Path:
    """The tiny configuration with one entry replaced."""
    config = configuration(store, folder, 2)
    section = config
    for key in keys[:-1]:
        section = section[key]
    section[keys[-1]] = value
    return write_configuration(folder / "input" / "config.yaml", config)


@pytest.mark.parametrize(
    ("keys", "value", "said"),
    [
        (("data", "store"), "no/such/folder", "there is no training store in no/such/folder"),
        (
            ("data", "sampling", "patch"),
            [32, 48, 64],
            "data.sampling.patch is 32 x 48 x 64: its sides must be multiples",
        ),
        (("data", "sampling", "positives"), 30, "data.sampling.positives is 30: choose 1 to 24"),
        (("data", "sampling", "dataset_weights"), {"openkpb": 1.0}, "names 'openkpb', which the store does not hold"),
        (("model", "preprocessing", "spacing_mm"), 1.5, "the store has voxels of 3 mm"),
        (("model", "preprocessing", "tile"), [32, 32, 65], "model.preprocessing.tile is 32 x 32 x 65"),
        (("model", "architecture", "size"), "huge", "there is no network size 'huge'"),
    ],
)
def test_contradictions_are_one_sentence_before_anything_is_made(
    store: CaseStore,
    tmp_path: Path,
    encoder: HashEncoder,
    capsys: pytest.CaptureFixture[str],
    keys: tuple[str, ...],
    value: Any,
    said: str,
) -> None:
    path = changed(store, tmp_path, *keys, value=value)
    assert said in failure(capsys, "fit", "--config", str(path))
    assert not (tmp_path / "checkpoints").exists()
    assert encoder.encoded == []


def test_a_configuration_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no.yaml" in failure(capsys, "fit", "--config", "no.yaml")


def test_prepare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw_data.write_everything(tmp_path / "raw")
    cli.main(["prepare", str(tmp_path / "raw"), "--store", str(tmp_path / "store")])
    assert capsys.readouterr().out == f"23 cases in {tmp_path / 'store'}\n"
    assert len(CaseStore(tmp_path / "store").records()) == 23


def test_prepare_of_named_data_sets_with_a_bad_case(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layouts.segthor(tmp_path / "raw")
    layouts.kits23(tmp_path / "raw")
    bad = tmp_path / "raw" / "SegTHOR" / "train" / "Patient_40" / "GT.nii.gz"
    bad.write_bytes(b"")
    named = ["prepare", str(tmp_path / "raw"), "--store", str(tmp_path / "store"), "--dataset", "kits23", "segthor"]
    said = failure(capsys, *named)
    assert said.startswith(f"error: case segthor/Patient_40: {bad} cannot be read")
    assert said.endswith("--on-error skip")
    cli.main([*named, "--on-error", "skip", "--jobs", "1"])
    spoken = capsys.readouterr()
    assert spoken.out == f"3 cases in {tmp_path / 'store'}, 1 skipped (see {tmp_path / 'store' / 'skipped.jsonl'})\n"
    assert f"skipped segthor/Patient_40: {bad} cannot be read" in spoken.err
    assert [record.dataset for record in CaseStore(tmp_path / "store").records()] == ["kits23", "kits23", "segthor"]


def test_prepare_of_an_unknown_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = failure(capsys, "prepare", str(tmp_path), "--store", str(tmp_path / "store"), "--dataset", "amos")
    assert said.startswith("error: there is no data set 'amos': choose among openkbp, ")
    assert not (tmp_path / "store").exists()


def test_prepare_of_another_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = failure(capsys, "prepare", str(tmp_path), "--store", str(tmp_path / "store"))
    assert said == (
        f"error: {tmp_path / 'openkbp' / 'train'} is missing: give the folder that holds one folder per data set"
    )
    assert not (tmp_path / "store").exists()


def test_export_and_evaluate_of_what_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = failure(capsys, "export", str(tmp_path / "last.ckpt"), "--output", str(tmp_path / "model"))
    assert said == f"error: there is no checkpoint {tmp_path / 'last.ckpt'}: check the path"
    said = failure(capsys, "evaluate", str(tmp_path), "--output", str(tmp_path / "figures.json"))
    assert said.startswith(f"error: there are no patients in {tmp_path / 'openkbp' / 'validation'}")
    assert list(tmp_path.iterdir()) == []


def test_going_on_from_a_checkpoint_that_is_not_there(
    store: CaseStore, tmp_path: Path, encoder: HashEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_configuration(tmp_path / "config.yaml", configuration(store, tmp_path, 2))
    place = str(tmp_path / "none.ckpt")
    said = failure(capsys, "fit", "--config", str(path), "--ckpt_path", place)
    assert said.startswith(f"error: there is no checkpoint {place}: check --ckpt_path")
    said = failure(capsys, "fit", "--config", str(path), "--ckpt_path", str(path))
    assert said.startswith(f"error: {path} is no checkpoint of a training, or is cut off: check --ckpt_path")


def test_an_unwritable_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw_data.write_everything(tmp_path / "raw")
    (tmp_path / "file").write_text("")
    said = failure(capsys, "prepare", str(tmp_path / "raw"), "--store", str(tmp_path / "file" / "store"))
    assert str(tmp_path / "file") in said


def test_export_of_a_run(finished_run: Path, tmp_path: Path, encoder: HashEncoder, capsys: Any) -> None:
    cli.main(["export", str(finished_run / "last.ckpt"), "--output", str(tmp_path / "toy"), "--name", "toy"])
    assert capsys.readouterr().out == f"{tmp_path / 'toy'}\n"
    assert (tmp_path / "toy" / "config.json").is_file()


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="is missing"):
        cli.main(["prepare", str(tmp_path), "--debug"])


def test_interrupting(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "prepare", interrupt)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["prepare", "data"])
    assert stopped.value.code == 130
    assert capsys.readouterr().err == "error: stopped: run the command again\n"


@pytest.mark.parametrize("arguments", [[], ["train"], ["prepare"], ["export", "x.ckpt"], ["evaluate", "data"]])
def test_bad_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    failure(capsys, *arguments)


@pytest.mark.parametrize("command", [[], ["prepare"], ["export"], ["evaluate"]])
def test_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main([*command, "--help"])
    assert stopped.value.code == 0
    assert "openvocabct-train" in capsys.readouterr().out
