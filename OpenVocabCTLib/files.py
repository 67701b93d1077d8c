"""Reading one volume file (NIfTI, NRRD, MetaImage) with SimpleITK, after checking what ITK does not check."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from OpenVocabCTLib.checks import SUBJECT
from OpenVocabCTLib.errors import InputError, OpenVocabCTError, ResourceError
from OpenVocabCTLib.file_names import check_letter_case, check_letters
from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.headers import SAVE_AGAIN, Payload, check_metaimage, check_nrrd
from OpenVocabCTLib.nifti import read_nifti_header

if TYPE_CHECKING:
    import SimpleITK as sitk

IMAGE_IO = {
    ".nii": "NiftiImageIO",
    ".nii.gz": "NiftiImageIO",
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
}


def suffix_of(path: Path) -> str:
    """Return the lower-case suffix of a volume file, ".nii.gz" in one piece."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def read_file(path: Path) -> tuple[NDArray[Any], Geometry, tuple[str, ...]]:
    """Read a volume file.

    Returns:
        Voxels (K, J, I) as stored (rescaled by the header), their grid, and notes for the user.

    Raises:
        InputError: missing, empty, damaged, of an unknown kind, not 3D, or several numbers per voxel.
        ResourceError: it does not fit into memory.
    """
    suffix = suffix_of(path)
    if not path.exists():
        raise InputError(f"{SUBJECT} does not exist", "check the path")
    if suffix == ".dcm":
        raise InputError(f"{SUBJECT} is one DICOM file", "give the folder that holds the whole series")
    if suffix not in IMAGE_IO:
        raise InputError(
            f"{SUBJECT} is of an unknown kind", f"give one of {', '.join(IMAGE_IO)}, or the folder of a DICOM series"
        )
    check_letter_case(path, suffix, SUBJECT, f"rename it to end in {suffix}")
    if path.stat().st_size == 0:
        raise InputError(f"{SUBJECT} is empty", "copy it again")
    check_letters(path, SUBJECT, "rename it")
    geometry, payload, notes = _check_header(path, suffix)
    if payload is not None:
        payload.check()
    array, itk_geometry = _read_with_itk(path, IMAGE_IO[suffix])
    return array, geometry or itk_geometry, notes


def _check_header(path: Path, suffix: str) -> tuple[Geometry | None, Payload | None, tuple[str, ...]]:
    try:
        if IMAGE_IO[suffix] == "NiftiImageIO":
            header = read_nifti_header(path)
            return header.geometry, header.payload, header.notes
        if IMAGE_IO[suffix] == "NrrdImageIO":
            return None, check_nrrd(path), ()
        payload, notes = check_metaimage(path)
        return None, payload, notes
    except (ValueError, OverflowError, struct.error) as error:
        raise InputError(f"{SUBJECT} has a header that makes no sense", "save it again") from error


def _read_with_itk(path: Path, image_io: str) -> tuple[NDArray[Any], Geometry]:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO(image_io)
    with away_from_namesakes(path) as alone, itk_errors():
        reader.SetFileName(str(alone))
        reader.ReadImageInformation()
        _check_layout(reader)
        image = reader.Execute()
    if image.GetDimension() > 3:
        image = sitk.Extract(image, [*image.GetSize()[:3], *[0] * (image.GetDimension() - 3)])
    if image.GetPixelIDTypeAsString().startswith("vector"):
        image = sitk.VectorIndexSelectionCast(image, 0)
    return sitk.GetArrayFromImage(image), Geometry.from_sitk(image)


@contextmanager
def away_from_namesakes(path: Path) -> Iterator[Path]:
    """Yield where ITK finds the voxels of a file: those of ct.nii.gz it takes from a ct.nii that lies beside it."""
    if suffix_of(path) != ".nii.gz" or not path.with_name(path.name[: -len(".gz")]).exists():
        yield path
        return
    with TemporaryDirectory() as folder:
        alone = Path(folder) / "ct.nii.gz"
        try:
            os.symlink(path.resolve(), alone)
        except OSError:  # Windows lets few users make links
            shutil.copyfile(path, alone)
        yield alone


def _check_layout(reader: sitk.ImageFileReader) -> None:
    size = reader.GetSize()
    if reader.GetNumberOfComponents() > 1:
        raise InputError(
            f"{SUBJECT} has {reader.GetNumberOfComponents()} numbers per voxel (colour or a time series)",
            "give one CT in Hounsfield units",
        )
    if len(size) < 3 or any(n != 1 for n in size[3:]):
        raise InputError(f"{SUBJECT} is not one 3D image ({' x '.join(map(str, size))})", "give one 3D CT")


@contextmanager
def itk_errors() -> Iterator[None]:
    """Silence ITK's warnings and turn its exceptions into one sentence."""
    import SimpleITK as sitk

    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    except RuntimeError as error:
        raise _explain(str(error)) from error
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)


def _explain(text: str) -> OpenVocabCTError:
    if "allocat" in text or "bad_alloc" in text:
        return ResourceError(f"{SUBJECT} does not fit into memory", "free memory or crop it")
    if "got only" in text or "but received" in text:  # NRRD
        return InputError(f"{SUBJECT} is cut off", SAVE_AGAIN)
    if "orthonormal" in text:
        return InputError(f"{SUBJECT} has sheared axes", "resample it to orthogonal axes")
    if "determinant is 0" in text:
        return InputError(f"{SUBJECT} has axes that do not span space", "write it again with its true direction")
    return InputError(f"{SUBJECT} cannot be read, it is damaged or unusual", "save it again as NIfTI or NRRD")
