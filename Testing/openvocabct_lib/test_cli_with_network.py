"""The command line around a real network with random weights: that the parts fit, not what they answer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner, Result

from OpenVocabCTLib.cli import app
from OpenVocabCTLib.models.checkpoints import sha256_file
from Testing.openvocabct_lib.fake_model import write_ct
from Testing.openvocabct_lib.random_model import write_random_model

PROMPTS = ("left lung", "lungs", "liver", "the quick brown fox")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_model(tmp_path_factory.mktemp("models") / "random")


def segment(folder: Path, model: Path, *words: str | Path) -> Result:
    ct = write_ct(folder / "ct.nrrd")
    prompts = [word for prompt in PROMPTS for word in ("-p", prompt)]
    command = ["segment", ct, *prompts, "-o", folder / "out.seg.nrrd", "--model", model, *words]
    return CliRunner().invoke(app, [str(word) for word in command])


def test_segment(model: Path, tmp_path: Path) -> None:
    result = segment(tmp_path, model, "--json", "--device", "cpu", "--probabilities", tmp_path / "probabilities")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["model"], report["device"]) == ("random", "cpu")
    assert tuple(record["prompt"] for record in report["segments"]) == PROMPTS
    for record in report["segments"][2:]:  # not trained, and names nothing
        assert record["found"] is False
        assert record["reason"]
    assert report["timings"]["image_pass"] > 0
    assert sitk.ReadImage(str(tmp_path / "out.seg.nrrd")).GetSize() == (30, 24, 20)
    left = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "probabilities" / "left_lung.nii.gz")))
    fox = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "probabilities" / "the_quick_brown_fox.nii.gz")))
    assert left.shape == (20, 24, 30)
    assert 0 <= left.min() < left.max() <= 1
    assert not np.any(fox)


@pytest.mark.parametrize("device", ["cuda:99", "mps:1"])
def test_device_that_is_not_there(model: Path, tmp_path: Path, device: str) -> None:
    result = segment(tmp_path, model, "--device", device)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "out.seg.nrrd").exists()


def copy_of(model: Path, folder: Path) -> Path:
    folder.mkdir()
    for path in model.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def change_configuration(model: Path, **changes: dict[str, object]) -> None:
    path = model / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for section, values in changes.items():
        config[section] |= values
    path.write_text(json.dumps(config), encoding="utf-8")


def test_weights_that_do_not_fit_the_configuration(model: Path, tmp_path: Path) -> None:
    other = copy_of(model, tmp_path / "other")
    change_configuration(other, architecture={"embedding_dim": 9})
    result = segment(tmp_path, other)
    assert result.exit_code == 3
    assert "do not fit" in result.stderr
    assert not (tmp_path / "out.seg.nrrd").exists()


def test_weights_that_are_no_numbers(model: Path, tmp_path: Path) -> None:
    """Everything would be "not in this scan"."""
    other = copy_of(model, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    next(iter(weights.values())).view(-1)[0] = float("nan")
    save_file(weights, other / "model.safetensors")
    change_configuration(other, sha256={"model.safetensors": sha256_file(other / "model.safetensors")})
    result = segment(tmp_path, other)
    assert result.exit_code == 3
    assert "do not fit" in result.stderr
