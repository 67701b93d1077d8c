from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import torch

import OpenVocabCTLib
from openvocabct_training import run_record
from openvocabct_training.data.store import CaseStore
from openvocabct_training.previews import draw

PATCH = (32, 32, 64)


def test_a_run_folder_says_where_its_weights_come_from(finished_run: Path, store: CaseStore) -> None:
    folder = finished_run.parent
    (line,) = (json.loads(line) for line in (folder / "run.jsonl").read_text().splitlines())
    assert line["manifest_sha256"] == hashlib.sha256((store.root / "manifest.jsonl").read_bytes()).hexdigest()
    assert line["code"]["version"] == OpenVocabCTLib.__version__
    assert (line["seed_everything"], line["data_seed"], line["processes"]) == (0, 0, 1)
    assert line["resumed_from"] is None and line["libraries"]["torch"] == version("torch")
    assert "architecture" in (folder / "config.yaml").read_text()


def test_a_run_folder_has_a_picture_of_every_validation(finished_run: Path) -> None:
    pictures = sorted((finished_run.parent / "previews").iterdir())
    assert [path.name for path in pictures] == ["step_0000002.png", "step_0000004.png"]
    assert matplotlib.image.imread(pictures[0]).shape[:2] == (PATCH[1] + 2, 3 * (PATCH[2] + 2) - 2)


def test_code_without_a_repository_has_a_version_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_git(*arguments: Any, **options: Any) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(run_record.subprocess, "run", no_git)
    assert run_record.code_version() == {"version": OpenVocabCTLib.__version__, "commit": None, "changed": False}


def test_previews_show_the_right_slice_the_right_way_round() -> None:
    hu = torch.full((4, 6, 8), -1000.0)
    reference = torch.zeros(2, 4, 6, 8, dtype=torch.bool)
    reference[0, 2, 5, 0] = True  # in front, on the patient's left
    reference[1, 1] = True  # not asked
    answer = torch.zeros_like(reference)
    answer[0, 2, 0, 7] = True  # behind, on the right
    picture = draw(hu, reference, answer, torch.tensor([True, False]))
    assert picture.shape == (8, 28, 3) and picture.dtype == np.uint8
    bright = np.argwhere(picture.any(-1)).tolist()
    # Front is up, the patient's left on the right-hand side; CT, reference and answer from left to right.
    assert bright == [[0, 10 + 7], [5, 20]]


def test_previews_of_a_patch_without_structures() -> None:
    nothing = torch.zeros(1, 4, 6, 8, dtype=torch.bool)
    picture = draw(torch.zeros(4, 6, 8), nothing, nothing, torch.tensor([True]))
    assert set(np.unique(picture[:6, :8])) == {round(160 / 400 * 255)}
