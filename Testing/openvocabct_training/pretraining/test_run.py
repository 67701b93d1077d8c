"""Pretraining through the command line: resuming after ``kill -9``, figures, and fine-tuning from its checkpoint."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from openvocabct_training import cli
from openvocabct_training.data.store import CaseStore
from openvocabct_training.finetune import TextPromptedSegmentation
from openvocabct_training.pretraining.validation import FIGURES
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.models.config import ArchitectureConfig, PreprocessingConfig
from Testing.openvocabct_training.pretraining.toy_corpus import VALIDATION, VIEW, configuration
from Testing.openvocabct_training.tiny_run import write_configuration
from Testing.openvocabct_training.toys import TEXT_DIM, HashEncoder

ROOT = Path(__file__).parents[3]
STEPS = 4
PROCESS = """
import sys
from openvocabct_training import cli
from OpenVocabCTLib.text.encoder import HuggingFaceTextEncoder
from Testing.openvocabct_training.toys import HashEncoder
HuggingFaceTextEncoder.default = HashEncoder
cli.main(["pretrain", "--config", sys.argv[1]])
"""


def pretrain(path: Path, *arguments: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cli.main(["pretrain", "--config", str(path), *arguments])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, corpus: CaseStore) -> Path:
    folder = tmp_path_factory.mktemp("pretraining")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("OpenVocabCTLib.text.encoder.HuggingFaceTextEncoder.default", HashEncoder)
        pretrain(write_configuration(folder / "config.yaml", configuration(corpus, folder, STEPS)))
    return folder


def state(folder: Path) -> dict[str, torch.Tensor]:
    content = torch.load(folder / "checkpoints" / f"step={STEPS}.ckpt", weights_only=True)
    assert content["global_step"] == STEPS
    found: dict[str, torch.Tensor] = content["state_dict"]
    return found


def test_a_killed_run_goes_on_and_ends_with_the_same_weights(
    finished: Path, corpus: CaseStore, tmp_path: Path, encoder: HashEncoder
) -> None:
    config = configuration(corpus, tmp_path, STEPS)
    kill = {"class_path": "Testing.openvocabct_training.tiny_run.KillAt", "init_args": {"step": 3}}
    killing = {**config, "trainer": {**config["trainer"], "callbacks": [*config["trainer"]["callbacks"], kill]}}
    path = write_configuration(tmp_path / "killing.yaml", killing)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "Training")])}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROCESS, str(path)], cwd=ROOT, env=environment, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "checkpoints" / f"step={STEPS}.ckpt").exists()
    pretrain(write_configuration(tmp_path / "config.yaml", config), "--ckpt_path", "last")
    one, other = state(finished), state(tmp_path)
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.mark.slow
def test_two_processes_share_every_epoch(finished: Path, corpus: CaseStore, tmp_path: Path) -> None:
    config = configuration(corpus, tmp_path, STEPS)
    config["trainer"] |= {"devices": 2, "strategy": "ddp"}
    config["data"]["batch_size"] = 1
    script = tmp_path / "run.py"  # a file, because Lightning starts the other process with the same command
    script.write_text(PROCESS)
    path = write_configuration(tmp_path / "config.yaml", config)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "Training")])}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), str(path)],
        cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    one, other = first_gradient(finished), first_gradient(tmp_path)
    assert (one - other).norm() < 0.01 * one.norm()
    assert (tmp_path / "checkpoints" / f"step={STEPS}.ckpt").exists()  # the second epoch has as many batches


def first_gradient(folder: Path) -> torch.Tensor:
    """Of all parameters, as Adam's first moments keep it."""
    content = torch.load(folder / "checkpoints" / "step=1.ckpt", weights_only=True)
    moments = content["optimizer_states"][0]["state"]
    return torch.cat([moments[place]["exp_avg"].flatten() for place in sorted(moments)])


def test_figures(finished: Path) -> None:
    rows = [json.loads(line) for line in (finished / FIGURES).read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4]
    last = rows[-1]
    assert last["studies"] == VALIDATION
    assert last["report/chance/R@1"] == pytest.approx(1 / VALIDATION, abs=1e-5)
    assert last["report/image_to_text/R@10"] == last["organ/text_to_image/R@10"] == 1.0
    assert 0.0 <= last["same_organ/image_to_text/R@1"] <= 1.0
    assert 0.0 <= last["zero_shot/Lung nodule"] <= 1.0
    assert "zero_shot/Emphysema" not in last  # all validation studies have it


def tower(folder: Path) -> dict[str, torch.Tensor]:
    found = state(folder)
    return {n.removeprefix("network.tower."): v for n, v in found.items() if n.startswith("network.tower.")}


@pytest.mark.parametrize("argument", ["init_from", "initial_weights"])
def test_fine_tuning_takes_the_image_tower(finished: Path, argument: str) -> None:
    torch.manual_seed(1)
    architecture = ArchitectureConfig(size="nano", embedding_dim=8, text_dim=TEXT_DIM, query_hidden_dim=16)
    place = str(finished / "checkpoints" / "last.ckpt")
    module = TextPromptedSegmentation(architecture, PreprocessingConfig(tile=VIEW), **{argument: place})  # type: ignore[arg-type]
    own = module.model.state_dict()
    trained = tower(finished)
    assert {name.partition(".")[0] for name in trained} == {"backbone", "projection"}
    assert all(torch.equal(own[name], value) for name, value in trained.items())
    with pytest.raises(InputError, match="both given"):
        TextPromptedSegmentation(architecture, PreprocessingConfig(tile=VIEW), initial_weights=place, init_from=place)


def test_whole_scans_alone_leave_the_decoder_as_it_was(
    corpus: CaseStore, tmp_path: Path, encoder: HashEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    config = configuration(corpus, tmp_path, 1, organ_weight=0.0)
    config["trainer"]["limit_val_batches"] = 0
    pretrain(write_configuration(tmp_path / "config.yaml", config))
    architecture = ArchitectureConfig(size="nano", embedding_dim=8, text_dim=TEXT_DIM, query_hidden_dim=16)
    torch.manual_seed(1)
    fresh = TextPromptedSegmentation(architecture, PreprocessingConfig(tile=VIEW)).model.state_dict()
    torch.manual_seed(1)
    place = str(tmp_path / "checkpoints" / "last.ckpt")
    started = TextPromptedSegmentation(architecture, PreprocessingConfig(tile=VIEW), init_from=place).model.state_dict()
    changed = {name.split(".")[1] for name, value in started.items() if not torch.equal(value, fresh[name])}
    assert changed == {"conv_blocks_context"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"report_weight": 0.0, "organ_weight": 0.0}}, "there is no loss"),
        ({"data": {"batch_size": 99}}, "fewer than a batch"),
        ({"data": {"view": {"size": [12, 16, 32]}}}, "multiples of 8"),
        ({"model": {"preprocessing": {"spacing_mm": 1.0}}}, "the store has voxels"),
    ],
)
def test_contradictions_are_found_before_anything_slow(
    change: dict[str, dict[str, Any]], message: str, corpus: CaseStore, tmp_path: Path, encoder: HashEncoder,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    config = configuration(corpus, tmp_path, 1)
    for section, entries in change.items():
        config[section] |= entries
    with pytest.raises(SystemExit) as stopped:
        pretrain(write_configuration(tmp_path / "config.yaml", config))
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
