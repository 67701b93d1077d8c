"""What is read from the plans of nnU-Net v2, of all its versions, and what cannot be converted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from OpenVocabCTLib.errors import InputError, ModelError
from OpenVocabCTLib.models.converting.architectures import unet
from OpenVocabCTLib.models.converting.nnunet import read_results
from OpenVocabCTLib.models.converting.writing import Description, write_model
from Testing.openvocabct_lib.tables.results_folders import LABELS, write_results
from Testing.openvocabct_lib.tables.words import BagOfWords


@pytest.fixture
def results(tmp_path: Path) -> Path:
    write_results(tmp_path / "results", folds=(0, 1, 4))
    return tmp_path / "results"


def change(results: Path, edit: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """Edit the configuration and the data set's description."""
    plans, dataset = (json.loads((results / name).read_text()) for name in ("plans.json", "dataset.json"))
    edit(plans["configurations"]["3d_fullres"], dataset)
    (results / "plans.json").write_text(json.dumps(plans))
    (results / "dataset.json").write_text(json.dumps(dataset))


def test_what_the_plans_say(results: Path) -> None:
    config = read_results(results).config
    assert config.folds == 3 and config.family == "plain_unet" and config.classes == tuple(LABELS)
    given = config.preprocessing
    assert (given.transpose, given.patch, given.spacing_mm) == ((1, 0, 2), (16, 24, 16), (3.0, 2.0, 2.5))
    assert (given.low, given.high, given.mean, given.deviation) == (-500.0, 900.0, 20.0, 150.0)
    assert given.orientation == "stored" and given.mirror_axes == (0, 2) and given.normalise_first
    assert read_results(results, ["4"]).config.folds == 1
    assert read_results(results, orientation="RAS").config.preprocessing.orientation == "RAS"
    with pytest.raises(InputError, match=r"there is no checkpoint_final.pth in fold_7"):
        read_results(results, ["7"])
    with pytest.raises(InputError, match=r"has no plans.json"):
        read_results(results.parent)


def test_plans_of_older_versions(results: Path) -> None:
    """TotalSegmentator's networks came with plans that spell the architecture differently."""
    expected = read_results(results).config.arguments

    def as_before(configuration: dict[str, Any], dataset: dict[str, Any]) -> None:
        del configuration["architecture"], configuration["resampling_fn_probabilities_kwargs"]
        configuration |= {
            "UNet_class_name": "PlainConvUNet",
            "UNet_base_num_features": 4,
            "unet_max_num_features": 8,
            "n_conv_per_stage_encoder": expected["n_conv_per_stage"],
            "n_conv_per_stage_decoder": expected["n_conv_per_stage_decoder"],
            "conv_kernel_sizes": expected["kernel_sizes"],
            "pool_op_kernel_sizes": expected["strides"],
        }

    change(results, as_before)
    plans = json.loads((results / "plans.json").read_text())
    family, arguments = unet(plans["configurations"]["3d_fullres"])
    assert family == "plain_unet" and arguments["features_per_stage"] == [4, 8, 8]
    assert {name: arguments[name] for name in arguments if name != "features_per_stage"} == {
        name: expected[name] for name in expected if name not in ("features_per_stage", "epsilon", "slope")
    }
    assert (expected["epsilon"], expected["slope"]) == (1e-5, 0.01)  # what is taken where the plan does not say


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda c, d: d.update(channel_names={"0": "CT", "1": "PET"}), "2 input channels"),
        (lambda c, d: d.update(labels={"background": 0, "whole": [1, 2]}), "classes overlap"),
        (lambda c, d: c.update(previous_stage="3d_lowres"), "cascade"),
        (lambda c, d: c.update(preprocessor_name="MyPreprocessor"), "preprocessor MyPreprocessor"),
        (lambda c, d: c.update(normalization_schemes=["RGBTo01Normalization"]), "RGBTo01Normalization"),
        (lambda c, d: c.update(spacing=[1.0, 1.0], patch_size=[8, 8]), "not three-dimensional"),
        (lambda c, d: c.update(resampling_fn_data="resample_torch_fornnunet"), "resamples with"),
        (lambda c, d: c["architecture"]["arch_kwargs"].update(norm_op="torch.nn.BatchNorm3d"), "norm_op"),
        (lambda c, d: c["architecture"]["arch_kwargs"].update(block="os.system"), "a network with block"),
    ],
)
def test_what_cannot_be_converted_is_named(results: Path, edit: Callable[..., None], words: str) -> None:
    change(results, edit)
    with pytest.raises(ModelError, match=words):
        read_results(results)


def test_a_fast_model_says_that_it_differs(results: Path, tmp_path: Path) -> None:
    described = Description("a test", "Apache-2.0", fast=True)
    config = write_model(tmp_path / "fast", [read_results(results)], described, BagOfWords())
    (network,) = config.networks
    assert config.fast and network.preprocessing.mirror_axes == () and network.preprocessing.order == 1
    assert "It differs from the source" in (tmp_path / "fast" / "MODEL_CARD.md").read_text()
    with pytest.raises(InputError, match="already there"):
        write_model(tmp_path / "fast", [read_results(results)], described, BagOfWords())
