"""What is known of whole and halved scans, on grids that are stored in every direction."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from openvocabct_training.calibration.views import View, views
from openvocabct_training.evaluation.cases import EvaluationCase
from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.prompts import Vocabulary
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_training.evaluation.scans import Shape, ball, ct, grid, masks

VOCABULARY = Vocabulary.load()
ASKED = frozenset({"brainstem", "larynx", "mandible", "esophagus", "spinal_cord", "liver", "heart", "body"})
# +z is up: the brainstem lies above, the larynx below, the mandible in between.
SHAPES: Mapping[str, Shape] = {
    "brainstem": ball(0, 0, 40, 12),
    "larynx": ball(0, -20, -40, 12),
    "mandible": ball(0, -30, 0, 16),
    "esophagus": ball(0, 10, -42, 10),
    "spinal_cord": ball(0, 20, 40, 10),
}
GRIDS = {
    "upwards": grid((40, 20, 24), (6.0, 7.0, 4.0), (0, 0, 0), (1, 1, 1)),
    "downwards": grid((40, 20, 24), (6.0, 7.0, 4.0), (0, 0, 0), (1, -1, -1)),
    "oblique": grid((40, 20, 24), (6.0, 7.0, 4.0), (8, -5, 12), (-1, 1, -1)),
}


def views_of(geometry: Geometry, folder: Path, **changes: object) -> dict[str, View]:
    path = folder / "ct.nii.gz"
    sitk.WriteImage(ct(geometry).to_sitk(), str(path))
    stored = CTVolume.read(path).geometry
    case = EvaluationCase("a", "test", path, lambda _geometry: masks(stored, SHAPES).items(), **changes)  # type: ignore[arg-type]
    return {view.name.split()[1]: view for view in views(case, ASKED, VOCABULARY)}


@pytest.mark.parametrize("name", GRIDS)
def test_halves_show_what_lies_in_them(name: str, tmp_path: Path) -> None:
    found = views_of(GRIDS[name], tmp_path, absent=("heart",), rules_out=("abdomen",))
    whole, upper, lower = (found[part].truth for part in ("whole", "upper", "lower"))
    assert whole == {**dict.fromkeys(SHAPES, True), "heart": False, "liver": False}
    assert (upper["brainstem"], upper["larynx"]) == (True, False)
    assert (lower["brainstem"], lower["larynx"]) == (False, True)
    assert upper["mandible"] is lower["mandible"] is True, "half of it is in either"
    assert "spinal_cord" not in lower, "it goes on below what was drawn"
    assert upper["esophagus"] is False, "it does not go on above"


def test_references_that_are_not_asked_for_give_halves_too(tmp_path: Path) -> None:
    """A tumour in a thigh is nothing that the model answers, but says that either half of the scan holds no larynx."""
    path = tmp_path / "ct.nii.gz"
    sitk.WriteImage(ct(GRIDS["upwards"]).to_sitk(), str(path))
    stored = CTVolume.read(path).geometry
    tumour = {"soft_tissue_sarcoma": SHAPES["mandible"]}
    case = EvaluationCase("a", "test", path, lambda _: masks(stored, tumour).items(), rules_out=("neck",))
    found = list(views(case, frozenset({"larynx"}), VOCABULARY))
    assert [view.truth for view in found] == 3 * [{"larynx": False}]


@pytest.mark.parametrize("name", GRIDS)
def test_a_half_keeps_its_place(name: str, tmp_path: Path) -> None:
    found = views_of(GRIDS[name], tmp_path)
    whole, upper = found["whole"].volume, found["upper"].volume
    middle = (np.array(upper.geometry.shape[::-1]) - 1) / 2
    height = (upper.geometry.affine_lps() @ np.append(middle, 1.0))[2]
    assert height > 20, "above the middle of the scan"
    assert sum(view.volume.array.size for part, view in found.items() if part != "whole") == whole.array.size


def test_doubtful_references_and_small_scans_say_nothing(tmp_path: Path) -> None:
    found = views_of(GRIDS["upwards"], tmp_path, suspect=("larynx",))
    assert all("larynx" not in view.truth for view in found.values())
    flat = grid((3, 20, 24), (6.0, 7.0, 4.0), (0, 0, 0), (1, 1, 1))
    assert set(views_of(flat, tmp_path)) == {"whole"}
