"""Writing volume files for tests, good ones and broken ones."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_lib.ct_phantoms import ct_phantom

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
OBLIQUE = tuple(float(x) for x in Rotation.from_euler("xyz", [8, -12, 18], degrees=True).as_matrix().ravel())
DIRECTIONS = {
    "LPS": (1, 0, 0, 0, 1, 0, 0, 0, 1),
    "RAS": (-1, 0, 0, 0, -1, 0, 0, 0, 1),
    "left-handed": (1, 0, 0, 0, 1, 0, 0, 0, -1),
    "sagittal slices": (0, 0, 1, 1, 0, 0, 0, -1, 0),
    "oblique": OBLIQUE,
    "oblique, left-handed": tuple(-x if n % 3 == 0 else x for n, x in enumerate(OBLIQUE)),
}


def make_image(direction: tuple[float, ...] = DIRECTIONS["LPS"], dtype: Any = np.int16) -> sitk.Image:
    image = sitk.GetImageFromArray(ct_phantom().astype(dtype))
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-120.5, 33.25, -1017.0))
    image.SetDirection([float(x) for x in direction])
    return image


def write(folder: Path, suffix: str = ".nii.gz", image: sitk.Image | None = None, compress: bool = False) -> Path:
    path = folder / f"ct{suffix}"
    sitk.WriteImage(make_image() if image is None else image, str(path), compress)
    return path


def patched(folder: Path, *changes: tuple[str, int, tuple[Any, ...]], image: sitk.Image | None = None) -> Path:
    """Write a .nii and overwrite (format, offset, values) in it."""
    path = write(folder, ".nii", image)
    content = bytearray(path.read_bytes())
    for code, offset, values in changes:
        struct.pack_into(code, content, offset, *values)
    path.write_bytes(content)
    return path


def replaced(folder: Path, suffix: str, old: str, new: str) -> Path:
    path = write(folder, suffix)
    text = path.read_text()
    assert re.search(old, text), text
    path.write_text(re.sub(old, new, text))
    return path


def refusal(path: Path, capfd: pytest.CaptureFixture[str]) -> str:
    """Read a bad input; check the form of the error and that nobody else wrote to the terminal."""
    with pytest.raises(InputError) as caught:
        CTVolume.read(path)
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert message.startswith(path.name)
    assert str(path.parent) not in message
    assert re.fullmatch(r"[^:\n]+: [^:\n]+", message), message
    assert capfd.readouterr() == ("", "")
    return message
