from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from openvocabct_training.calibration.thresholds import CANDIDATES, Choice, _choose, choose_thresholds, markdown
from openvocabct_training.cli import main
from openvocabct_training.evaluation.cases import EvaluationCase
from openvocabct_training.evaluation.metrics import mask_dice
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_lib.inference import phantoms, small_model


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The phantom on a grid that is not the working grid, and a model folder."""
    volume = phantoms.volume_on(phantoms.axis_geometry((1, 2, 0), (1, -1, 1)))
    sitk.WriteImage(volume.to_sitk(), str(tmp_path / "ct.nii.gz"))
    (tmp_path / "model").mkdir()
    raw = {**small_model.CONFIG.to_dict(), "name": "toy", "concepts": {}}
    raw["decision"] = {**raw["decision"], "concept_thresholds": {"spleen": 0.3, "liver": 0.4}}
    (tmp_path / "model" / "config.json").write_text(json.dumps(raw), encoding="utf-8")
    return tmp_path


def cases(source: Path, count: int = 5) -> list[EvaluationCase]:
    def masks(geometry: Geometry) -> Iterable[tuple[str, np.ndarray]]:
        array = CTVolume.read(source / "ct.nii.gz").array
        return {"liver": array > 0, "left_kidney": array > 500, "pancreas": array > 0}.items()

    return [EvaluationCase(f"p{n}", "toy", source / "ct.nii.gz", masks) for n in range(count)]


def choose(source: Path, **changes: Any) -> dict[str, Choice]:
    options: dict[str, Any] = {
        "load": lambda _: small_model.window_segmenter(),
        "find": lambda *_: cases(source),
        "patients": 3,
    }
    return choose_thresholds(source / "model", source, **(options | changes))


def test_thresholds_are_chosen_and_written_and_nothing_else_changes(source: Path) -> None:
    config = source / "model" / "config.json"
    before = json.loads(config.read_text(encoding="utf-8"))
    chosen = choose(source)
    assert set(chosen) == {"liver", "left_kidney"}, "the pancreas is not one of the network's structures"
    volume, references = cases(source)[0].read()
    study = small_model.window_segmenter().encode(volume)
    for concept, name in (("liver", "liver"), ("left_kidney", "left kidney")):
        found = {t: mask_dice(references[concept], study.segment([name], t)[name].cropped) for t in CANDIDATES}
        assert chosen[concept].dice == pytest.approx(max(found.values()))
        assert found[chosen[concept].threshold] == pytest.approx(max(found.values()))
        assert chosen[concept].usual == pytest.approx(found[0.5])
        assert chosen[concept].patients == 3
    assert chosen["left_kidney"].threshold != 0.5, "or the default would pass this test"
    after = json.loads(config.read_text(encoding="utf-8"))
    assert after["decision"]["concept_thresholds"] == {
        "spleen": 0.3,
        "liver": chosen["liver"].threshold,
        "left_kidney": chosen["left_kidney"].threshold,
    }
    before["decision"]["concept_thresholds"] = after["decision"]["concept_thresholds"]
    assert after == before


def test_training_patients_are_asked_and_doubtful_references_are_not(source: Path) -> None:
    asked: list[tuple[str, str]] = []

    def find(_source: Path, dataset: str, split: str) -> list[EvaluationCase]:
        asked.append((dataset, split))
        return [replace(case, suspect=("liver",)) for case in cases(source)]

    assert set(choose(source, find=find, dataset="toy")) == {"left_kidney"}
    assert asked == [("toy", "train")]


def test_the_highest_mean_is_chosen_and_of_equals_the_nearest_to_one_half() -> None:
    scores = np.zeros((2, len(CANDIDATES)))
    scores[0, CANDIDATES.index(0.7)] = 0.8
    scores[1, CANDIDATES.index(0.3)] = 0.9
    scores[:, CANDIDATES.index(0.5)] = 0.3
    assert _choose(scores) == Choice(0.3, 0.45, 0.3, 2)
    assert _choose(np.ones((3, len(CANDIDATES)))).threshold == 0.5


def test_nothing_to_choose_by_leaves_the_model_as_it_is(source: Path) -> None:
    config = source / "model" / "config.json"
    before = config.read_bytes()
    suspects = [replace(case, suspect=("liver", "left_kidney")) for case in cases(source)]
    with pytest.raises(InputError, match="no reference shows"):
        choose(source, find=lambda *_: suspects)
    assert config.read_bytes() == before


def test_table() -> None:
    text = markdown({"liver": Choice(0.85, 0.9, 0.8, 24)})
    assert "| liver | 0.85 | 0.900 | 0.800 | 24 |" in text


def test_command_line_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["thresholds", str(tmp_path / "none"), str(tmp_path)])
    assert ended.value.code == 3
    assert "error: " in capsys.readouterr().err
    for patients in ("0", "-1"):
        with pytest.raises(SystemExit) as ended:
            main(["thresholds", str(tmp_path), str(tmp_path), "--patients", patients])
        assert ended.value.code == 2
        assert "patients are none to choose by" in capsys.readouterr().err
