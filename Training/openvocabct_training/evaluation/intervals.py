"""Means with the uncertainty that a small number of patients leaves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000
CONFIDENCE = 0.95
Interval = tuple[float, float]


def grand_mean(values: np.ndarray) -> float:
    """(cases, structures) with NaN where there is no value -> mean over structures of their mean over cases."""
    return float(_grand_means(np.ones((1, len(values))), values)[0])


def resampled_means(
    values: np.ndarray, patients: Sequence[str], seed: int = 0, resamples: int = RESAMPLES
) -> np.ndarray:
    """`grand_mean` of bootstrap samples of patients.

    Args:
        values: (cases, structures), NaN where there is no value.
        patients: (cases,) whose the cases are; the cases of one patient are drawn together.
        seed: of the draws. The same seed and patients give the same draws, so that systems can be compared in pairs.
        resamples: number of draws.

    Returns:
        (resamples,), NaN where a draw has no value at all.
    """
    unique = list(dict.fromkeys(patients))
    draws = np.random.default_rng(seed).integers(len(unique), size=(resamples, len(unique)))
    times = np.stack([np.bincount(draw, minlength=len(unique)) for draw in draws])
    return _grand_means(times[:, [unique.index(patient) for patient in patients]], values)


def interval(samples: np.ndarray) -> Interval | None:
    """Percentile interval of 95 % (Efron & Tibshirani 1993, chapter 13); None where there is no sample."""
    samples = samples[~np.isnan(samples)]
    if not samples.size:
        return None
    low, high = np.quantile(samples, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def mean_interval(values: np.ndarray, patients: Sequence[str], seed: int = 0) -> Interval | None:
    """`interval` of `grand_mean`; None where fewer than two patients have a value, for one says nothing about others.

    Args:
        values: as for `resampled_means`.
        patients: as for `resampled_means`.
        seed: as for `resampled_means`.
    """
    known = ~np.isnan(values).all(axis=1)
    if len({patient for patient, has in zip(patients, known, strict=True) if has}) < 2:
        return None
    return interval(resampled_means(values, patients, seed))


def auroc(positives: Sequence[float], negatives: Sequence[float]) -> float | None:
    """Area under the ROC curve: how often a positive has the higher score, a tie counting half; None without either."""
    from scipy.stats import mannwhitneyu

    if not positives or not negatives:
        return None
    return float(mannwhitneyu(positives, negatives).statistic) / (len(positives) * len(negatives))


def _grand_means(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(draws, cases) how often a case counts, (cases, structures) -> (draws,)."""
    known = ~np.isnan(values)
    count = weights @ known.astype(float)
    means = _divide(weights @ np.where(known, values, 0.0), count)
    return _divide(np.nansum(means, axis=1), (count > 0).sum(axis=1))


def _divide(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
