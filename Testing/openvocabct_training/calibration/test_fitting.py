from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from openvocabct_training.calibration.fitting import (
    Samples,
    choose_threshold,
    fit,
    leave_one_out,
    measure,
    probabilities,
    reliability,
)
from OpenVocabCTLib.errors import InputError


def samples(count: int = 3000, weights: tuple[float, ...] = (1.0, 2.0, 0.0), bias: float = -0.5) -> Samples:
    """Drawn from a regression that is known; the head is twice as sure as it may be."""
    random = np.random.default_rng(0)
    features = random.uniform(-2, 2, (count, 3))
    logits = bias + features @ np.array(weights)
    there = random.random(count) < expit(logits)
    patients = np.array([f"p{n % 20}" for n in range(count)])
    return Samples(features, expit(2 * logits), there, np.ones(count, bool), patients)


def test_the_regression_is_found_again() -> None:
    config = fit(samples())
    assert config.intercept == pytest.approx(-0.5, abs=0.15)
    assert config.weights == pytest.approx((1.0, 2.0, 0.0), abs=0.2)


def test_no_evidence_counts_against_a_structure() -> None:
    config = fit(samples(weights=(1.0, 2.0, -1.0)))
    assert config.weights[2] == 0.0


def test_agrees_with_an_independent_implementation() -> None:
    from sklearn.linear_model import LogisticRegression

    drawn = samples(400, (1.0, 2.0, 1.0))
    other = LogisticRegression(C=10.0, tol=1e-8).fit(drawn.features, drawn.there)
    values = probabilities(fit(drawn), drawn)
    np.testing.assert_allclose(values, other.predict_proba(drawn.features)[:, 1], atol=5e-3)


def test_calibration_error_gets_smaller_for_patients_that_were_left_out() -> None:
    drawn = samples()
    values, thresholds = leave_one_out(drawn)
    before, after = measure(drawn.heads, drawn, 0.5), measure(values, drawn, thresholds)
    assert before.error > 0.04
    assert after.error < 0.025
    assert after.brier < before.brier


def test_a_left_out_patient_changes_nothing_of_its_own_probability() -> None:
    drawn = samples(200)
    own = drawn.patients == "p3"
    flipped = Samples(drawn.features, drawn.heads, drawn.there ^ own, drawn.answered, drawn.patients)
    np.testing.assert_array_equal(leave_one_out(drawn)[0][own], leave_one_out(flipped)[0][own])


def test_figures_by_hand() -> None:
    drawn = Samples(
        np.zeros((5, 3)),
        np.zeros(5),
        np.array([True, True, True, False, False]),
        np.array([True, True, False, True, True]),
        np.array(list("abcde")),
    )
    values = np.array([0.95, 0.35, 0.95, 0.62, 0.05])
    quality = measure(values, drawn, 0.5)
    assert quality.false_positives == 0.5
    assert quality.missed == pytest.approx(2 / 3), "one is below the threshold, one has no mask"
    assert quality.error == pytest.approx((0.05 * 2 + 0.65 + 0.62 + 0.05) / 5)
    assert [count for _, _, count in reliability(values, drawn.there)] == [1, 1, 1, 2]
    assert 0.3 <= choose_threshold(values, drawn) <= 0.35, "half found though absent, a third missed"


def test_too_few_samples() -> None:
    few = samples(200).only(np.arange(200) < 8)
    with pytest.raises(InputError, match="too few"):
        fit(few)
