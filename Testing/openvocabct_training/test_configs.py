from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pytorch_lightning.strategies import DDPStrategy
from safetensors.torch import load_file

from openvocabct_training.baselines import BASELINES
from openvocabct_training.baselines.training import BaselineTraining
from openvocabct_training.checks import check_sampling, check_sides
from openvocabct_training.data.adapters import ADAPTERS
from openvocabct_training.data.module import PatchDataModule
from openvocabct_training.export import read_decision
from openvocabct_training.finetune import TextPromptedSegmentation
from openvocabct_training.lightning_cli import TrainingCLI, names_a_class
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.models.stunet import SIZES
from OpenVocabCTLib.prompts.vocabulary import Vocabulary

FOLDER = Path(__file__).parents[2] / "Training" / "configs"
SMALL = FOLDER.parents[1] / "OpenVocabCTLib" / "weights" / "openvocabct-small"
FILES = sorted(FOLDER.glob("*.yaml"))
# The other files hold the thresholds of exported models.
TEXT_PROMPTED = [path for path in FILES if "trainer" in yaml.safe_load(path.read_text())]
BASELINE_FILES = sorted((FOLDER / "baselines").glob("*.yaml"))
HARDWARE = sorted((FOLDER / "hardware").glob("*.yaml"))
ANY_MACHINE = ["--trainer.accelerator", "cpu", "--trainer.devices", "1"]


def read(path: Path) -> dict[str, Any]:
    said: dict[str, Any] = yaml.safe_load(path.read_text())
    return said


