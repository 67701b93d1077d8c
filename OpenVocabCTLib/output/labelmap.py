"""Label maps: one number per voxel, the 1-based place of the prompt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from OpenVocabCTLib.errors import InputError, OpenVocabCTError, ResourceError
from OpenVocabCTLib.output.atomic import replacing
from OpenVocabCTLib.output.formats import SEG_NRRD

if TYPE_CHECKING:
    from OpenVocabCTLib.output.segmentation import Overlap, Segmentation


def write_label_map(segmentation: Segmentation, path: Path, suffix: str, overlap: Overlap = "error") -> None:
    """Write a label map with SimpleITK, compressed where the format can.

    Args:
        segmentation: what to write; prompts that were not found keep their number, unused.
        path: the file to write.
        suffix: its suffix in lower case, which chooses the format.
        overlap: which of two overlapping prompts a voxel goes to.

    Raises:
        InputError: segments overlap and `overlap` is "error", the folder cannot be written, or a file of the
            same name with another compression is there.
        ResourceError: the disk is full.
    """
    _check_namesake(path)
    labels = label_map(segmentation, overlap)
    with replacing(path, suffix) as temporary:
        try:
            _write_image(labels, segmentation, temporary)
            complete = _reads_back(labels, temporary)
        except RuntimeError as error:
            raise _incomplete(path) from error
        if not complete:
            raise _incomplete(path)


def label_map(segmentation: Segmentation, overlap: Overlap = "error") -> np.ndarray:
    """Return the label map, (K, J, I), of the smallest unsigned integer type that holds the number of prompts.

    Raises:
        InputError: two segments overlap and `overlap` is "error".
    """
    labels = np.zeros(segmentation.geometry.shape, dtype=np.min_scalar_type(len(segmentation.segments)))
    for value, segment in enumerate(segmentation.segments, start=1):
        if segment.cropped is None:
            continue
        region = labels[segment.cropped.box]
        inside = segment.cropped.array
        if overlap != "last":
            taken = inside & (region > 0)
            if overlap == "error" and taken.any():
                other = segmentation.segments[int(region[taken][0]) - 1]
                raise InputError(
                    f"{other.prompt!r} and {segment.prompt!r} overlap, which a label map cannot hold",
                    "write .seg.nrrd, which keeps both, or let the first or the last prompt win (overlap first|last)",
                )
            inside = inside & ~taken
        region[inside] = value
    return labels


def check_replaced_image(path: Path) -> None:
    """Refuse to replace an image whose voxels are of no type that label maps have here, such as another CT.

    Raises:
        InputError: there is one of this name, or one of this name with another compression.
    """
    _check_namesake(path)
    if path.name.lower().endswith(SEG_NRRD) or not path.is_file():
        return
    import SimpleITK as sitk

    from OpenVocabCTLib.files import itk_errors

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with itk_errors():
            reader.ReadImageInformation()
    except OpenVocabCTError:
        return  # no image, or half of one
    if reader.GetPixelID() not in (sitk.sitkUInt8, sitk.sitkUInt16, sitk.sitkUInt32):
        raise InputError(
            f"{path.name} is there already and is an image, no label map", "give the result another name or folder"
        )


def _check_namesake(path: Path) -> None:
    """Refuse out.nii.gz beside out.nii, and the other way round.

    ITK, and 3D Slicer with it, would show the voxels of out.nii for both: where ct.nii.gz is a CT, the result for the
    CT.
    """
    name = path.name
    if name.lower().endswith(".nii.gz"):
        plain = other = path.with_name(name[: -len(".gz")])
    elif name.lower().endswith(".nii"):
        plain, other = path, path.with_name(f"{name}.gz")
    else:
        return
    if other.exists():
        raise InputError(
            f"{other.name} lies where {name} would go, and many programs show the voxels of {plain.name} for both",
            "give the result another name or folder",
        )


def _write_image(labels: np.ndarray, segmentation: Segmentation, path: Path) -> None:
    import SimpleITK as sitk

    geometry = segmentation.geometry
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    sitk.WriteImage(image, str(path), useCompression=True)


def _reads_back(labels: np.ndarray, path: Path) -> bool:
    """Say whether the file holds what was written: ITK's NIfTI writer reports no error when the disk is full."""
    import SimpleITK as sitk

    image = sitk.ReadImage(str(path))  # by name: the view below does not keep it alive
    return np.array_equal(sitk.GetArrayViewFromImage(image), labels)


def _incomplete(path: Path) -> ResourceError:
    return ResourceError(f"{path.name} could not be written completely", "free some disk space or write elsewhere")
