from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from openvocabct_training.finetune import TextPromptedSegmentation
from openvocabct_training.lightning_cli import TrainingCLI
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.models.config import ArchitectureConfig, ModelConfig, PreprocessingConfig
from OpenVocabCTLib.models.converting.stunet import CLASSES, read_stunet
from OpenVocabCTLib.models.converting.writing import Description, write_model
from OpenVocabCTLib.models.heads import voxel_logits
from OpenVocabCTLib.models.openvocab import window_hu
from Testing.openvocabct_lib.tables.results_folders import write_stunet
from Testing.openvocabct_lib.tables.test_stunet_conversion import STRIDES, published_logits, published_state
from Testing.openvocabct_lib.tables.words import BagOfWords

CONFIGS = Path(__file__).parents[2] / "Training" / "configs"
ARCHITECTURE = ArchitectureConfig("S", 32, 12, 16, ("liver", "mandible", "left_kidney"), STRIDES)
# The window that makes the network's input of an HU of typical mean and deviation.
WINDOWS = ((-900.0, 100.0), (-160.0, 240.0))


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    place, state = tmp_path_factory.mktemp("start"), published_state()
    source = read_stunet(write_stunet(place / "small.model", state))
    write_model(place / "stunet", [source], Description("a test", "Apache-2.0"), BagOfWords())
    return place / "stunet", state


def module(place: Path, architecture: ArchitectureConfig = ARCHITECTURE) -> TextPromptedSegmentation:
    return TextPromptedSegmentation(architecture, PreprocessingConfig(hu_windows=WINDOWS), initial_weights=str(place))


def test_first_logits_are_those_of_structure_against_background(
    converted: tuple[Path, dict[str, torch.Tensor]],
) -> None:
    place, state = converted
    model = module(place).model.eval()
    hu = torch.rand(1, 32, 32, 64) * 900.0 - 890.0
    with torch.no_grad():
        normalised = window_hu(hu, WINDOWS[:1])  # mean -400 and deviation 500 are exactly this window
        expected = published_logits(state, normalised)[0]
        embedding = model.encode_image(hu, torch.zeros_like(hu)).embedding[0]
        concept = torch.tensor([0, 1, 2])
        queries = model.encode_text(torch.zeros(3, 12), torch.tensor([0.0, 0.0, 1.0]), concept)
        logits = voxel_logits(embedding, queries)
    liver, kidney = CLASSES.index("liver"), CLASSES.index("kidney_left")
    for got, row in ((logits[0], liver), (logits[2], kidney)):
        torch.testing.assert_close(got, expected[row] - expected[0], rtol=1e-3, atol=1e-3)
    assert logits[1].abs().max() == 0  # not in the table: nothing is known of it yet


def test_what_does_not_fit_is_said(converted: tuple[Path, dict[str, torch.Tensor]]) -> None:
    for changes, words in (
        ({"size": "tiny"}, "another size"),
        ({"strides": None}, "has the strides"),
        ({"embedding_dim": 31}, "too small for 16 features"),
    ):
        with pytest.raises(InputError, match=words):
            module(converted[0], replace(ARCHITECTURE, **changes))


def test_strides_come_back_from_json() -> None:
    config = ModelConfig(ARCHITECTURE)
    assert ModelConfig.from_dict(yaml.safe_load(yaml.safe_dump(_lists(config.to_dict())))) == config


def _lists(value: object) -> object:
    if isinstance(value, dict):
        return {key: _lists(one) for key, one in value.items()}
    return [_lists(one) for one in value] if isinstance(value, tuple) else value


def test_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--config", str(CONFIGS / "S.yaml"), "--config", str(CONFIGS / "start" / "stunet_S.yaml")]
    with torch.device("meta"):
        made = TrainingCLI.with_arguments([*words, "--trainer.accelerator", "cpu"], run=False)
    assert made.model.model.backbone.steps[-1] == [1, 1, 2]
    assert made.model.model.projection.linear.out_channels >= 2 * made.model.model.backbone.channels[0]
