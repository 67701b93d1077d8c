from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from openvocabct_training.data.store import CaseStore
from openvocabct_training.export import export_checkpoint, load_checkpoint, read_decision
from OpenVocabCTLib.errors import InputError, ModelError
from OpenVocabCTLib.inference.questions import Wording
from OpenVocabCTLib.inference.segmenter import Segmenter
from OpenVocabCTLib.models import checkpoints
from OpenVocabCTLib.models.config import ArchitectureConfig, PreprocessingConfig
from OpenVocabCTLib.prompts.vocabulary import Side
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_lib.inference.phantoms import oblique_geometry, volume_on
from Testing.openvocabct_training.tiny_run import CONCEPTS, PATCH
from Testing.openvocabct_training.toys import TEXT_DIM, HashEncoder


@pytest.fixture(scope="session")
def checkpoint(finished_run: Path) -> Path:
    return finished_run / "last.ckpt"


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, store: CaseStore) -> Path:
    folder = tmp_path_factory.mktemp("models") / "toy"
    export_checkpoint(checkpoint, store.root, folder, "toy", "1.2.3", encoder=HashEncoder())
    return folder


@pytest.fixture(scope="session")
def raw(checkpoint: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(checkpoint, weights_only=True)
    return loaded


def rewrite(raw: dict[str, Any], path: Path, **changes: Any) -> Path:
    torch.save({key: value for key, value in {**raw, **changes}.items() if value is not None}, path)
    return path


def test_exported_weights_are_the_averaged_ones_in_half_precision(model: Path, raw: dict[str, Any]) -> None:
    exported = load_file(model / "model.safetensors")
    averaged = {key[6:]: value for key, value in raw["state_dict"].items() if key.startswith("model.")}
    assert exported.keys() == averaged.keys()
    assert not any("auxiliary" in name for name in exported)
    for name, tensor in exported.items():
        assert tensor.dtype == torch.float16
        assert torch.equal(tensor, averaged[name].half()), name
    current = raw["current_model_state"]
    assert any(not torch.equal(exported[name], current[f"model.{name}"].half()) for name in exported)


def test_the_exported_model_runs(model: Path, raw: dict[str, Any]) -> None:
    checkpoints.verify(model)
    segmenter = Segmenter.from_pretrained(model, device="cpu", precision="fp32")
    for name, weight in segmenter.model.state_dict().items():
        torch.testing.assert_close(weight, raw["state_dict"][f"model.{name}"], rtol=1e-3, atol=1e-6)
    # Its queries come from the bank: nothing but the training phrases is needed for what it was trained on.
    queries = segmenter.queries([Wording("left parotid gland", Side.LEFT)])
    text = torch.from_numpy(HashEncoder().encode(["left parotid gland"]))
    expected = segmenter.model.encode_text(text, torch.ones(1), torch.tensor([-1]))
    torch.testing.assert_close(queries.voxel, expected.voxel, rtol=1e-2, atol=1e-3)
    volume: CTVolume = volume_on(oblique_geometry((0.0, 0.0, 0.0)))
    segmentation = segmenter.encode(volume).segment(["left parotid gland", "liver"])
    assert [segment.canonical for segment in segmentation.segments] == ["left_parotid_gland", "liver"]


def test_configuration_says_what_was_trained(model: Path) -> None:
    description = json.loads((model / "config.json").read_text())
    assert (description["name"], description["version"]) == ("toy", "1.2.3")
    assert description["architecture"]["size"] == "tiny"
    assert description["preprocessing"]["tile"] == PATCH
    assert description["concepts"] == {
        "left_kidney": {"cases": 1},
        "left_parotid_gland": {"cases": 2},
        "liver": {"cases": 1},
        "right_parotid_gland": {"cases": 2},
        "spinal_cord": {"cases": 1},
    }
    assert set(description["sha256"]) == {"model.safetensors", "text_bank.safetensors"}
    info = checkpoints.describe(model)
    assert info.concepts == tuple(description["concepts"])


def test_changed_weights_are_noticed(model: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(model, tmp_path / "toy"))
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ModelError, match="sha256 differs"):
        Segmenter.from_pretrained(copy, device="cpu")


