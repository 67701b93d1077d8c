"""The probability that a structure is in the scan, calibrated on validation patients.

Three pieces of evidence go into a logistic regression (Platt, Advances in Large Margin Classifiers, 1999): what the
presence head says of the most convinced tile, how much of the usual volume the mask has, and whether neighbours that
were found say that this part of the body is in the scan. A model whose configuration has no such regression answers
with the presence head alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from OpenVocabCTLib.models.config import PresenceConfig
from OpenVocabCTLib.prompts.concepts import Concept

FEATURES = 3
# What free text and structures without a known volume are measured by.
_USUAL_ML = 5.0
_HEAD_LIMIT = 8.0
_HEAD_UNIT = 4.0
# From a 64th of the usual volume to twice as much; more says no more.
_DOUBLINGS = (-6.0, 1.0)
_DOUBLINGS_UNIT = 3.0

Level = tuple[int, int]


@dataclass(frozen=True)
class Evidence:
    """What speaks for a structure being in a scan.

    Attributes:
        head: logit of the presence head.
        volume_ml: expected volume in ml of the voxels that are more likely inside than not.
        in_view: -1 (beyond everything that was found) to 1 (all of its part of the body is in the scan); 0 where
            unknown.
        answer_ml: volume in ml of the answer at the model's own threshold, on the working grid.
    """

    head: float
    volume_ml: float
    in_view: float = 0.0
    answer_ml: float = 0.0


def expected_volume(logits: Tensor, rival: Tensor | None, voxel_ml: float) -> float:
    """Sum the probabilities of the voxels that are more likely inside than not, in ml.

    Args:
        logits: (s, a, r).
        rival: logits of the same structure on the other side; a voxel goes to the likelier of the two.
        voxel_ml: volume of a voxel in ml.
    """
    values = logits.numpy()
    inside = values > 0.0
    if rival is not None:
        inside &= values > rival.numpy()
    return float((1.0 / (1.0 + np.exp(-values[inside]))).sum(dtype=np.float64)) * voxel_ml


def features(evidence: Evidence, concept: Concept | None) -> tuple[float, float, float]:
    """Return what the regression sees, each about -2 to 2.

    Args:
        evidence: what was measured.
        concept: what was asked for, None for free text; its usual volume is the scale of the mask's.
    """
    usual = concept.volume_ml[0] if concept is not None and concept.volume_ml is not None else _USUAL_ML
    low, high = _DOUBLINGS
    doublings = math.log2(max(evidence.volume_ml, usual * 2.0**low) / usual)
    return (
        max(-_HEAD_LIMIT, min(evidence.head, _HEAD_LIMIT)) / _HEAD_UNIT,
        min(doublings, high) / _DOUBLINGS_UNIT,
        evidence.in_view,
    )


def presence(evidence: Evidence, concept: Concept | None, config: PresenceConfig | None) -> float:
    """Return the probability, 0 to 1, that a structure is in the scan.

    Args:
        evidence: what was measured.
        concept: what was asked for, None for free text.
        config: the model's calibration; None answers with the presence head alone.
    """
    if config is None:
        return _sigmoid(evidence.head)
    parts = zip(config.weights, features(evidence, concept), strict=True)
    return _sigmoid(config.intercept + sum(weight * value for weight, value in parts))


def in_view(concept: Concept, found: Iterable[Concept]) -> float:
    """Say from neighbours whether a structure's part of the body is in the scan.

    Args:
        concept: the structure.
        found: landmarks that are whole in the scan; the structure itself and its other side say nothing.

    Returns:
        The share of its levels that lie between those of the landmarks, below zero how far it lies beyond them in
        units of its own length; 0 where unknown.
    """
    levels = [one.level for one in found if one.level is not None and one.id not in (concept.id, concept.mirror)]
    if concept.level is None or not levels:
        return 0.0
    top, bottom = min(level[0] for level in levels), max(level[1] for level in levels)
    shared = min(concept.level[1], bottom) - max(concept.level[0], top) + 1
    return max(-1.0, min(shared / (concept.level[1] - concept.level[0] + 1), 1.0))


def _sigmoid(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-logit)) if logit >= 0.0 else math.exp(logit) / (1.0 + math.exp(logit))
