"""The shipped configurations of pretraining make what they say, on any machine."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from openvocabct_training.checks import check_sides
from openvocabct_training.lightning_cli import TrainingCLI
from openvocabct_training.pretraining.command import PretrainingCLI
from OpenVocabCTLib.models.stunet import SIZES

FOLDER = Path(__file__).parents[3] / "Training" / "configs"
ANY_MACHINE = ["--trainer.accelerator", "cpu", "--trainer.devices", "1"]


@pytest.mark.parametrize("name", ["nano_cpu", "B", "L"])
def test_pretraining(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = FOLDER / "pretraining" / f"{name}.yaml"
    monkeypatch.chdir(tmp_path)
    with torch.device("meta"):
        made = PretrainingCLI.with_arguments(["--config", str(path), *ANY_MACHINE], run=False)
    said = yaml.safe_load(path.read_text())
    assert made.model.network.tower.backbone.channels == SIZES[said["model"]["architecture"]["size"]].channels
    assert made.model.network.chunk == said["model"].get("chunk", 0)
    check_sides("data.view.size", made.datamodule.view.size, made.model.stride)
    assert made.trainer.max_steps == said["trainer"]["max_steps"]
    assert made.trainer.reload_dataloaders_every_n_epochs == 1


def test_transfer_fits_the_pretraining_that_it_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = FOLDER / "pretraining" / "transfer_nano_cpu.yaml"
    monkeypatch.chdir(tmp_path)
    made = TrainingCLI.with_arguments(["--config", str(path), *ANY_MACHINE], run=False)
    said = yaml.safe_load((FOLDER / "pretraining" / "nano_cpu.yaml").read_text())["model"]
    assert made.model.model.backbone.channels == SIZES[said["architecture"]["size"]].channels
    assert list(made.model.preprocessing.spacing_mm) == said["preprocessing"]["spacing_mm"]
    assert made.model.model.projection.linear.out_channels == said["architecture"]["embedding_dim"]


def test_slurm_goes_on_where_it_was() -> None:
    script = (FOLDER / "hardware" / "pretrain.sbatch").read_text()
    assert "openvocabct-train pretrain" in script
    assert "--ckpt_path last" in script
