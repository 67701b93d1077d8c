"""A run that was interrupted, however, ends with the very weights of one that was not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from openvocabct_training.data.dataset import PatchDataset, Sample
from openvocabct_training.data.store import CaseStore
from OpenVocabCTLib.text.encoder import HuggingFaceTextEncoder
from Testing.openvocabct_training.tiny_run import configuration, fit, write_configuration
from Testing.openvocabct_training.toys import HashEncoder

ROOT = Path(__file__).parents[2]
STEPS = 6
# What an interrupted process is told to do: train with the toy encoder, and kill itself in the middle of an epoch.
KILLED = """
import sys
from pathlib import Path
from openvocabct_training import cli
from OpenVocabCTLib.text.encoder import HuggingFaceTextEncoder
from Testing.openvocabct_training.toys import HashEncoder
HuggingFaceTextEncoder.default = HashEncoder
cli.main(["fit", "--config", sys.argv[1]])
"""


def stepwise(store: CaseStore, folder: Path) -> dict[str, Any]:
    """Two epochs of three steps each, a checkpoint after every step, validation after every epoch."""
    config = configuration(store, folder, STEPS)
    config["data"] |= {"samples_per_epoch": 3}
    config["trainer"]["callbacks"][0]["init_args"] = {
        "dirpath": str(folder / "checkpoints"),
        "filename": "{step}",
        "save_last": True,
        "save_top_k": -1,
        "every_n_train_steps": 1,
    }
    return config


def final(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(folder / "checkpoints" / f"step={STEPS}.ckpt", weights_only=True)
    return state


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one["global_step"] == other["global_step"] == STEPS
    for part in ("state_dict", "current_model_state"):
        assert one[part].keys() == other[part].keys()
        different = [name for name, tensor in one[part].items() if not torch.equal(tensor, other[part][name])]
        assert different == []
    moments = [list(run["optimizer_states"][0]["state"].values()) for run in (one, other)]
    for mine, theirs in zip(*moments, strict=True):
        assert all(torch.equal(mine[name], theirs[name]) for name in ("exp_avg", "exp_avg_sq", "step"))
    assert one["lr_schedulers"] == other["lr_schedulers"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, store: CaseStore) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HuggingFaceTextEncoder, "default", HashEncoder)
        fit(write_configuration(folder / "input.yaml", stepwise(store, folder)))
    return folder


@pytest.mark.parametrize("step", [1, 3, 5])
def test_from_any_step_on(
    store: CaseStore, uninterrupted: Path, tmp_path: Path, encoder: HashEncoder, step: int
) -> None:
    config = write_configuration(tmp_path / "input.yaml", stepwise(store, tmp_path))
    fit(config, "--ckpt_path", str(uninterrupted / "checkpoints" / f"step={step}.ckpt"))
    assert_same(final(tmp_path), final(uninterrupted))
    assert not (tmp_path / "checkpoints" / f"step={step}.ckpt").exists()  # nothing was done twice


@pytest.mark.parametrize("order", [(1, 0, 2, 3), (0, 1, 2)], ids=["sides swapped", "one less"])
def test_a_run_does_not_go_on_with_other_concepts(
    store: CaseStore, uninterrupted: Path, tmp_path: Path, encoder: HashEncoder, order: Sequence[int],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    config = stepwise(store, tmp_path)
    listed = config["model"]["architecture"]["concepts"]
    config["model"]["architecture"]["concepts"] = [listed[place] for place in order]
    path = write_configuration(tmp_path / "input.yaml", config)
    # Of a checkpoint that is named, Lightning takes the hyperparameters as well.
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(uninterrupted / "checkpoints" / "step=3.ckpt", tmp_path / "checkpoints" / "last.ckpt")
    with pytest.raises(SystemExit) as stopped:
        fit(path, "--ckpt_path", "last")
    assert stopped.value.code == 2
    assert "error: the run began with other concepts" in capsys.readouterr().err


def test_batches_that_are_added_up_need_not_divide_an_epoch(
    store: CaseStore, tmp_path: Path, encoder: HashEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[int, int]] = []
    draw = PatchDataset.__getitem__

    def noted(self: PatchDataset, index: int) -> Sample:
        if self.augmentation is not None:
            drawn.append((self.epoch, index))
            assert len(drawn) <= 2 * 5, "the run does not end"
        return draw(self, index)

    monkeypatch.setattr(PatchDataset, "__getitem__", noted)
    config = configuration(store, tmp_path, max_steps=4)
    config["data"]["samples_per_epoch"] = 5
    config["trainer"]["accumulate_grad_batches"] = 4
    fit(write_configuration(tmp_path / "input.yaml", config))
    assert drawn == [(epoch, index) for epoch in (0, 1) for index in range(5)]


def test_after_kill_9_in_the_middle_of_an_epoch(
    store: CaseStore, uninterrupted: Path, tmp_path: Path, encoder: HashEncoder
) -> None:
    config = stepwise(store, tmp_path)
    killed = {"class_path": "Testing.openvocabct_training.tiny_run.KillAt", "init_args": {"step": 4}}
    config["trainer"]["callbacks"].append(killed)
    path = write_configuration(tmp_path / "killed.yaml", config)
    search = os.pathsep.join(str(folder) for folder in (ROOT, ROOT / "Training"))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED, str(path)],
        env={**os.environ, "PYTHONPATH": search}, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert (tmp_path / "checkpoints" / "step=4.ckpt").is_file()
    assert not (tmp_path / "checkpoints" / "step=5.ckpt").exists()
    fit(write_configuration(tmp_path / "input.yaml", stepwise(store, tmp_path)), "--ckpt_path", "last")
    assert_same(final(tmp_path), final(uninterrupted))
