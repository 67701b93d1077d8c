from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from openvocabct_training.baselines import load_baseline
from openvocabct_training.baselines.predictor import (
    ClosedVocabularyPredictor,
    VisualPromptPredictor,
    working_voxel,
)
from openvocabct_training.baselines.training import ClosedVocabularyTraining
from openvocabct_training.data.dataset import Sample
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.inference.devices import Compute
from OpenVocabCTLib.inference.grid import working_grid
from OpenVocabCTLib.models.config import PreprocessingConfig
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_training.baselines.tiny_baselines import ALL, CONCEPTS, PREPROCESSING, one_sample, save, visual

CPU = Compute(torch.device("cpu"), torch.float32)
SHAPE = (40, 44, 64)
BOX = (slice(14, 26), slice(10, 24), slice(40, 56))
TILTED = (0.98006658, -0.19866933, 0.0, 0.19866933, 0.98006658, 0.0, 0.0, 0.0, 1.0)
FLIPPED = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
STRAIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


class BrightIsLeft(ClosedVocabularyTraining):
    """Calls what is brighter than 200 HU the left parotid gland, and nothing the right one."""

    def __init__(self) -> None:
        preprocessing = PreprocessingConfig(spacing_mm=(2.5, 3.0, 3.0), tile=(32, 64, 64))
        super().__init__(preprocessing, CONCEPTS[:2], 32, True, (), 0.0, 0.0, 0)

    def answers(self, sample: Sample) -> list[Tensor]:
        raise NotImplementedError

    def class_logits(self, image: Tensor) -> Tensor:
        hu = (image[:, 0] + 1.0) * 1250.0 - 1000.0
        return torch.stack(((hu - 200.0) / 50.0, torch.full_like(hu, -9.0)), dim=1)


def scan(direction: tuple[float, ...], spacing: tuple[float, float, float] = (2.0, 2.0, 3.0)) -> CTVolume:
    """Tissue with a bright box that is on another place on every axis, (K, J, I) = SHAPE."""
    array = np.full(SHAPE, -1000, np.int16)
    array[2:38, 4:40, 4:60] = 40
    array[BOX] = 360
    return CTVolume(array, Geometry(SHAPE, spacing, (5.0, -7.0, 11.0), direction))


def truth() -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[BOX] = True
    return mask


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2.0 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.mark.parametrize("direction", [STRAIGHT, FLIPPED, TILTED])
def test_masks_lie_where_the_structure_is_in_the_scan(direction: tuple[float, ...]) -> None:
    predictor = ClosedVocabularyPredictor(BrightIsLeft(), CPU, 0.5)
    study = predictor.encode(scan(direction))
    left, right, group, liver = study.segment(["left parotid gland", "right parotid gland", "parotid glands", "liver"])
    assert dice(left.mask, truth()) > 0.85
    assert left.presence > 0.9 and left.volume_ml == pytest.approx(left.mask.sum() * 0.012)
    assert left.mean_hu is not None and left.mean_hu > 250
    assert not right.found and right.reason == "no voxel is above the threshold"
    assert np.array_equal(group.mask, left.mask)  # a group is all of its members
    assert not liver.found and liver.reason == "not one of the 2 classes of this network"


def test_small_masks_are_not_found() -> None:
    study = ClosedVocabularyPredictor(BrightIsLeft(), CPU, 1e4).encode(scan(STRAIGHT))
    (left,) = study.segment(["left parotid gland"])
    assert not left.found and "too little to be sure of" in left.reason


def test_cancelling() -> None:
    from OpenVocabCTLib.errors import Cancelled

    with pytest.raises(Cancelled):
        ClosedVocabularyPredictor(BrightIsLeft(), CPU, 0.5).encode(scan(STRAIGHT), lambda done, total: False)


@pytest.mark.parametrize("direction", [STRAIGHT, FLIPPED, TILTED])
def test_a_click_is_answered_around_it(direction: tuple[float, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    module = visual().eval()
    clicked: list[float] = []

    def backbone(image: Tensor) -> Any:
        return [image], None

    def click(features: Tensor, clicks: Tensor) -> Tensor:
        hu = (features[:, 0] + 1.0) * 1250.0 - 1000.0
        clicked.append(float(hu[0][tuple(clicks[0].tolist())]))
        return (hu - 200.0) / 50.0

    monkeypatch.setattr(module.backbone, "forward", backbone)
    monkeypatch.setattr(module, "click", click)
    predictor = VisualPromptPredictor(module, CPU, 0.5)
    study = predictor.encode(scan(direction))
    left, right = study.segment(["left parotid gland", "right parotid gland"], [(20, 17, 48), None])
    assert clicked == [pytest.approx(360.0, abs=1.0)]
    assert dice(left.mask, truth()) > 0.85
    assert not right.found and right.reason == "no click says where it is"


def test_a_click_next_to_the_border_of_the_scan() -> None:
    predictor = VisualPromptPredictor(visual().eval(), CPU, 0.0)
    (segment,) = predictor.encode(scan(STRAIGHT)).segment(["liver"], [(0, 0, SHAPE[2] - 1)])
    assert segment.found == (segment.cropped is not None)


@pytest.mark.parametrize("click", [(-1, 0, 0), (0, SHAPE[1], 0)])
def test_clicks_have_to_be_in_the_scan_and_one_for_every_prompt(click: tuple[int, int, int]) -> None:
    study = VisualPromptPredictor(visual().eval(), CPU, 0.0).encode(scan(TILTED))
    with pytest.raises(InputError, match="outside of the scan"):
        study.segment(["liver"], [click])
    with pytest.raises(InputError, match="1 clicks for 2 prompts"):
        study.segment(["liver", "spleen"], [(0, 0, 0)])


@given(
    click=st.tuples(*(st.integers(0, side - 1) for side in SHAPE)),
    direction=st.sampled_from([STRAIGHT, FLIPPED, TILTED]),
)
def test_a_click_stays_where_it_was(click: tuple[int, int, int], direction: tuple[float, ...]) -> None:
    volume = scan(direction)
    grid = working_grid(volume.geometry, (2.5, 3.0, 3.0))
    s, a, r = working_voxel(click, grid)
    back = (np.linalg.inv(grid.native_to_working) @ (s, a, r, 1.0))[:3]
    away = (back - click) * volume.geometry.spacing[::-1]
    # At most half a working voxel along every axis.
    assert np.linalg.norm(away) <= np.linalg.norm(grid.spacing) / 2 + 1e-6


@pytest.mark.parametrize("name", ALL)
def test_a_checkpoint_gives_the_network_back(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    module, sample = ALL[name]().eval(), one_sample()
    predictor = load_baseline(save(module, tmp_path / "last.ckpt"), "cpu", "fp32")
    assert isinstance(predictor, ClosedVocabularyPredictor | VisualPromptPredictor)
    assert predictor.needs_clicks == (name == "visual")
    loaded = predictor.module
    assert type(loaded) is type(module) and not loaded.training
    assert loaded.preprocessing == PREPROCESSING and loaded.concepts == module.concepts
    with torch.no_grad():
        torch.testing.assert_close(loaded.answers(sample)[0], module.answers(sample)[0], rtol=1e-4, atol=1e-5)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no checkpoint"):
        load_baseline(tmp_path / "no.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    (tmp_path / "text.ckpt").write_text("text")
    for name in ("other.ckpt", "text.ckpt"):
        with pytest.raises(InputError, match="no checkpoint of a baseline"):
            load_baseline(tmp_path / name)
