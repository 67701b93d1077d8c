from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from OpenVocabCTLib.checks import SUBJECT, naming, to_hounsfield
from OpenVocabCTLib.errors import InputError, ResourceError
from Testing.openvocabct_lib.ct_phantoms import ct_phantom

WINDOWED = "windowed picture and no Hounsfield units"
NORMALISED = "normalised and no Hounsfield units"
TWICE = "looks like a CT whose rescale intercept was applied twice .*: add 1024, or convert"
NO_INTERCEPT = "looks like a CT without its rescale intercept"
NO_CT = "does not look like a CT in Hounsfield units"
CLIPPED = "is clipped at"


def window(ct: NDArray[Any], low: float, high: float) -> NDArray[np.float64]:
    return np.asarray((np.clip(ct.astype(float), low, high) - low) / (high - low))


def rician(ct: NDArray[Any], maximum: float) -> NDArray[np.int16]:
    """Something like an MR of the same body: air is dark, noise is Rician, bone is dark too."""
    rng = np.random.default_rng(5)
    signal = np.where((ct > -300) & (ct < 200), ct + 400.0, 20.0)
    noisy = np.hypot(signal + rng.normal(0, 20, ct.shape), rng.normal(0, 20, ct.shape))
    return np.asarray(noisy * (maximum / noisy.max()), dtype=np.int16)


def z_score(values: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray((values - values.mean()) / values.std(), dtype=np.float32)


def phase(ct: NDArray[Any]) -> NDArray[np.int16]:
    return np.random.default_rng(6).integers(-4096, 4096, ct.shape, dtype=np.int16)


# name -> what is done to a CT, and how it is refused
NOT_HU: dict[str, tuple[Callable[[NDArray[Any]], NDArray[Any]], str]] = {
    "abdominal window, uint8": (lambda ct: (window(ct, -160, 240) * 255).astype(np.uint8), WINDOWED),
    "signed 8 bits": (lambda ct: (window(ct, -1000, 1000) * 255 - 128).astype(np.int8), WINDOWED),
    "wide window, int16": (lambda ct: (window(ct, -1000, 1000) * 255).astype(np.int16), WINDOWED),
    "wide window, float": (lambda ct: (window(ct, -1000, 1000) * 255).astype(np.float32), WINDOWED),
    "0..1": (lambda ct: window(ct, -1000, 1000), NORMALISED),
    "-1..1": (lambda ct: 2 * window(ct, -1000, 1000) - 1, NORMALISED),
    "z-scored CT": (z_score, NORMALISED),
    "clipped HU": (lambda ct: np.clip(ct, -160, 240), CLIPPED),
    "no intercept": (lambda ct: np.clip(ct, -1024, None) + 1024, NO_INTERCEPT),
    "no intercept, unsigned": (lambda ct: (np.clip(ct, -1000, None) + 1000).astype(np.uint16), NO_INTERCEPT),
    "no intercept, padded": (lambda ct: np.where(ct < -950, -2000, ct + 1024).astype(np.int16), NO_INTERCEPT),
    "MR 0..800": (lambda ct: rician(ct, 800), NO_CT),
    "MR 0..4095": (lambda ct: rician(ct, 4095), f"{NO_CT}|{NO_INTERCEPT}"),
    "MR with ringing": (lambda ct: rician(ct, 800) - np.int16(25), NO_CT),
    "intercept applied twice": (lambda ct: ct - np.int16(1024), f"{TWICE}|{NO_CT}"),
    "z-scored MR": (lambda ct: z_score(rician(ct, 800).astype(float)), NORMALISED),
    "MR phase": (phase, NO_CT),
}


@pytest.fixture(scope="module")
def sample_ct() -> NDArray[Any]:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(files("slicerio") / "data" / "CTChest4.nrrd")))


