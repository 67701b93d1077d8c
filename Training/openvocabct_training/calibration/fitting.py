"""Fitting the probability of presence, and measuring how far it can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.models.config import PresenceConfig

BINS = 10
_RIDGE = 0.1
_THRESHOLDS = np.arange(0.05, 0.951, 0.01)
_FEWEST = 10


@dataclass(frozen=True)
class Samples:
    """Questions whose answers are known.

    Attributes:
        features: (N, F), see ``OpenVocabCTLib.inference.presence.features``.
        heads: (N,) probability by the presence head alone.
        there: (N,) whether the structure is in the scan.
        answered: (N,) whether the mask is large enough to be answered with.
        patients: (N,) whose scan it is.
    """

    features: np.ndarray
    heads: np.ndarray
    there: np.ndarray
    answered: np.ndarray
    patients: np.ndarray

    def only(self, chosen: np.ndarray) -> Samples:
        """Return the samples that a (N,) bool array chooses."""
        return Samples(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Quality:
    """How good probabilities are.

    Attributes:
        error: expected calibration error: mean over `BINS` equal bins of the distance between probability and share of
            structures that are there, weighted by the number of samples (Naeini et al., AAAI 2015).
        brier: mean squared error.
        false_positives: share of absent structures that are answered with a mask.
        missed: share of present structures that are not.
    """

    error: float
    brier: float
    false_positives: float
    missed: float


def fit(samples: Samples) -> PresenceConfig:
    """Fit a logistic regression with a small ridge; no evidence may count against a structure (weights >= 0).

    Raises:
        InputError: there are too few samples of either kind.
    """
    positives = int(samples.there.sum())
    if min(positives, len(samples.there) - positives) < _FEWEST:
        raise InputError(
            f"there are {positives} present and {len(samples.there) - positives} absent structures, too few to fit to",
            "give more validation patients (--dataset)",
        )
    values = np.column_stack([np.ones(len(samples.there)), samples.features])
    sign = np.where(samples.there, 1.0, -1.0)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (values @ weights)
        gradient = -(values * (sign * expit(-margin))[:, None]).sum(0) + _RIDGE * np.append(0.0, weights[1:])
        return float(np.logaddexp(0.0, -margin).sum() + 0.5 * _RIDGE * (weights[1:] ** 2).sum()), gradient

    bounds = [(None, None)] + [(0.0, None)] * samples.features.shape[1]
    found = minimize(loss, np.zeros(values.shape[1]), jac=True, bounds=bounds, method="L-BFGS-B")
    return PresenceConfig(round(float(found.x[0]), 4), tuple(round(float(weight), 4) for weight in found.x[1:]))


def probabilities(config: PresenceConfig, samples: Samples) -> np.ndarray:
    """Return (N,) calibrated probabilities."""
    values: np.ndarray = expit(config.intercept + samples.features @ np.asarray(config.weights))
    return values


def choose_threshold(values: np.ndarray, samples: Samples) -> float:
    """Return the threshold, nearest to 0.5, at which the larger of false-positive and missed share is lowest."""

    def worst(threshold: float) -> tuple[float, float]:
        quality = measure(values, samples, threshold)
        return round(max(quality.false_positives, quality.missed), 6), abs(threshold - 0.5)

    return round(float(min(_THRESHOLDS, key=worst)), 2)


def leave_one_out(samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """Fit without each patient in turn.

    Returns:
        (N,) probabilities from fits that never saw the patient, and (N,) thresholds that were chosen with those fits.
    """
    values, thresholds = np.empty(len(samples.there)), np.empty(len(samples.there))
    for patient in np.unique(samples.patients):
        own = samples.patients == patient
        others = samples.only(~own)
        config = fit(others)
        values[own] = probabilities(config, samples.only(own))
        thresholds[own] = choose_threshold(probabilities(config, others), others)
    return values, thresholds


def measure(values: np.ndarray, samples: Samples, threshold: float | np.ndarray) -> Quality:
    """Judge (N,) probabilities with one threshold, or one for each."""
    found = (values >= threshold) & samples.answered
    there = samples.there
    return Quality(
        sum(abs(mean - share) * count for mean, share, count in reliability(values, there)) / len(values),
        float(np.mean((values - there) ** 2)),
        _share(found[~there]),
        _share(~found[there]),
    )


def reliability(values: np.ndarray, there: np.ndarray) -> list[tuple[float, float, int]]:
    """Return mean probability, share that is there, and number of samples of every bin that has any."""
    places = np.minimum((values * BINS).astype(int), BINS - 1)
    chosen: Sequence[np.ndarray] = [places == place for place in range(BINS)]
    return [(float(values[one].mean()), float(there[one].mean()), int(one.sum())) for one in chosen if one.any()]


def _share(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0
