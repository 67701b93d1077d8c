"""Small synthetic CTs with a different structure on every side, so that a wrong flip or order shows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

AIR, FAT, TISSUE, BONE = -1000, -100, 40, 700


def ct_phantom(shape: tuple[int, int, int] = (9, 12, 15), seed: int = 0) -> NDArray[np.int16]:
    """An ellipse of soft tissue in air with fat, bone and noise, off centre on every axis; (K, J, I), int16."""
    k, j, i = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    array = np.full(shape, AIR, dtype=float)
    array[(i + 0.1) ** 2 + (j - 0.1) ** 2 < 0.7] = FAT
    array[(i + 0.1) ** 2 + (j - 0.1) ** 2 < 0.55] = TISSUE
    array[(i - 0.3) ** 2 + (j - 0.3) ** 2 + (k - 0.2) ** 2 < 0.15] = BONE
    array += np.random.default_rng(seed).normal(0, 10, shape)
    return np.rint(array).astype(np.int16)