@pytest.mark.parametrize("name", NOT_HU)
def test_what_is_not_in_hounsfield_units_is_refused(name: str, sample_ct: NDArray[Any]) -> None:
    change, reason = NOT_HU[name]
    for ct in (sample_ct, ct_phantom((20, 40, 40))):
        with pytest.raises(InputError, match=reason) as caught:
            to_hounsfield(change(ct))
        assert caught.value.exit_code == 2
        assert str(caught.value).startswith("the volume ")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((4, 5, 6), 40, np.int16), "is 40 everywhere: give a CT that shows something"),
        (np.zeros((4, 5), np.int16), r"is not one 3D image \(4 x 5\): give one 3D CT"),
        (np.zeros((4, 5, 6, 2), np.int16), r"is not one 3D image \(4 x 5 x 6 x 2\)"),
        (np.zeros((0, 5, 6), np.int16), "is not one 3D image"),
        (np.zeros((4, 5, 6), bool), "has voxels of type bool"),
        (np.zeros((4, 5, 6), complex), "has voxels of type complex128"),
        (np.full((4, 5, 6), "a"), "has voxels of type <U1"),
        (
            np.where(np.arange(8).reshape(2, 2, 2) == 3, np.nan, ct_phantom((2, 2, 2))),
            "not a number or infinite: replace",
        ),
        (np.where(np.arange(8).reshape(2, 2, 2) == 3, np.inf, ct_phantom((2, 2, 2))), "not a number or infinite"),
        (np.where(np.arange(8).reshape(2, 2, 2) == 3, -np.inf, ct_phantom((2, 2, 2))), "not a number or infinite"),
        (ct_phantom().astype(np.int32) * 100, "beyond Hounsfield units"),
        (np.arange(60000, 60120, dtype=np.uint16).reshape(4, 5, 6), "beyond Hounsfield units"),
        (np.where(np.arange(120).reshape(4, 5, 6) > 9, -2000, -3024).astype(np.int16), "no voxel above -1300 HU"),
        (np.where(ct_phantom() > -500, 900, -1000).astype(np.int16), NO_CT),
        (np.arange(120, dtype=np.int16).reshape(4, 5, 6), WINDOWED),
    ],
)
def test_bad_arrays_are_refused(array: NDArray[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        to_hounsfield(array)


def test_padding_and_metal_are_normal() -> None:
    ct = ct_phantom()
    for padding in (-1500, -2000, -2048, -3024):
        padded = ct.copy()
        padded[:, 0], padded[:, 5, 5] = padding, 3071
        np.testing.assert_array_equal(to_hounsfield(padded), padded)


def test_water_around_the_patient_is_refused_and_one_slice_of_it_is_not(sample_ct: NDArray[Any]) -> None:
    ct = ct_phantom((20, 40, 40))
    for masked in (np.where(sample_ct < -950, 0, sample_ct), np.where(ct < -950, 0, ct)):
        with pytest.raises(InputError, match=r"is filled with 0 HU, which is water, .*: fill it with -1000 instead"):
            to_hounsfield(masked.astype(np.int16))
    ct[0] = 0
    assert to_hounsfield(ct) is ct


def test_dense_bone_is_not_taken_for_soft_tissue_where_the_intercept_was_applied_twice() -> None:
    rng = np.random.default_rng(3)
    kinds = (
        rng.normal(-1000, 10, 600),
        rng.uniform(-950, -300, 100),
        rng.normal(20, 60, 270),
        rng.normal(1000, 90, 30),
    )
    ct = rng.permutation(np.concatenate(kinds)).reshape(10, 10, 10).astype(np.int16)
    assert to_hounsfield(ct) is ct
    with pytest.raises(InputError, match=TWICE):
        to_hounsfield(ct - np.int16(1024))


def test_a_crop_inside_soft_tissue_is_a_ct() -> None:
    rng = np.random.default_rng(2)
    crop = rng.normal(50, 12, (8, 16, 16))
    crop[:, :2] = rng.normal(-100, 12, (8, 2, 16))
    np.testing.assert_array_equal(to_hounsfield(crop.astype(np.int16)), crop.astype(np.int16))


def test_a_limb_in_padding_without_air_is_a_ct() -> None:
    ct = ct_phantom()
    ct[ct < -300] = -2000
    assert to_hounsfield(ct) is ct


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64, ">i2", ">i4"])
def test_integers_become_int16(dtype: Any) -> None:
    ct = ct_phantom()
    result = to_hounsfield(ct.astype(dtype))
    assert result.dtype == np.int16
    np.testing.assert_array_equal(result, ct)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_floats_become_float32(dtype: Any) -> None:
    ct = (ct_phantom() + 0.5).astype(dtype)
    result = to_hounsfield(ct)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, ct.astype(np.float32))


def test_a_big_scan_is_not_copied() -> None:
    ct = ct_phantom()
    assert to_hounsfield(ct) is ct
    assert to_hounsfield(ct.transpose(2, 1, 0)).flags.c_contiguous


@given(st.integers(0, 2**32 - 1), st.floats(0.5, 40))
def test_verdict_survives_noise_and_flips(seed: int, sigma: float) -> None:
    noisy = ct_phantom() + np.random.default_rng(seed).normal(0, sigma, (9, 12, 15))
    for ct in (noisy, noisy[::-1], noisy.transpose(2, 0, 1)):
        to_hounsfield(ct.astype(np.int16))


def test_naming_puts_the_file_into_the_sentence_and_keeps_the_kind_of_error() -> None:
    with pytest.raises(InputError, match=r"^ct\.nii is empty: copy it again$"), naming("ct.nii"):
        raise InputError(f"{SUBJECT} is empty", "copy it again")
    with pytest.raises(ResourceError, match=r"^ct\.nii does not fit"), naming("ct.nii"):
        raise ResourceError(f"{SUBJECT} does not fit", "crop it")


def real_cts(folder: Path) -> list[Path]:
    found = sorted(folder.glob("**/ct.nii.gz"))
    assert found
    return found


def test_every_real_ct_is_accepted(shared_data: Path, sample_ct: NDArray[Any]) -> None:
    to_hounsfield(sample_ct)
    for path in real_cts(shared_data):
        ct = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        assert to_hounsfield(ct) is ct, path


@pytest.mark.parametrize("name", NOT_HU)
def test_real_ct_that_lost_its_units_is_refused(name: str, shared_data: Path) -> None:
    change, reason = NOT_HU[name]
    paths = real_cts(shared_data)
    for path in [*paths[:: len(paths) // 6], *shared_data.glob("unlabelled/head*/ct.nii.gz")]:
        ct = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[::2, ::2, ::2]
        with pytest.raises(InputError, match=reason):
            to_hounsfield(change(ct))


def test_random_crops_of_real_ct_are_accepted(shared_data: Path) -> None:
    rng = np.random.default_rng(0)
    refused = total = 0
    for path in real_cts(shared_data)[::6]:
        ct = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        for _ in range(10):
            size = [min(n, int(rng.integers(8, 40))) for n in ct.shape]
            start = [int(rng.integers(0, n - m + 1)) for n, m in zip(ct.shape, size, strict=True)]
            crop = ct[tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))]
            if np.mean(crop > -300) < 0.3:
                continue
            total += 1
            try:
                to_hounsfield(crop)
            except InputError:
                refused += 1  # wholly inside an organ, without fat: see checks.py
    assert total > 100
    assert refused / total < 0.02
