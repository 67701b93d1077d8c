"""The report of the benchmarks from canned figures, and the CT that they generate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.benchmarks.measuring import Stages, machine
from Testing.benchmarks.phantom_ct import ct_file, phantom_ct
from Testing.benchmarks.report import markdown, targets, write_report

NUMBERS = ("1", "2", "10", "100")


def results(**changes: Any) -> dict[str, Any]:
    stage = {"wall_s": 1.0, "cpu_s": 2.0, "peak_mb": 500.0}
    ct = {"ct": "ct.nrrd", "voxels": [600, 512, 512], "tiles": 4, "tile": [96, 64, 96]}
    window = {"tile": [64, 96, 96], "monai_s": 50.0, "faster": 10.0, "mean_dice": 0.996, "dice": {"body": 0.996}}
    values: dict[str, Any] = {
        "machine": machine(),
        "quick": False,
        "seconds": 600.0,
        "import_s": 0.01,
        "stages": [
            {**ct, "peak_mb": 2500.0, "stages": {"read": stage, "tiles": stage, "blend": {"wall_s": 0.1, "cpu_s": 0.1}}}
        ],
        "worker": {"first_answer_s": 8.5, "further_s": {"bones": 0.1, "body": 0.2}},
        "prompts": {
            "results": [
                {
                    **ct,
                    "first_answer_s": 7.0,
                    "prompts_s": dict.fromkeys(NUMBERS, 0.1),
                    "different_s": 0.7,
                    "second_to_first_median": 0.01,
                    "hundred_to_one": 1.2,
                }
            ]
        },
        "sliding_window": {
            "results": [
                {
                    **ct,
                    "ours_s": 5.0,
                    "usual_tile": window | {"mean_dice": 0.97},
                    "same_tile": window | {"faster": 5.0},
                    "plain": {"seconds": 20.0, "faster": 4.0, "mean_dice": 1.0, "dice": {"body": 1.0}},
                    "half": {"mean_dice": 0.9998, "dice": {"body": 0.9998}},
                    "tower": "openvino f32",
                }
            ],
            "per_prompt_decoder": {key: {"ours_s": 1.0, "per_prompt_s": 2.0, "faster": 2.0} for key in NUMBERS},
        },
        "batch": {"cases": 200, "done": 200, "growth_mb_per_100_cases": 0.5},
        "gpu": None,
    }
    return values | changes


def test_every_number_to_reach_is_judged() -> None:
    assert [one.reached for one in targets(results())] == [True] * 12
    slow = results(worker={"first_answer_s": 10.5, "further_s": {"bones": 0.31}}, import_s=0.4)
    assert [one.what for one in targets(slow) if not one.reached] == [
        "worker start to first answer, sample CT",
        "second prompt through HTTP (worst)",
        "import of OpenVocabCTLib",
    ]
    lost = results(batch={"cases": 200, "done": 199, "growth_mb_per_100_cases": 0.5})
    assert [one.reached for one in targets(lost)].count(False) == 1


def test_what_is_not_reached_is_explained_and_nothing_else() -> None:
    assert "and why" not in markdown(results())
    slow = results(worker={"first_answer_s": 10.5, "further_s": {"bones": 0.1}})
    explained = markdown(slow).split("and why:")[1].split("##")[0].split("![")[0].strip().splitlines()
    assert len(explained) == 1
    assert explained[0].startswith("- worker start to first answer, sample CT: ")
    slow["prompts"]["results"][0] |= {"second_to_first_median": 0.03, "hundred_to_one": 3.0}
    slow["sliding_window"]["results"][0]["usual_tile"] |= {"faster": 4.0}
    slow["sliding_window"]["results"][0]["same_tile"] |= {"mean_dice": 0.9}
    unreached = [one for one in targets(slow) if one.reached is False]
    assert len(unreached) == 5
    assert all(one.otherwise.endswith(".") for one in unreached)


def test_what_was_not_measured_is_said() -> None:
    report = results()
    report["stages"][0]["voxels"] = [64, 64, 64]
    (memory,) = [one for one in targets(report) if "peak memory" in one.what]
    assert (memory.measured, memory.reached) == ("not measured", None)
    text = markdown(report | {"quick": True})
    assert "no GPU" in text
    assert "quick run" in text


def test_the_three_files(tmp_path: Path) -> None:
    text = write_report(results(), tmp_path)
    assert (tmp_path / "RESULTS.md").read_text() == text
    assert json.loads((tmp_path / "results.json").read_text())["import_s"] == 0.01
    assert (tmp_path / "results.png").read_bytes().startswith(b"\x89PNG")
    widths = {
        line.count("|") for line in text.split("## Stages")[1].split("##")[0].splitlines() if line.startswith("|")
    }
    assert len(widths) == 1


def test_the_generated_ct_is_a_ct(tmp_path: Path) -> None:
    volume = phantom_ct((12, 32, 40), slice_mm=25.0)
    assert volume.array.dtype == np.int16
    assert volume.geometry.shape == (12, 32, 40)
    assert volume.geometry.spacing == pytest.approx((9.6, 9.6, 25.0))
    assert volume.array.min() < -900 < 500 < volume.array.max()
    assert ct_file("some.nrrd", tmp_path) == Path("some.nrrd")


def test_stages_add_up() -> None:
    stages = Stages()
    for _ in range(2):
        with stages("work"):
            kept = np.ones(4_000_000)
    assert stages.rows["work"]["cpu_s"] > 0
    assert stages.peak_mb >= kept.nbytes / 1e6
