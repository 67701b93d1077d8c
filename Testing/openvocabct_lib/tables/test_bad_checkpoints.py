"""Checkpoints that must not be believed: one line each, and nothing of theirs is run."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from OpenVocabCTLib.cli import main
from OpenVocabCTLib.models.checkpoints import sha256_file
from OpenVocabCTLib.models.unpickling import read_checkpoint, read_plain_pickle
from Testing.openvocabct_lib.tables.results_folders import LABELS, write_results, write_stunet


class Malice:
    """Creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.target}",)


def convert(*words: str | Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as exit_info:
        main(["models", "convert", *map(str, words)])
    error = capsys.readouterr().err
    assert error.count("\n") <= 1 and "Traceback" not in error
    return int(exit_info.value.code or 0), error


@pytest.fixture
def results(tmp_path: Path) -> Path:
    write_results(tmp_path / "results")
    return tmp_path / "results"


def checkpoint(results: Path) -> Path:
    return results / "fold_0" / "checkpoint_final.pth"


def cut_off(results: Path) -> None:
    checkpoint(results).write_bytes(checkpoint(results).read_bytes()[:-2000])


def garbage(results: Path) -> None:
    checkpoint(results).write_bytes(b"not a checkpoint" * 100)


def a_bit_flipped(results: Path) -> None:
    content = bytearray(checkpoint(results).read_bytes())
    content[len(content) // 2] ^= 0xFF
    checkpoint(results).write_bytes(content)


def no_plan(results: Path) -> None:
    (results / "plans.json").unlink()


def broken_plan(results: Path) -> None:
    (results / "plans.json").write_text("{")


def a_tensor(results: Path) -> None:
    torch.save(torch.zeros(3), checkpoint(results))


def other_sizes(results: Path) -> None:
    plans = json.loads((results / "plans.json").read_text())
    sizes = plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    sizes["features_per_stage"] = [4, 6, 10]
    (results / "plans.json").write_text(json.dumps(plans))


def other_labels(results: Path) -> None:
    dataset = json.loads((results / "dataset.json").read_text())
    dataset["labels"] = {**LABELS, "spleen": 5}
    (results / "dataset.json").write_text(json.dumps(dataset))


def other_network(results: Path) -> None:
    plans = json.loads((results / "plans.json").read_text())
    plans["configurations"]["3d_fullres"]["architecture"]["network_class_name"] = "os.system"
    (results / "plans.json").write_text(json.dumps(plans))


def a_plan_without_numbers(results: Path) -> None:
    plans = json.loads((results / "plans.json").read_text())
    plans["foreground_intensity_properties_per_channel"]["0"]["mean"] = float("nan")
    (results / "plans.json").write_text(json.dumps(plans))


def a_plan_of_other_stages(results: Path) -> None:
    plans = json.loads((results / "plans.json").read_text())
    plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["n_conv_per_stage_decoder"] = [1]
    (results / "plans.json").write_text(json.dumps(plans))


def another_modality(results: Path) -> None:
    dataset = json.loads((results / "dataset.json").read_text())
    dataset["channel_names"] = {"0": "T1-weighted MRI"}
    (results / "dataset.json").write_text(json.dumps(dataset))


def training_that_diverged(results: Path) -> None:
    content = read_checkpoint(checkpoint(results))
    content["network_weights"]["encoder.stages.0.0.convs.0.conv.weight"][0] = torch.nan
    torch.save(content, checkpoint(results))


def a_class_without_a_number(results: Path) -> None:
    content = read_checkpoint(checkpoint(results))
    last = max(name for name in content["network_weights"] if "seg_layers" in name and name.endswith("bias"))
    content["network_weights"][last][1] = torch.inf
    torch.save(content, checkpoint(results))


@pytest.mark.parametrize(
    ("damage", "code", "words"),
    [
        (cut_off, 3, "checkpoint_final.pth is damaged or cut off"),
        (garbage, 3, "checkpoint_final.pth is damaged or cut off"),
        (a_bit_flipped, 3, "checkpoint_final.pth is damaged or cut off"),
        (no_plan, 2, "has no plans.json"),
        (broken_plan, 3, "plans.json is damaged"),
        (a_tensor, 3, "holds no checkpoint"),
        (other_sizes, 3, "no nnU-Net v2 network that can be read"),
        (other_labels, 3, "the last layer has 5 classes, the plan 6"),
        (a_plan_without_numbers, 3, "the intensities make no sense"),
        (a_plan_of_other_stages, 3, "no nnU-Net v2 network that can be read"),
        (another_modality, 3, "a network for T1-weighted MRI cannot be converted"),
        (training_that_diverged, 3, "has values that are not finite"),
        (a_class_without_a_number, 3, "the last layer has values that are not finite"),
        (other_network, 3, "a network of class os.system cannot be converted"),
    ],
)
def test_one_line(
    results: Path, damage: Callable[[Path], None], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(results)
    got, error = convert("nnunet", results, "-o", results.with_name("model"), capsys=capsys)
    assert got == code and words in error
    assert not results.with_name("model").exists()


@pytest.mark.parametrize("broken", ["a.model", "a.model.pkl"])
@pytest.mark.parametrize("kept", [0.0, 0.6])
def test_one_line_for_a_stunet_that_is_cut_off(
    tmp_path: Path, broken: str, kept: float, capsys: pytest.CaptureFixture[str]
) -> None:
    write_stunet(tmp_path / "a.model", {"a": torch.zeros(1000)})
    content = (tmp_path / broken).read_bytes()
    (tmp_path / broken).write_bytes(content[: int(kept * len(content))])
    code, error = convert("stunet", tmp_path / "a.model", "-o", tmp_path / "model", capsys=capsys)
    assert code == 3 and f"{broken} is damaged or cut off" in error and not (tmp_path / "model").exists()


def test_malice_is_refused_and_not_run(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "was_here"
    torch.save({"network_weights": Malice(trace)}, checkpoint(results))
    code, error = convert("nnunet", results, "-o", tmp_path / "model", capsys=capsys)
    assert code == 3 and "would run or build things that no checkpoint needs" in error and "system" in error
    plan = write_stunet(tmp_path / "evil.model", {}).with_name("evil.model.pkl")
    plan.write_bytes(pickle.dumps({"plans": Malice(trace)}))
    code, error = convert("stunet", tmp_path / "evil.model", "-o", tmp_path / "model", capsys=capsys)
    assert code == 3 and "would run or build things that no checkpoint needs" in error and "system" in error
    assert not trace.exists() and not (tmp_path / "model").exists()


def test_plans_may_hold_what_plans_hold(tmp_path: Path) -> None:
    path = write_stunet(tmp_path / "a.model", {}).with_name("a.model.pkl")
    assert read_plain_pickle(path)["plans"]["plans_per_stage"][0]["patch_size"].tolist() == [128, 128, 128]


def test_a_changed_model_is_not_loaded(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from OpenVocabCTLib.models.converting.nnunet import read_results
    from OpenVocabCTLib.models.converting.writing import Description, write_model
    from Testing.openvocabct_lib.tables.words import BagOfWords

    folder = tmp_path / "model"
    write_model(folder, [read_results(results)], Description("a test", "Apache-2.0"), BagOfWords())
    config = json.loads((folder / "config.json").read_text())
    assert config["source"]["sha256"] == [{"fold_0/checkpoint_final.pth": sha256_file(checkpoint(results))}]
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    with pytest.raises(SystemExit) as exit_info:
        main(["models", "verify", str(folder)])
    error = capsys.readouterr().err
    assert exit_info.value.code == 3 and "is damaged or was changed" in error and error.count("\n") == 1