def make(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> TrainingCLI:
    """Make what a configuration says, on any machine; large networks without memory for their weights."""
    monkeypatch.chdir(folder)  # nothing is written, but Lightning looks at the folder
    # MONAI's transformer reads values of tensors while it is made.
    with torch.device("cpu" if "baselines" in arguments[1] else "meta"):
        return TrainingCLI.with_arguments([*arguments], run=False)


@pytest.fixture(params=[*TEXT_PROMPTED, *BASELINE_FILES], ids=lambda path: path.stem)
def config(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_what_there_is() -> None:
    assert {path.stem for path in TEXT_PROMPTED} == {"tiny_cpu", "small16_cpu", "S", "B", "L"}
    assert {path.stem for path in BASELINE_FILES} == {"cnn", "vit", "universal", "visual"}
    assert {path.stem for path in HARDWARE} == {"8gpu", "slurm"}


def test_thresholds_can_be_read() -> None:
    for path in set(FILES) - set(TEXT_PROMPTED):
        assert 0.0 < read_decision(path).threshold < 1.0


def test_shipped_configurations_make_what_they_say(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(monkeypatch, tmp_path, "--config", str(config), *ANY_MACHINE)
    said = read(config)
    module, data, trainer = made.model, made.datamodule, made.trainer
    assert isinstance(data, PatchDataModule)
    model = said["model"].get("init_args", said["model"])
    if "class_path" in said["model"]:
        assert isinstance(module, BaselineTraining)
        assert type(module).__name__ == said["model"]["class_path"].rpartition(".")[2] in BASELINES
        assert list(module.concepts) == model.get("concepts", [])
    else:
        assert isinstance(module, TextPromptedSegmentation)
        assert module.model.backbone.channels == SIZES[model["architecture"]["size"]].channels
    assert module.preprocessing.hu_windows == tuple(map(tuple, model["preprocessing"]["hu_windows"]))
    assert data.sampling.dataset_weights == said["data"]["sampling"]["dataset_weights"]
    assert (data.batch_size, data.samples_per_epoch) == (said["data"]["batch_size"], said["data"]["samples_per_epoch"])
    assert trainer.max_steps == said["trainer"]["max_steps"]
    assert {"EMAWeightAveraging", "ModelCheckpoint", "RunRecord", "PatchPreviews"} <= {
        type(callback).__name__ for callback in trainer.callbacks
    }
    # What `fit` would check, apart from the store.
    check_sides("patch", data.sampling.patch, module.stride)
    check_sides("tile", module.preprocessing.tile, module.stride)
    assert module.preprocessing.tile == data.sampling.patch
    check_sampling(data.sampling)


def test_going_on_from_the_embedded_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER.parents[1])  # the configuration names the weights as seen from the repository's root
    files = [FOLDER / "small16_cpu.yaml", FOLDER / "start" / "openvocabct_small.yaml"]
    words = [word for path in files for word in ("--config", str(path))]
    made = TrainingCLI.with_arguments([*words, *ANY_MACHINE, "--trainer.precision", "32-true"], run=False)
    assert isinstance(made.model, TextPromptedSegmentation)
    embedded = load_file(SMALL / "model.safetensors")
    own = made.model.model.state_dict()
    assert set(own) == set(embedded)
    assert all(torch.equal(own[name], weights.float()) for name, weights in embedded.items())
    assert isinstance(made.datamodule, PatchDataModule)
    assert made.datamodule.augmentation.elastic_mm > 0
    assert made.datamodule.sampling.patch == made.model.preprocessing.tile


@pytest.mark.parametrize("hardware", HARDWARE, ids=lambda path: path.stem)
def test_hardware_comes_after_any_network(hardware: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [word for path in (FOLDER / "S.yaml", hardware) for word in ("--config", str(path))]
    trainer = make(monkeypatch, tmp_path, *files, "--trainer.accelerator", "cpu").trainer
    said = read(hardware)["trainer"]
    assert isinstance(trainer.strategy, DDPStrategy)
    assert (trainer.num_devices, trainer.num_nodes) == (said["devices"], said["num_nodes"])
    assert trainer.max_steps == read(FOLDER / "S.yaml")["trainer"]["max_steps"]


def test_gpus_compute_in_bfloat16() -> None:
    for path in TEXT_PROMPTED:
        said = read(path)["trainer"]
        assert said["accelerator"] != "gpu" or said["precision"] == "bf16-mixed"


@pytest.mark.parametrize("baseline", BASELINE_FILES, ids=lambda path: path.stem)
def test_baselines_have_the_data_and_the_budget_of_the_text_prompted_network(baseline: Path) -> None:
    ours, theirs = read(FOLDER / "small16_cpu.yaml"), read(baseline)
    folder = theirs["trainer"]["default_root_dir"]
    assert theirs["data"] == ours["data"]
    moved = yaml.safe_load(yaml.safe_dump(ours["trainer"]).replace(ours["trainer"]["default_root_dir"], folder))
    assert theirs["trainer"] == moved and theirs["seed_everything"] == ours["seed_everything"]
    model = theirs["model"]["init_args"]
    assert {**model["preprocessing"]} == {**ours["model"]["preprocessing"]}
    for option in ("learning_rate", "weight_decay", "warmup_steps"):
        assert model[option] == ours["model"][option]
    assert model.get("concepts", ours["model"]["architecture"]["concepts"]) == ours["model"]["architecture"]["concepts"]


@pytest.mark.parametrize("steps", [600, 2400])
@pytest.mark.parametrize("system", [FOLDER / "small16_cpu.yaml", *BASELINE_FILES], ids=lambda path: path.stem)
def test_a_comparison_has_one_budget(system: Path, steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    budget = FOLDER / "comparison" / f"budget_{steps}.yaml"
    made = make(monkeypatch, tmp_path, "--config", str(system), "--config", str(budget))
    said = read(budget)
    assert made.trainer.max_steps == said["trainer"]["max_steps"] == steps
    assert made.datamodule.sampling.patch == tuple(said["data"]["sampling"]["patch"])
    assert made.datamodule.sampling.dataset_weights == {"openkbp": 1.0}
    assert made.datamodule.samples_per_epoch == said["data"]["samples_per_epoch"]
    # What the budget leaves open is that of the system's own file, which is the same for all.
    assert made.datamodule.sampling.positives == read(system)["data"]["sampling"]["positives"]
    check_sides("patch", made.datamodule.sampling.patch, made.model.stride)
    script = (budget.parent / "run.sh").read_text()
    assert system.name == "small16_cpu.yaml" or system.stem in script


def test_shipped_configurations_name_known_data_sets(config: Path) -> None:
    weights = read(config)["data"]["sampling"]["dataset_weights"]
    if weights != "auto":
        assert set(weights) <= set(ADAPTERS)
        assert sum(weights.values()) == pytest.approx(1.0)


def test_shipped_configurations_name_known_concepts(config: Path) -> None:
    model = read(config)["model"]
    concepts = model.get("init_args", model.get("architecture", {})).get("concepts", [])
    assert [concept for concept in concepts if concept not in Vocabulary.load()] == []
    assert len(set(concepts)) == len(concepts)
    # A sided concept without its mirror image would have a query that mirrored patients never train.
    mirrors = {Vocabulary.load().get(concept).mirror for concept in concepts} - {None}
    assert len(mirrors - set(concepts)) <= 2  # arteries of one side only


@pytest.mark.parametrize("path", [FOLDER / "small16_cpu.yaml", FOLDER / "baselines" / "cnn.yaml"], ids=lambda p: p.stem)
def test_every_key_is_known(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = read(path)
    broken["model"].get("init_args", broken["model"])["learning_rat"] = 1.0
    copy = tmp_path / "broken.yaml"
    copy.write_text(yaml.safe_dump(broken))
    with pytest.raises(SystemExit) as stopped:
        TrainingCLI.with_arguments(["--config", str(copy)], run=False)
    assert stopped.value.code == 2
    assert "learning_rat" in capsys.readouterr().err


def test_which_configurations_choose_a_class(tmp_path: Path) -> None:
    ours, theirs = str(FOLDER / "small16_cpu.yaml"), str(FOLDER / "baselines" / "cnn.yaml")
    below = tmp_path / "below.yaml"
    below.write_text("fit:\n  model:\n    class_path: some.Network\n")
    (tmp_path / "list.yaml").write_text("[1, 2]")
    assert names_a_class(["fit", "--config", theirs])
    assert names_a_class(["fit", "--config", ours, f"--config={theirs}"])
    assert names_a_class(["fit", "-c", str(below)])
    assert names_a_class(["fit", "--model", "some.Network"])
    assert names_a_class(["fit", "--model.class_path=some.Network"])
    assert not names_a_class(["fit", "--config", ours, "--model.learning_rate", "1"])
    assert not names_a_class(["fit", "--config", "no.yaml"])
    assert not names_a_class(["fit", "--config", str(tmp_path / "list.yaml")])
    assert not names_a_class(["fit", "--config"])


def test_what_a_network_says_of_its_arguments_is_not_wrapped_up(tmp_path: Path) -> None:
    wrong = read(FOLDER / "baselines" / "universal.yaml")
    wrong["model"]["init_args"]["size"] = "huge"
    copy = tmp_path / "wrong.yaml"
    copy.write_text(yaml.safe_dump(wrong))
    with pytest.raises(InputError, match="there is no network size 'huge'"):
        TrainingCLI.with_arguments(["--config", str(copy), *ANY_MACHINE], run=False)
