from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from openvocabct_training.evaluation.intervals import auroc, grand_mean, interval, mean_interval, resampled_means

NAN = np.nan


def test_every_structure_counts_alike() -> None:
    values = np.array([[0.9, 0.5], [0.7, NAN], [NAN, 0.0]])
    assert grand_mean(values) == pytest.approx((0.8 + 0.25) / 2)
    assert np.isnan(grand_mean(np.full((2, 2), NAN)))
    assert grand_mean(np.array([[NAN, 0.4]])) == pytest.approx(0.4)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).uniform(size=(12, 3))
    patients = [str(n) for n in range(12)]
    first = mean_interval(values, patients, seed=3)
    assert first is not None and first == mean_interval(values, patients, seed=3) != mean_interval(values, patients)
    assert first[0] < grand_mean(values) < first[1]


def test_agrees_with_scipy() -> None:
    values = np.random.default_rng(1).normal(0.7, 0.1, 25)
    ours = mean_interval(values[:, None], [str(n) for n in range(25)])
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", random_state=np.random.default_rng(2)
    ).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.006)


def test_scans_of_one_patient_are_drawn_together() -> None:
    values = np.array([[0.0], [0.0], [0.0], [1.0]])
    means = set(np.round(resampled_means(values, ["a", "a", "a", "b"]), 6))
    assert means == {0.0, 0.25, 1.0}


def test_one_patient_says_nothing_about_others() -> None:
    assert mean_interval(np.array([[0.5], [0.7]]), ["a", "a"]) is None
    assert mean_interval(np.array([[0.5], [NAN]]), ["a", "b"]) is None
    assert mean_interval(np.array([[0.5], [0.7]]), ["a", "b"]) == (0.5, 0.7)
    assert interval(np.array([NAN])) is None


def test_auroc() -> None:
    generator = np.random.default_rng(4)
    there, not_there = generator.normal(1, 1, 30).round(1), generator.normal(0, 1, 40).round(1)
    expected = roc_auc_score([1] * 30 + [0] * 40, np.concatenate([there, not_there]))
    assert auroc(there.tolist(), not_there.tolist()) == pytest.approx(expected)
    assert auroc([0.9], [0.1]) == 1.0
    assert auroc([0.5], [0.5]) == 0.5
    assert auroc([], [0.1]) is None