def test_exporting_again_replaces_the_model(model: Path, checkpoint: Path, store: CaseStore, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(model, tmp_path / "toy"))
    export_checkpoint(checkpoint, store.root, copy, "toy", "2.0", encoder=HashEncoder())
    assert checkpoints.describe(copy).version == "2.0"
    assert {path.name for path in copy.iterdir()} == {path.name for path in model.iterdir()}


def test_checkpoints_that_do_not_name_their_concepts_use_the_store(
    raw: dict[str, Any], store: CaseStore, tmp_path: Path
) -> None:
    old = rewrite(raw, tmp_path / "old.ckpt", PatchDataModule=None)
    assert load_checkpoint(old).concepts is None
    export_checkpoint(old, store.root, tmp_path / "toy", "toy", "1", encoder=HashEncoder())
    assert "left_parotid_gland" in checkpoints.describe(tmp_path / "toy").concepts
    with pytest.raises(InputError, match="no training store"):
        export_checkpoint(old, tmp_path / "none", tmp_path / "other", "toy", "1", encoder=HashEncoder())
    assert not (tmp_path / "other").exists()


def test_checkpoints_of_the_command_line_and_of_python_are_the_same(raw: dict[str, Any], tmp_path: Path) -> None:
    written_by_cli = raw["hyper_parameters"]
    assert isinstance(written_by_cli["architecture"], dict)
    dataclasses = {
        "architecture": ArchitectureConfig("tiny", 8, TEXT_DIM, 16, CONCEPTS),
        "preprocessing": PreprocessingConfig(3.0, tile=(32, 32, 64)),
    }
    first = load_checkpoint(rewrite(raw, tmp_path / "cli.ckpt"))
    second = load_checkpoint(rewrite(raw, tmp_path / "python.ckpt", hyper_parameters=dataclasses))
    assert first.config == second.config
    assert first.weights.keys() == second.weights.keys()


def test_thresholds_that_a_person_chose(checkpoint: Path, store: CaseStore, tmp_path: Path) -> None:
    path = tmp_path / "decision.yaml"
    path.write_text("presence_threshold: 0.3\nmin_volume_ml: 2.0\n")
    decision = read_decision(path)
    export_checkpoint(checkpoint, store.root, tmp_path / "toy", "toy", "1", decision, HashEncoder())
    segmenter = Segmenter.from_pretrained(tmp_path / "toy", device="cpu")
    assert segmenter.config.decision == decision
    assert (decision.presence_threshold, decision.min_volume_ml) == (0.3, 2.0)


@pytest.mark.parametrize("content", [None, "presence_treshold: 0.3\n", "[1, 2]\n", "a: [\n", ""])
def test_thresholds_that_cannot_be_read(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "decision.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match="cannot read thresholds"):
        read_decision(path)


# Wrong files


def test_a_missing_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no checkpoint"):
        load_checkpoint(tmp_path / "last.ckpt")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 broken archive"])
def test_files_that_are_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "last.ckpt"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is no checkpoint of this training"):
        load_checkpoint(path)


class Arbitrary:
    """Stands for any class that a checkpoint could smuggle in."""


def test_arbitrary_classes_are_not_unpickled(raw: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="UnpicklingError"):
        load_checkpoint(rewrite(raw, tmp_path / "bad.ckpt", extra=Arbitrary()))


def test_weights_of_another_network(raw: dict[str, Any], tmp_path: Path) -> None:
    hyperparameters = {**raw["hyper_parameters"], "architecture": {"size": "S"}}
    with pytest.raises(InputError, match="RuntimeError"):
        load_checkpoint(rewrite(raw, tmp_path / "bad.ckpt", hyper_parameters=hyperparameters))
    with pytest.raises(InputError, match="KeyError"):
        load_checkpoint(rewrite(raw, tmp_path / "bad.ckpt", state_dict=None))


def test_averages_differ_from_zero(raw: dict[str, Any]) -> None:
    assert np.mean([float(weight.abs().mean()) for weight in raw["state_dict"].values()]) > 0.01
