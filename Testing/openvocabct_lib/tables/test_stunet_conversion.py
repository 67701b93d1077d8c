"""STU-Net: the published names, shapes and computation, spelled out from the public source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from OpenVocabCTLib.cli import main
from OpenVocabCTLib.errors import InputError, ModelError
from OpenVocabCTLib.inference import Segmenter
from OpenVocabCTLib.models.checkpoints import read_config
from OpenVocabCTLib.models.class_table import read_network
from OpenVocabCTLib.models.config import answered_concepts
from OpenVocabCTLib.models.converting.names import known_concepts
from OpenVocabCTLib.models.converting.stunet import CLASSES, read_stunet
from OpenVocabCTLib.models.converting.writing import Description, unmapped, write_model
from OpenVocabCTLib.prompts import PromptSet, Vocabulary
from Testing.openvocabct_lib.tables.results_folders import write_stunet
from Testing.openvocabct_lib.tables.words import BagOfWords

SMALL, STRIDES = (16, 32, 64, 128, 256, 256), ((2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2), (1, 1, 2))
State = dict[str, Tensor]


def published_state(classes: int = 105, channels: tuple[int, ...] = SMALL) -> State:
    state: State = {}

    def convolution(name: str, inside: int, outside: int, size: int) -> None:
        state[f"{name}.weight"] = torch.randn(outside, inside, size, size, size) * (2.0 / (inside * size**3)) ** 0.5
        state[f"{name}.bias"] = 0.1 * torch.randn(outside)

    def block(name: str, inside: int, outside: int) -> None:
        convolution(f"{name}.conv1", inside, outside, 3)
        convolution(f"{name}.conv2", outside, outside, 3)
        convolution(f"{name}.conv3", inside, outside, 1)
        for norm in ("norm1", "norm2"):
            state[f"{name}.{norm}.weight"] = 1.0 + 0.1 * torch.randn(outside)
            state[f"{name}.{norm}.bias"] = 0.1 * torch.randn(outside)

    torch.manual_seed(0)
    for level, (inside, outside) in enumerate(zip((1, *channels[:-1]), channels, strict=True)):
        block(f"conv_blocks_context.{level}.0", inside, outside)
    for up in range(5):
        deep, shallow = channels[-1 - up], channels[-2 - up]
        convolution(f"upsample_layers.{up}.conv", deep, shallow, 1)
        block(f"conv_blocks_localization.{up}.0", 2 * shallow, shallow)
        convolution(f"seg_outputs.{up}", shallow, classes, 1)
    return state


def published_logits(state: State, x: Tensor) -> Tensor:
    def convolve(name: str, x: Tensor, stride: tuple[int, ...] = (1, 1, 1)) -> Tensor:
        weight = state[f"{name}.weight"]
        return F.conv3d(x, weight, state[f"{name}.bias"], stride, padding=weight.shape[-1] // 2)

    def normalise(name: str, x: Tensor) -> Tensor:
        return F.instance_norm(x, weight=state[f"{name}.weight"], bias=state[f"{name}.bias"])

    def block(name: str, x: Tensor, stride: tuple[int, ...] = (1, 1, 1)) -> Tensor:
        y = F.leaky_relu(normalise(f"{name}.norm1", convolve(f"{name}.conv1", x, stride)))
        y = normalise(f"{name}.norm2", convolve(f"{name}.conv2", y))
        return F.leaky_relu(y + convolve(f"{name}.conv3", x, stride))

    skips = []
    for level, stride in enumerate(((1, 1, 1), *STRIDES)):
        x = block(f"conv_blocks_context.{level}.0", x, stride)
        skips.append(x)
    for up in range(5):
        x = F.interpolate(x, scale_factor=STRIDES[-1 - up], mode="nearest")
        x = torch.cat((convolve(f"upsample_layers.{up}.conv", x), skips[-2 - up]), dim=1)
        x = block(f"conv_blocks_localization.{up}.0", x)
    return convolve("seg_outputs.4", x)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, State]:
    state = published_state()
    return write_stunet(tmp_path_factory.mktemp("stunet") / "small_ep4k.model", state), state


def test_logits_are_those_of_the_published_computation(checkpoint: tuple[Path, State], tmp_path: Path) -> None:
    path, state = checkpoint
    write_model(tmp_path / "model", [source := read_stunet(path)], Description("a test", "Apache-2.0"), BagOfWords())
    network, table = read_network(tmp_path / "model" / "model.safetensors", source.config)
    image = torch.randn(1, 32, 32, 64)
    with torch.no_grad():
        expected = published_logits(state, image[:, None])[0]
        embedding = network.encode_image(image, torch.zeros_like(image)).embedding[0]
    got = torch.einsum("ce,edhw->cdhw", table.vectors, embedding) + table.biases[:, None, None, None]
    assert got.shape == expected.shape == (105, 32, 32, 64)
    assert (got - expected).abs().max() <= 1e-4
    preprocessing = source.config.preprocessing
    assert preprocessing.spacing_mm == (1.5, 1.5, 1.5) and preprocessing.patch == (128, 128, 128)
    assert preprocessing.scheme == "zscore" and not preprocessing.normalise_first and preprocessing.orientation == "RAS"


def test_every_published_class_has_its_place_in_the_vocabulary(checkpoint: tuple[Path, State]) -> None:
    config = read_stunet(checkpoint[0]).config
    assert len(CLASSES) == 105 and len(config.concepts) == 104
    assert all(concept in Vocabulary.load() for concept in config.concepts.values())
    assert config.concepts["kidney_left"] == "left_kidney" and config.concepts["vertebrae_T12"] == "vertebra_t12"


def test_a_number_of_scans_that_nobody_states_is_not_made_up(
    checkpoint: tuple[Path, State], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = replace(read_stunet(checkpoint[0]), cases=None)
    write_model(tmp_path / "model", [source], Description("a test", "Apache-2.0"), BagOfWords())
    raw = read_config(tmp_path / "model")
    assert raw["concepts"]["left_kidney"]["cases"] is None
    assert "left_kidney" in answered_concepts(raw)
    with pytest.raises(SystemExit) as stopped:
        main(["models", "show", str(tmp_path / "model")])
    assert stopped.value.code == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("left_kidney ")]
    assert line.split() == ["left_kidney", "-", "-", "yes"]
    segmenter = Segmenter.from_pretrained(tmp_path / "model", device="cpu", backend="torch")
    prompt = PromptSet.parse(["left kidney"])[0]
    assert not segmenter.questions.ask(prompt).refusal


def test_names_in_other_spellings() -> None:
    found = known_concepts(("background", "RightParotid", "SpinalCord", "KIDNEY_LEFT", "kidney", "L1-thing", ""))
    assert found == {
        "RightParotid": "right_parotid_gland",
        "SpinalCord": "spinal_cord",
        "KIDNEY_LEFT": "left_kidney",
        "kidney": "kidneys",
    }


def test_sides_in_the_spelling_of_radiotherapy() -> None:
    """TG-263 writes sides as one letter."""
    expected = {
        "Kidney_L": "left_kidney",
        "Kidney_R": "right_kidney",
        "Lung_Lt": "left_lung",
        "Lung_Rt": "right_lung",
        "Femur_Head_L": "left_femoral_head",
        "ParotidR": "right_parotid_gland",
        "A_Carotid_L": "left_common_carotid_artery",
        "vertebrae_L1": "vertebra_l1",
    }
    # A half of what has no sides is not the whole.
    assert known_concepts(("background", *expected, "Liver_L", "Heart_R")) == expected


def test_vessels_in_the_spelling_of_radiotherapy_are_no_organs() -> None:
    """TG-263 writes arteries and veins as one letter before their name."""
    expected = {
        "A_Pulmonary": "pulmonary_artery",
        "A_Pulmonary_L": "left_pulmonary_artery",
        "V_Pulmonary": "pulmonary_vein",
        "V_VenaCava_S": "superior_vena_cava",
        "Lung_L": "left_lung",
    }
    assert known_concepts(("background", *expected)) == expected


def test_parts_and_remainders_are_not_the_whole() -> None:
    """What a letter or sign of TG-263 says more than the name: the upper part, a part, what a tumor leaves."""
    parts = ["Esophagus_S", "Spine_S", "Musc_Constrict_M", "Brain~", "Lung~_L", "Lungs-GTV", "Lungs^Ex", "!liver"]
    assert known_concepts(("background", *parts, "Lung (R)", "Spinal-Cord")) == {
        "Lung (R)": "right_lung",
        "Spinal-Cord": "spinal_cord",
    }


def test_other_networks_are_refused(checkpoint: tuple[Path, State], tmp_path: Path) -> None:
    path, state = checkpoint
    with pytest.raises(ModelError, match=r"the last layer has 105 classes, the plan 3"):
        read_stunet(path, classes=("background", "a", "b"))
    less = {name: tensor for name, tensor in state.items() if name != "upsample_layers.2.conv.bias"}
    with pytest.raises(ModelError, match=r"is missing"):
        read_stunet(write_stunet(tmp_path / "less.model", less))
    with pytest.raises(ModelError, match=r"16 to 250 channels"):
        other = state | {"conv_blocks_context.5.0.conv1.weight": torch.zeros(250, 256, 3, 3, 3)}
        read_stunet(write_stunet(tmp_path / "other.model", other))
    with pytest.raises(InputError, match=r"there is no file"):
        read_stunet(tmp_path / "none.model")
    write_stunet(tmp_path / "alone.model", {}).with_name("alone.model.pkl").unlink()
    with pytest.raises(InputError, match=r"there is no alone.model.pkl"):
        read_stunet(tmp_path / "alone.model")
    assert not unmapped_of(path)


def unmapped_of(path: Path) -> list[str]:
    from OpenVocabCTLib.models.tables import TableConfig

    return unmapped(TableConfig((read_stunet(path).config,)))
