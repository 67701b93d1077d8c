"""Pixels of CT images in HU: pydicom for what is stored plainly, GDCM (through SimpleITK) for what is compressed.

GDCM knows no High-Throughput JPEG 2000 (HTJ2K, JPEG 2000 part 15): OpenJPEG, through pylibjpeg, reads that.

The rescale of every image is applied here rather than by GDCM, so that all kinds of files go the same way.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from OpenVocabCTLib.checks import INT16, SUBJECT
from OpenVocabCTLib.dicom.frames import CT_IMAGE, Frame, damaged, silent
from OpenVocabCTLib.dicom.locations import Location, archives_kept_open
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.files import itk_errors

if TYPE_CHECKING:
    from pydicom import Dataset

_RLE = "1.2.840.10008.1.2.5"
_PADDING_HU = -2048  # what scanners put there that fits into Hounsfield units
_HTJ2K = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (201, 202, 203))
_PIXEL_KEYWORDS = (
    "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation",
)  # fmt: skip


def read_pixels(frames: Sequence[Frame]) -> NDArray[Any]:
    """Read images of one size with slope and intercept applied to each.

    Returns:
        Voxels (K, J, I) in HU: int16, or float32 when a rescale is fractional.

    Raises:
        InputError: a file is damaged, of another size than its header says, in a compression that is not known, or
            holds values beyond those of CT.
    """
    dtype = np.int16 if all(frame.is_integral for frame in frames) else np.float32
    array = np.empty((len(frames), *frames[0].size), dtype=dtype)
    with archives_kept_open():
        for k, pixels in enumerate(_each(frames)):
            array[k] = pixels
    return array


def _each(frames: Sequence[Frame]) -> Iterator[NDArray[Any]]:
    opened: tuple[Location, Dataset] | None = None  # the frames of an enhanced CT share a file
    for frame in frames:
        with silent():
            try:
                if opened is None or opened[0] != frame.location:
                    opened = (frame.location, _read(frame.location))
                stored = _stored(opened[1], frame.number or 0)
                padding = _padding(opened[1])
            except damaged() as error:
                raise _damaged(frame) from error
        if stored.shape != frame.size:
            raise InputError(
                f"{SUBJECT} has a slice of another size ({frame.location.name})", "give a series of single slices"
            )
        yield _rescaled(stored, frame, padding)


def _damaged(frame: Frame) -> InputError:
    return InputError(f"{SUBJECT} has a slice that cannot be read ({frame.location.name})", "copy the series again")


def _read(location: Location) -> Dataset:
    import pydicom

    with location.open() as file:
        return pydicom.dcmread(file, force=True)


def _rescaled(stored: NDArray[Any], frame: Frame, padding: tuple[int, int] | None) -> NDArray[Any]:
    """Return HU; stored values from `padding` low to high, which only fill up the slice, may be beyond them."""
    slope, intercept = frame.rescale or (1.0, 0.0)
    values: NDArray[Any]
    if frame.is_integral:
        values = stored.astype(np.int64) * int(slope) + int(intercept)
    else:
        values = stored.astype(np.float64) * slope + intercept
    if values.min() < INT16.min or values.max() > INT16.max:
        beyond = (values < INT16.min) | (values > INT16.max)
        if padding is None or not ((stored[beyond] >= padding[0]) & (stored[beyond] <= padding[1])).all():
            raise InputError(f"{SUBJECT} has a slice with values beyond Hounsfield units", "export the series again")
        values[beyond] = _PADDING_HU
    return values


def _padding(dataset: Dataset) -> tuple[int, int] | None:
    """Return the lowest and highest stored value that stands for "no image here" (PS3.3 C.7.5.1.1.2)."""
    first = dataset.get("PixelPaddingValue")
    if first is None:
        return None
    ends = (first, dataset.get("PixelPaddingRangeLimit", first))
    low, high = sorted(_as_stored(int(value), dataset) for value in ends)
    return low, high


def _as_stored(value: int, dataset: Dataset) -> int:
    """Give a value the sign that the pixels have: some writers store a negative one as unsigned, and the reverse."""
    bits = int(dataset.BitsAllocated)
    lowest = -(1 << (bits - 1)) if int(dataset.PixelRepresentation) else 0
    return (value - lowest) % (1 << bits) + lowest


def _stored(dataset: Dataset, index: int) -> NDArray[Any]:
    """Return the stored values of one frame (rows, columns), without overlay bits."""
    from pydicom.pixels.utils import pixel_array

    syntax = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    if syntax is not None and syntax.is_compressed and syntax.is_encapsulated and str(syntax) != _RLE:
        return _htj2k(dataset, index) if str(syntax) in _HTJ2K else _decompressed(dataset, index)
    if syntax is None:  # a data set without file header is implicit little endian by the standard
        from pydicom.dataset import FileMetaDataset
        from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

        implicit = dataset.original_encoding[0]
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    stored = np.asarray(pixel_array(dataset, index=index, raw=True))
    return _without_overlays(stored, dataset)


def _htj2k(dataset: Dataset, index: int) -> NDArray[Any]:
    """Decompress one frame with OpenJPEG.

    Raises:
        InputError: the decoder is not installed.
    """
    from pydicom.pixels.decoders.base import get_decoder

    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    if not decoder.is_available:
        raise InputError(
            f"{SUBJECT} is compressed with High-Throughput JPEG 2000, whose decoder is not installed",
            "run pip install pylibjpeg pylibjpeg-openjpeg, or export the series uncompressed",
        )
    try:
        with _quiet_decoders():
            stored, _ = decoder.as_array(dataset, index=index, raw=True)
    except RuntimeError as error:  # the decoder's own word for damage
        raise ValueError("OpenJPEG cannot decompress a frame") from error
    return _without_overlays(np.asarray(stored), dataset)


def _without_overlays(stored: NDArray[Any], dataset: Dataset) -> NDArray[Any]:
    allocated, bits = int(dataset.BitsAllocated), int(dataset.BitsStored)
    if bits == allocated:
        return stored
    # Old files keep overlays in the bits that pixels do not use: move the pixel to the top, and back with its sign.
    top = allocated - 1 - int(dataset.get("HighBit", bits - 1))
    if top < 0 or bits < 1 or top + bits > allocated:
        raise ValueError("bits that do not fit")
    return np.asarray((stored << top) >> (allocated - bits))


def _decompressed(dataset: Dataset, index: int) -> NDArray[Any]:
    """Decompress one frame with GDCM, from a small file that holds nothing else."""
    import pydicom
    import SimpleITK as sitk
    from pydicom.encaps import encapsulate, get_frame

    single = pydicom.Dataset()
    single.file_meta = pydicom.dataset.FileMetaDataset()
    single.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    single.SOPClassUID = single.file_meta.MediaStorageSOPClassUID = pydicom.uid.UID(CT_IMAGE)
    single.SOPInstanceUID = single.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.UID("2.25.1")
    for keyword in _PIXEL_KEYWORDS:
        setattr(single, keyword, dataset[keyword].value)
    frames = int(dataset.get("NumberOfFrames") or 1)
    single.PixelData = encapsulate([get_frame(dataset.PixelData, index, number_of_frames=frames)])
    with tempfile.TemporaryDirectory(prefix="openvocabct-") as folder:
        path = Path(folder) / "frame.dcm"
        single.save_as(path, enforce_file_format=True)
        try:
            with itk_errors(), _quiet_decoders():
                image = sitk.ReadImage(str(path), imageIO="GDCMImageIO")
        except InputError as error:
            name = dataset.file_meta.TransferSyntaxUID.name
            raise ValueError(f"GDCM does not decompress {name}") from error
    stored = sitk.GetArrayFromImage(image)
    return np.asarray(stored.reshape(stored.shape[-2:]) if stored.ndim == 3 and stored.shape[0] == 1 else stored)


@contextmanager
def _quiet_decoders() -> Iterator[None]:
    """Send what the decoders' C code says to stderr nowhere: the exception that follows says it in one sentence."""
    try:
        before = os.dup(2)
    except OSError:  # a process without terminal, as on Windows
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(nowhere)
        os.close(before)
