from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from openvocabct_training.calibration import calibrate
from openvocabct_training.cli import main
from openvocabct_training.evaluation.cases import EvaluationCase
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.models.config import ModelConfig
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_lib.inference import phantoms, small_model

HU = {"left_kidney": (350, 2000), "right_kidney": (200, 400)}


def write_model(folder: Path) -> Path:
    folder.mkdir()
    config = {**small_model.CONFIG.to_dict(), "name": "toy", "concepts": {}}
    del config["presence"]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def find(source: Path, _dataset: str, _split: str) -> list[EvaluationCase]:
    def masks(geometry: Geometry) -> Iterable[tuple[str, np.ndarray]]:
        array = CTVolume.read(source / "ct.nii.gz").array
        return ((name, (array > low) & (array < high)) for name, (low, high) in HU.items())

    return [EvaluationCase(f"p{n}", "toy", source / "ct.nii.gz", masks, absent=("spleen",)) for n in range(11)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    volume = phantoms.volume_on(phantoms.axis_geometry((0, 1, 2), (1, 1, 1)))
    sitk.WriteImage(volume.to_sitk(), str(tmp_path / "ct.nii.gz"))
    return tmp_path


def run(source: Path, **changes: Any) -> dict[str, Any]:
    options: dict[str, Any] = {"datasets": ("toy",), "load": lambda _folder: small_model.window_segmenter()}
    return calibrate(source / "model", source, source / "out", **(options | {"find": find} | changes))


def test_parameters_figures_and_diagram(source: Path) -> None:
    before = json.loads((write_model(source / "model") / "config.json").read_text(encoding="utf-8"))
    figures = run(source)
    raw = json.loads((source / "model" / "config.json").read_text(encoding="utf-8"))
    config = ModelConfig.from_dict(raw)
    assert config.presence is not None
    assert raw["presence"]["weights"] == list(figures["presence"]["weights"])
    assert config.decision.presence_threshold == figures["threshold"]
    del raw["presence"]
    raw["decision"]["presence_threshold"] = before["decision"]["presence_threshold"]
    assert raw == before, "nothing else changes"
    assert figures["patients"] == 11
    assert figures["after"]["false_positives"] == 0.0
    written = json.loads((source / "out" / "presence.json").read_text(encoding="utf-8"))
    assert len(written["samples"]) == figures["present"] + figures["absent"]
    assert (source / "out" / "reliability.png").read_bytes().startswith(b"\x89PNG")
    assert "calibration error" in (source / "out" / "presence.md").read_text(encoding="utf-8")
    again = run(source)
    assert again == figures, "it can be repeated"


def test_too_few_patients_leave_the_model_as_it_is(source: Path) -> None:
    config = write_model(source / "model") / "config.json"
    before = config.read_bytes()
    with pytest.raises(InputError, match="too few"):
        run(source, limit=2)
    assert config.read_bytes() == before
    with pytest.raises(InputError, match="nothing is known"):
        run(source, find=lambda *_: [])


def test_command_line_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for model in (tmp_path, tmp_path / "none"):
        with pytest.raises(SystemExit) as ended:
            main(["calibrate", str(model), str(tmp_path), "--output", str(tmp_path / "out")])
        assert ended.value.code == 3
        said = capsys.readouterr().err
        assert said.startswith("error: ") and str(model) in said and ".probe" not in said
        assert not (tmp_path / "out").exists()
