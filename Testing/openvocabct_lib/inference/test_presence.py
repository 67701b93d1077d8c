from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from OpenVocabCTLib.inference.presence import FEATURES, Evidence, expected_volume, features, in_view, presence
from OpenVocabCTLib.models.config import ModelConfig, PresenceConfig
from OpenVocabCTLib.prompts import PromptSet, Vocabulary
from Testing.openvocabct_lib.inference import phantoms, small_model

VOCABULARY = Vocabulary.load()
CALIBRATION = PresenceConfig(0.2, (1.5, 3.0, 0.5))
NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)


@given(NUMBERS, st.floats(0, 1e6), st.floats(-1, 1), st.sampled_from(["liver", "larynx", "venae_cavae", None]))
def test_a_probability_whatever_the_evidence(head: float, ml: float, view: float, name: str | None) -> None:
    concept = None if name is None else VOCABULARY.get(name)
    evidence = Evidence(head, ml, view)
    assert len(features(evidence, concept)) == FEATURES
    assert all(abs(value) <= 2 for value in features(evidence, concept))
    for config in (None, CALIBRATION):
        assert 0.0 <= presence(evidence, concept, config) <= 1.0


def test_more_evidence_never_makes_a_structure_less_likely() -> None:
    liver = VOCABULARY.get("liver")
    values = [presence(Evidence(head, ml), liver, CALIBRATION) for head, ml in ((-3, 0), (-3, 50), (2, 50), (2, 1500))]
    assert values == sorted(values)
    assert values[0] < 0.1
    assert values[-1] > 0.8


def test_without_calibration_the_head_speaks_for_itself() -> None:
    assert presence(Evidence(1.5, 99.0, 1.0), None, None) == pytest.approx(1 / (1 + np.exp(-1.5)))


def test_expected_volume_leaves_voxels_to_the_likelier_side() -> None:
    own, rival = torch.tensor([[[3.0, 2.0, -1.0]]]), torch.tensor([[[1.0, 4.0, -5.0]]])
    sigmoid = torch.sigmoid(own)
    assert expected_volume(own, None, 2.0) == pytest.approx(2 * float(sigmoid[0, 0, 0] + sigmoid[0, 0, 1]))
    assert expected_volume(own, rival, 2.0) == pytest.approx(2 * float(sigmoid[0, 0, 0]))


def test_neighbours_say_whether_a_place_is_in_the_scan() -> None:
    get = VOCABULARY.get
    around = [get("mandible"), get("liver")]
    assert in_view(get("heart"), around) == 1.0
    assert in_view(get("urinary_bladder"), around) < 0.0
    assert 0.0 <= in_view(get("brainstem"), around) < 0.5
    assert in_view(get("heart"), []) == 0.0
    left = get("left_lung")
    assert in_view(left, [left, get("right_lung")]) == 0.0, "a structure is no witness for itself"


def test_the_calibration_is_part_of_the_configuration() -> None:
    config = replace(small_model.CONFIG, presence=CALIBRATION)
    assert ModelConfig.from_dict(config.to_dict()) == config
    old = small_model.CONFIG.to_dict()
    del old["presence"]
    assert ModelConfig.from_dict(old) == small_model.CONFIG, "models without it go on working"
    for broken in ({"intercept": "a", "weights": [1]}, {"weights": [1]}, {"intercept": 0, "weights": [float("nan")]}):
        with pytest.raises((KeyError, ValueError)):
            ModelConfig.from_dict(old | {"presence": broken})


def test_the_answer_follows_the_calibrated_probability() -> None:
    volume = phantoms.volume_on(phantoms.oblique_geometry((12, -8, 15), (-1, 1, -1)))
    plain = small_model.window_segmenter()
    asked = ["left kidney", "spleen"]
    before = plain.encode(volume).segment(asked)
    calibrated = small_model.window_segmenter()
    # The mask alone decides: the head says that the left kidney is there, its few ml say that it is not.
    calibrated.config = replace(calibrated.config, presence=PresenceConfig(-20.0, (0.0, 0.0, 0.0)))
    after = calibrated.encode(volume).segment(asked)
    assert before["left kidney"].found
    assert not after["left kidney"].found
    assert "not in this scan" in after["left kidney"].reason
    assert after["left kidney"].presence < 0.01
    calibrated.config = replace(calibrated.config, presence=PresenceConfig(0.5, (0.5, 1.0, 0.2)))
    again = calibrated.encode(volume).segment(asked)
    assert again["left kidney"].found
    assert np.array_equal(again["left kidney"].mask, before["left kidney"].mask), "the mask is the same"
    assert not again["spleen"].found


def test_presence_does_not_depend_on_the_threshold_or_the_other_prompts() -> None:
    segmenter = small_model.window_segmenter()
    segmenter.config = replace(segmenter.config, presence=PresenceConfig(0.0, (0.5, 1.0, 0.3)))
    study = segmenter.encode(phantoms.volume_on(phantoms.axis_geometry((0, 1, 2), (1, 1, 1))))
    values = [
        study.segment(["left kidney"], threshold)["left kidney"].presence for threshold in (None, 0.05, 0.5, 0.95)
    ]
    values.append(study.segment(["liver", "spleen", "left kidney"])["left kidney"].presence)
    assert max(values) - min(values) < 1e-6


@pytest.mark.parametrize("weights", [(0.5, 1.0, 0.3), (0.5, -1.0, -0.3), (4.0, 0.0, 0.0)])
@pytest.mark.parametrize("intercept", [-6.0, -1.0, 0.0, 2.0])
def test_what_is_not_looked_for_would_not_have_been_believed(intercept: float, weights: tuple[float, ...]) -> None:
    segmenter = small_model.window_segmenter()
    segmenter.config = replace(segmenter.config, presence=PresenceConfig(intercept, weights))
    study = segmenter.encode(phantoms.volume_on(phantoms.axis_geometry((0, 1, 2), (1, 1, 1))))
    prompts = PromptSet.parse(["left kidney", "spleen", "liver"])
    parts = [part for prompt in prompts for part in segmenter.questions.ask(prompt).parts]
    assert parts
    quick, heads = study.judge.look(parts)
    everything, _ = study.judge.look(parts, everywhere=True)
    for part in parts:
        thorough = study.judge.presence(part, everything, heads[part.wording])
        believed = study.judge.presence(part, quick, heads[part.wording]) >= part.presence_threshold
        assert believed == (thorough >= part.presence_threshold)
    if intercept == -6.0:
        assert len(quick) < len(everything), "hopeless ones are not computed"
