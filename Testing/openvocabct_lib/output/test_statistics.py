from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from OpenVocabCTLib.output import CroppedMask
from OpenVocabCTLib.output.statistics import COLUMNS, centroid_ras, intensity_statistics, volume_ml
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_lib.output.output_cases import (
    ORIENTATIONS,
    SHAPE,
    box_mask,
    grid,
    overlapping,
    ramp_ct,
    segmentation,
)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@settings(deadline=None)
@given(
    hnp.arrays(np.bool_, SHAPE).filter(np.any),
    hnp.arrays(np.int16, SHAPE, elements=st.integers(-1024, 3071)),
)
def test_measurements_agree_with_numpy(mask: np.ndarray, hu: np.ndarray) -> None:
    geometry = grid("PIR", turn=0.2)
    cropped, values = CroppedMask.from_full(mask), hu[mask].astype(float)
    measured = intensity_statistics(cropped, CTVolume(hu, geometry))
    assert measured.mean == pytest.approx(values.mean())
    assert measured.std == pytest.approx(values.std(), abs=1e-6)
    assert (measured.minimum, measured.maximum) == (values.min(), values.max())
    indices = np.argwhere(mask)[:, ::-1]
    centroid = geometry.affine_ras() @ [*indices.mean(axis=0), 1.0]
    assert centroid_ras(cropped, geometry) == pytest.approx(tuple(centroid[:3]))
    assert volume_ml(cropped, geometry) == pytest.approx(mask.sum() * np.prod(geometry.spacing) / 1000)


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_a_centroid_does_not_depend_on_how_the_grid_is_stored(codes: str) -> None:
    geometry = grid(codes, origin=(0.0, 0.0, 0.0))
    voxel = CroppedMask.from_full(box_mask(SHAPE, (3, 2, 5), (4, 3, 6)))
    along = {code: index * mm for code, index, mm in zip(codes, (5, 2, 3), geometry.spacing, strict=True)}
    expected = [along.get(plus, 0.0) - along.get(minus, 0.0) for plus, minus in ("RL", "AP", "SI")]
    assert centroid_ras(voxel, geometry) == pytest.approx(expected)


def test_large_offsets_do_not_spoil_the_standard_deviation() -> None:
    geometry = grid()
    hu = (30000 + np.random.default_rng(0).normal(0, 0.01, SHAPE)).astype(np.float32)
    mask = np.ones(SHAPE, dtype=bool)
    measured = intensity_statistics(CroppedMask.from_full(mask), CTVolume(hu, geometry))
    assert measured.std == pytest.approx(hu.astype(np.float64).std(), rel=1e-6)


def test_one_row_per_prompt(tmp_path: Path) -> None:
    geometry = grid()
    result = overlapping(geometry, ramp_ct(geometry))
    doubtful = replace(result.segments[1], doubts=("9 ml is little", "check it"))
    replace(result, segments=(result.segments[0], doubtful, *result.segments[2:])).write_statistics(
        tmp_path / "table.csv"
    )
    rows = rows_of(tmp_path / "table.csv")
    assert tuple(rows[0]) == COLUMNS
    kidney, _, gallbladder, shadow = rows
    assert [row["prompt"] for row in rows] == ["left kidney", "spinal cord", "gallbladder", "a strange shadow"]
    assert kidney["canonical_id"] == "left_kidney"
    assert (kidney["code_scheme"], kidney["code_value"], kidney["code_meaning"]) == ("SCT", "64033007", "Kidney")
    assert (kidney["modifier_value"], kidney["modifier_meaning"]) == ("7771000", "Left")
    assert (kidney["found"], kidney["reason"], kidney["voxels"]) == ("true", "", "60")
    values = result.ct.array[result["left kidney"].mask]  # type: ignore[union-attr]
    assert float(kidney["mean_hu"]) == pytest.approx(values.mean(), rel=1e-5)
    assert float(kidney["std_hu"]) == pytest.approx(values.std(), rel=1e-5)
    assert (float(kidney["min_hu"]), float(kidney["max_hu"])) == (values.min(), values.max())
    assert float(kidney["volume_ml"]) == pytest.approx(60 * geometry.voxel_volume_ml, rel=1e-5)
    assert (gallbladder["found"], gallbladder["reason"]) == ("false", "not in this scan")
    assert [row["doubts"] for row in rows] == ["", "9 ml is little; check it", "", ""]
    assert {gallbladder[column] for column in COLUMNS[COLUMNS.index("volume_ml") :]} == {""}
    assert (shadow["canonical_id"], shadow["code_value"]) == ("", "")


def test_without_a_ct_only_the_geometry_is_measured(tmp_path: Path) -> None:
    overlapping(grid()).write_statistics(tmp_path / "table.csv")
    row = rows_of(tmp_path / "table.csv")[0]
    assert row["voxels"] == "60"
    assert {row["mean_hu"], row["std_hu"], row["min_hu"]} == {""}


@pytest.mark.parametrize("prompt", ["=1+1", "+cmd|x", "-2+3", "@SUM(A1)", "\uff1dHYPERLINK()", '"quoted", comma'])
def test_a_spreadsheet_never_runs_a_prompt(prompt: str, tmp_path: Path) -> None:
    result = segmentation({prompt: None}, grid(), reason="=danger()")
    result.write_statistics(tmp_path / "table.csv")
    (row,) = rows_of(tmp_path / "table.csv")
    for column in ("prompt", "name", "reason"):
        assert not row[column].startswith(("=", "+", "-", "@", "\uff1d"))
    assert row["prompt"].removeprefix("'") == result.segments[0].prompt


def test_numbers_keep_their_sign(tmp_path: Path) -> None:
    geometry = grid()
    overlapping(geometry, ramp_ct(geometry)).write_statistics(tmp_path / "table.csv")
    row = rows_of(tmp_path / "table.csv")[0]
    assert float(row["mean_hu"]) < 0
    assert float(row["centroid_s_mm"]) < 0
