"""The command line around a real network with random weights: that the parts fit, not what they answer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner, Result

from OpenVocabCTLib.cli import app
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


def test_weights_that_do_not_fit_the_configuration(model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for path in model.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    config = json.loads((other / "config.json").read_text(encoding="utf-8"))
    config["architecture"]["embedding_dim"] = 9
    (other / "config.json").write_text(json.dumps(config), encoding="utf-8")
    result = segment(tmp_path, other)
    assert result.exit_code == 3
    assert "do not fit" in result.stderr
    assert not (tmp_path / "out.seg.nrrd").exists()
