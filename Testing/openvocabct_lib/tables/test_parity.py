"""The whole way of nnU-Net, against a plain computation of the same with all scores of all classes at once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from OpenVocabCTLib import CTVolume, Segmenter
from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.inference.tables.patches import patch_weight
from OpenVocabCTLib.models.converting.nnunet import read_results
from OpenVocabCTLib.models.converting.writing import Description, write_model
from Testing.openvocabct_lib.tables.results_folders import INTENSITIES, LABELS, PATCH, SPACING, write_results
from Testing.openvocabct_lib.tables.words import BagOfWords

DESCRIPTION = Description("a test", "Apache-2.0")
TRANSPOSE = (1, 0, 2)
RAS = (-1, 0, 0, 0, -1, 0, 0, 0, 1)
# Columns of I, J, K: I runs to the feet, J to the right, K to the back.
TURNED = (0, -1, 0, 0, 0, 1, -1, 0, 0)


def smooth_ct(shape: tuple[int, int, int], spacing: tuple[float, float, float], direction: Sequence[float]) -> CTVolume:
    noise = np.random.default_rng(3).normal(size=shape)
    array = ndimage.gaussian_filter(noise, 2.0) * 4000.0
    array[:2] = 0.0  # nnU-Net crops what is zero
    return CTVolume.from_array(array.astype(np.int16), Geometry(shape, spacing, (5.0, -3.0, 9.0), tuple(direction)))


def reference(volume: CTVolume, networks: Sequence[nn.Module], mirror: Sequence[int], turn: bool) -> np.ndarray:
    """Label map (K, J, I): crop, normalise, cubic resampling, tiles, scores resampled linearly, best class."""
    image = volume.array.astype(np.float64)
    undo = [(0, 1, 2), ()]
    if turn:  # TURNED to (S, A, R)
        image = image.transpose(2, 0, 1)[::-1, ::-1, :]
        undo = [(1, 2, 0), (0, 1)]
    spacing = np.array(volume.geometry.spacing[::-1])[[2, 0, 1]] if turn else np.array(volume.geometry.spacing[::-1])
    image, spacing = image.transpose(TRANSPOSE), spacing[list(TRANSPOSE)]
    nonzero = np.nonzero(image)
    box = tuple(slice(axis.min(), axis.max() + 1) for axis in nonzero)
    whole, image = image.shape, image[box]
    image = np.clip(image, INTENSITIES["percentile_00_5"], INTENSITIES["percentile_99_5"])
    image = (image - INTENSITIES["mean"]) / INTENSITIES["std"]
    shape = [round(old / new * n) for old, new, n in zip(spacing, SPACING, image.shape, strict=True)]
    resized = resize(image, shape, spacing, SPACING, 3)
    missing = [max(0, p - n) for p, n in zip(PATCH, shape, strict=True)]
    padded = np.pad(resized, [(m // 2, m - m // 2) for m in missing])
    point = np.zeros(PATCH)
    point[tuple(p // 2 for p in PATCH)] = 1
    gauss = ndimage.gaussian_filter(point, [p / 8 for p in PATCH], mode="constant")
    gauss /= gauss.max()
    total, weight = np.zeros((len(LABELS), *padded.shape)), np.zeros(padded.shape)
    for start in itertools.product(*(starts(n, p) for n, p in zip(padded.shape, PATCH, strict=True))):
        part = tuple(slice(s, s + p) for s, p in zip(start, PATCH, strict=True))
        total[(slice(None), *part)] += predict(padded[part], networks, mirror) * gauss
        weight[part] += gauss
    scores = (total / weight)[(slice(None), *(slice(m // 2, m // 2 + n) for m, n in zip(missing, shape, strict=True)))]
    labels = np.zeros(whole, int)
    labels[box] = np.stack([resize(one, image.shape, SPACING, spacing, 1) for one in scores]).argmax(0)
    labels = labels.transpose(np.argsort(TRANSPOSE))
    return np.flip(labels, undo[1]).transpose(undo[0]) if turn else labels


def starts(side: int, patch: int) -> list[int]:
    count = int(np.ceil((side - patch) / (patch * 0.5))) + 1
    return [round(index * (side - patch) / max(1, count - 1)) for index in range(count)]


def predict(tile: np.ndarray, networks: Sequence[nn.Module], mirror: Sequence[int]) -> np.ndarray:
    flips = [axes for count in range(len(mirror) + 1) for axes in itertools.combinations(mirror, count)]
    total = np.zeros(1)
    for network in networks:
        for axes in flips:
            flipped = torch.from_numpy(np.flip(tile, axes).copy()).float()[None, None]
            with torch.no_grad():
                scores = network(flipped)[0][0].numpy()  # deep supervision: the finest scores come first
            total = total + np.flip(scores, [axis + 1 for axis in axes])
    return total / (len(flips) * len(networks))


def resize(
    image: np.ndarray, shape: Sequence[int], old: Sequence[float], new: Sequence[float], order: int
) -> np.ndarray:
    coarse = next((s for s in (old, new) if max(s) / min(s) > 3), None)
    if coarse is None:
        return zoom(image, shape, order)
    axis = int(np.argmax(coarse))
    flat = [n for a, n in enumerate(shape) if a != axis]
    planes = np.stack([zoom(plane, flat, order) for plane in np.moveaxis(image, axis, 0)])
    position = (np.arange(shape[axis]) + 0.5) * len(planes) / shape[axis] - 0.5
    picked = ndimage.map_coordinates(np.arange(len(planes)), [position], order=0, mode="nearest")
    return np.moveaxis(planes[picked], 0, axis)


def zoom(image: np.ndarray, shape: Sequence[int], order: int) -> np.ndarray:
    factors = np.divide(shape, image.shape)
    zoomed = ndimage.zoom(image, factors, order=order, mode="nearest", grid_mode=True)
    return zoomed.clip(image.min(), image.max())


@pytest.mark.parametrize(
    ("kind", "folds", "reader", "spacing", "direction"),
    [
        ("PlainConvUNet", (0,), "SimpleITKIO", (2.0, 2.2, 4.0), RAS),
        ("ResidualEncoderUNet", (0, 1), "NibabelIOWithReorient", (2.5, 1.9, 2.4), TURNED),
        ("PlainConvUNet", (2,), "SimpleITKIO", (2.1, 2.0, 9.0), TURNED),
    ],
    ids=["plain", "two folds turned", "thick slices"],
)
def test_label_maps_are_those_of_nnunet(
    tmp_path: Path,
    kind: str,
    folds: tuple[int, ...],
    reader: str,
    spacing: tuple[float, float, float],
    direction: tuple,
) -> None:
    networks = write_results(tmp_path / "results", kind, folds, reader)
    write_model(tmp_path / "model", [read_results(tmp_path / "results")], DESCRIPTION, BagOfWords())
    volume = smooth_ct((22, 26, 24), spacing, direction)
    study = Segmenter.from_pretrained(tmp_path / "model", device="cpu", backend="torch").encode(volume)
    expected = reference(volume, networks, (0, 2), reader == "NibabelIOWithReorient")
    assert len(np.unique(expected)) >= 3
    for name, segment in zip(LABELS, ["nothing", *study.segment(list(LABELS)[1:])], strict=True):
        if name != "background":
            there = expected == LABELS[name]
            mask = segment.mask if segment.found else np.zeros_like(there)
            wrong = np.count_nonzero(mask != there)
            assert wrong <= max(4, 0.01 * np.count_nonzero(there)), name  # random networks have many near ties


def test_weights_are_rounded_as_those_of_nnunet() -> None:
    point = np.zeros((16, 24, 32))
    point[8, 12, 16] = 1.0
    exact = ndimage.gaussian_filter(point, (2.0, 3.0, 4.0), mode="constant")
    rounded = (10.0 * exact / exact.max()).astype(np.float16).astype(np.float32)
    weight = 10.0 * patch_weight((16, 24, 32)).numpy()
    smallest = np.finfo(np.float16).smallest_subnormal
    assert rounded.min() == 0.0 and np.allclose(weight, np.maximum(rounded, smallest), rtol=1e-6, atol=0.0)
