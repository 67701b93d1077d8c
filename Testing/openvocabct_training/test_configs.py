from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from openvocabct_training.checks import check_sampling, check_sides
from openvocabct_training.data.adapters import ADAPTERS
from openvocabct_training.data.module import PatchDataModule
from openvocabct_training.export import read_decision
from openvocabct_training.finetune import TextPromptedSegmentation
from openvocabct_training.lightning_cli import TrainingCLI
from OpenVocabCTLib.models.stunet import SIZES
from OpenVocabCTLib.prompts.vocabulary import Vocabulary

FILES = sorted((Path(__file__).parents[2] / "Training" / "configs").glob("*.yaml"))
# The other files hold the thresholds of exported models.
CONFIGS = [path for path in FILES if "trainer" in yaml.safe_load(path.read_text())]


@pytest.fixture(params=CONFIGS, ids=lambda path: path.stem)
def config(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_there_are_configurations() -> None:
    assert "small16_cpu.yaml" in [path.name for path in CONFIGS]


def test_thresholds_can_be_read() -> None:
    for path in set(FILES) - set(CONFIGS):
        assert 0.0 < read_decision(path).threshold < 1.0


def test_shipped_configurations_make_what_they_say(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # nothing is written, but Lightning looks at the folder
    made = TrainingCLI.with_arguments(["--config", str(config)], run=False)
    said = yaml.safe_load(config.read_text())
    assert isinstance(made.model, TextPromptedSegmentation)
    assert isinstance(made.datamodule, PatchDataModule)
    module, data, trainer = made.model, made.datamodule, made.trainer
    assert module.model.backbone.channels == SIZES[said["model"]["architecture"]["size"]].channels
    assert module.preprocessing.hu_windows == tuple(map(tuple, said["model"]["preprocessing"]["hu_windows"]))
    assert data.sampling.dataset_weights == said["data"]["sampling"]["dataset_weights"]
    assert (data.batch_size, data.samples_per_epoch) == (1, said["data"]["samples_per_epoch"])
    assert trainer.max_steps == said["trainer"]["max_steps"]
    assert [type(callback).__name__ for callback in trainer.callbacks if "EMA" in type(callback).__name__]
    # What `fit` would check, apart from the store.
    check_sides("patch", data.sampling.patch, module.model.backbone.stride)
    check_sides("tile", module.preprocessing.tile, module.model.backbone.stride)
    check_sampling(data.sampling)


def test_shipped_configurations_name_known_data_sets(config: Path) -> None:
    weights = yaml.safe_load(config.read_text())["data"]["sampling"]["dataset_weights"]
    assert set(weights) <= set(ADAPTERS)
    assert sum(weights.values()) == pytest.approx(1.0)


def test_shipped_configurations_name_known_concepts(config: Path) -> None:
    concepts = yaml.safe_load(config.read_text())["model"]["architecture"].get("concepts", [])
    assert [concept for concept in concepts if concept not in Vocabulary.load()] == []
    assert len(set(concepts)) == len(concepts)
    # A sided concept without its mirror image would have a query that mirrored patients never train.
    mirrors = {Vocabulary.load().get(concept).mirror for concept in concepts} - {None}
    assert len(mirrors - set(concepts)) <= 2  # arteries of one side only


def test_every_key_is_known(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken: dict[str, Any] = yaml.safe_load(config.read_text())
    broken["model"]["learning_rat"] = 1.0
    path = tmp_path / "broken.yaml"
    path.write_text(yaml.safe_dump(broken))
    with pytest.raises(SystemExit) as stopped:
        TrainingCLI.with_arguments(["--config", str(path)], run=False)
    assert stopped.value.code == 2
    assert "learning_rat" in capsys.readouterr().err
