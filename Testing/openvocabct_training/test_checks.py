from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openvocabct_training.checks import (
    check_concepts,
    check_dataset_weights,
    check_held_out,
    check_precision,
    check_sampling,
    check_sides,
    check_spacing,
    compare_patch_with_tile,
)
from openvocabct_training.data.sampling import SamplingConfig
from openvocabct_training.data.store import CaseRecord, CaseStore
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.inference.grid import working_grid
from OpenVocabCTLib.models.config import PreprocessingConfig

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("precision", "device", "cpu_has_bf16"),
    [("32-true", "cpu", False), ("bf16-mixed", "cpu", True), ("bf16-mixed", "cuda", False)],
)
def test_formats_that_a_device_is_fast_at(precision: str, device: str, cpu_has_bf16: bool) -> None:
    check_precision(precision, device, cpu_has_bf16)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_bfloat16_on_a_cpu_without_it(precision: str) -> None:
    with pytest.raises(InputError, match=f"{precision}.*no bfloat16 instructions: add --trainer.precision 32-true"):
        check_precision(precision, "cpu", cpu_has_bf16=False)


@pytest.mark.parametrize("sides", [(32, 32, 64), (64, 96, 96), (32, 64, 32)])
def test_sides_that_fit(sides: tuple[int, int, int]) -> None:
    check_sides("patch", sides, 32)


@pytest.mark.parametrize("sides", [(64, 96, 100), (0, 64, 64), (16, 64, 64), (-32, 64, 64)])
def test_sides_that_are_no_multiple_of_the_stride(sides: tuple[int, int, int]) -> None:
    with pytest.raises(InputError, match="multiples of 32"):
        check_sides("data.sampling.patch", sides, 32)


def test_one_voxel_at_the_bottleneck_is_too_few() -> None:
    with pytest.raises(InputError, match="at least one side must be larger than 32"):
        check_sides("data.sampling.patch", (32, 32, 32), 32)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"positives": 0}, "choose 1 to 24"),
        ({"positives": 25}, "choose 1 to 24"),
        ({"negatives": -1}, "0 or more"),
        ({"pair_probability": 1.5}, "pair_probability is 1.5: choose 0 to 1"),
        ({"exclude_concepts": ("mandibel",)}, "exclude_concepts names 'mandibel': use ids of the vocabulary"),
    ],
)
def test_numbers_of_prompts(changes: dict[str, Any], said: str) -> None:
    check_sampling(SamplingConfig())
    with pytest.raises(InputError, match=said):
        check_sampling(replace(SamplingConfig(), **changes))


def test_tiles_of_another_size_than_the_patches_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    compare_patch_with_tile((64, 32, 32), [64, 32, 32])
    assert not caplog.messages
    compare_patch_with_tile((64, 32, 32), (64, 64, 64))
    (said,) = caplog.messages
    assert "patches are 64 x 32 x 32 voxels, but tiles 64 x 64 x 64" in said


def test_concepts_with_a_query_of_their_own() -> None:
    check_concepts(("liver", "left_kidney"))
    with pytest.raises(InputError, match="names 'livre'"):
        check_concepts(("livre",))
    with pytest.raises(InputError, match="'liver' twice"):
        check_concepts(("liver", "left_kidney", "liver"))


def test_a_class_cannot_be_held_out_of_a_closed_vocabulary() -> None:
    sampling = SamplingConfig(exclude_concepts=("mandible",))
    check_held_out(("liver",), sampling)
    with pytest.raises(InputError, match="'mandible' is a class of the network and excluded from training"):
        check_held_out(("liver", "mandible"), sampling)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (
            {"openkbp": 1.0, "openkpb": 0.5},
            "names 'openkpb', which the store does not hold: choose among openkbp, totalseg",
        ),
        ({"openkbp": -1.0}, "gives openkbp the weight -1"),
        ({"openkbp": float("nan")}, "gives openkbp the weight nan"),
        ({"openkbp": 0.0}, "no weight above 0"),
        ({}, "no weight above 0"),
    ],
)
def test_weights_of_data_sets(store: CaseStore, weights: dict[str, float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_dataset_weights(SamplingConfig(dataset_weights=weights), store.records())


def test_weights_that_fit(store: CaseStore) -> None:
    check_dataset_weights(SamplingConfig(dataset_weights={"openkbp": 1.0, "totalsegmentator": 0.0}), store.records())
    check_dataset_weights(SamplingConfig(dataset_weights="auto"), store.records())


def record_at(spacing_mm: float, shape: tuple[int, int, int], native: tuple[float, float, float]) -> CaseRecord:
    """The record that ``prepare`` would write for a scan."""
    grid = working_grid(Geometry(shape, native, (0.0, 0.0, 0.0), IDENTITY), spacing_mm)
    return CaseRecord("a/a", "a", "train", "", grid.shape, grid.spacing, {}, (), False, "")


def test_a_store_of_another_spacing_is_refused(store: CaseStore) -> None:
    check_spacing(store.records(), PreprocessingConfig(spacing_mm=3.0))
    with pytest.raises(InputError, match=r"voxels of 3 mm, model.preprocessing.spacing_mm is 1.5: .*--spacing 1.5"):
        check_spacing(store.records(), PreprocessingConfig(spacing_mm=1.5))
    with pytest.raises(InputError, match="voxels of 3 mm"):
        check_spacing(store.records(), PreprocessingConfig(spacing_mm=3.2))


def test_voxels_that_are_only_about_cubic_fit() -> None:
    generator = np.random.default_rng(0)
    for _ in range(300):
        shape = tuple(int(side) for side in generator.integers(2, 200, 3))
        native = tuple(float(step) for step in generator.uniform(0.4, 6.0, 3).round(2))
        record = record_at(3.0, shape, native)  # type: ignore[arg-type]
        check_spacing([record], PreprocessingConfig(spacing_mm=3.0))
        if min(side * step for side, step in zip(shape, native, strict=True)) > 60.0:
            with pytest.raises(InputError):
                check_spacing([record], PreprocessingConfig(spacing_mm=2.5))


def test_the_real_store_fits_the_shipped_configuration(shared_data: Path) -> None:
    from openvocabct_training.data.adapters import openkbp
    from OpenVocabCTLib.volume import CTVolume

    for case in list(openkbp(shared_data))[:5]:
        geometry = CTVolume.read(case.ct).geometry
        check_spacing([record_at(3.0, geometry.shape, geometry.spacing)], PreprocessingConfig())
