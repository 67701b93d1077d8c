"""Which files can be written, and whether a place can be written at all: to be asked before any expensive work."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.file_names import check_letter_case, check_letters
from OpenVocabCTLib.output.atomic import os_error, probe_folder

SEG_NRRD = ".seg.nrrd"
LABEL_MAP_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
DICOM_SEG = ".dcm"
RTSTRUCT = ".rtstruct.dcm"
DICOM_SUFFIXES = (RTSTRUCT, DICOM_SEG)  # only for a CT that was read from DICOM
SEGMENTATION_SUFFIXES = (SEG_NRRD, *LABEL_MAP_SUFFIXES, *DICOM_SUFFIXES)
TABLE_SUFFIXES = (".csv",)
PREVIEW_SUFFIXES = (".png",)


def check_output(path: str | os.PathLike[str], suffixes: Sequence[str] = SEGMENTATION_SUFFIXES) -> str:
    """Check that an output file can be written; what it would replace is left alone.

    Args:
        path: the file to be written.
        suffixes: what is allowed, lower case; the formats of a segmentation by default.

    Returns:
        The suffix of `path`, lower case: one of `suffixes`.

    Raises:
        InputError: on an unknown suffix, a folder that does not exist or cannot be written, a path that is a folder, or
            one that its writer cannot read.
    """
    path = Path(path)
    suffix = output_suffix(path, suffixes)
    target = Path(os.path.realpath(path))
    try:
        if target.is_dir():
            raise InputError(f"{path.name} is a folder", "give the name of a file")
        if not target.parent.is_dir():
            folder = target.parent.name
            raise InputError(f"the folder {folder!r} of {path.name} does not exist", "create it or choose another")
        probe_folder(target.parent)
    except OSError as error:
        raise os_error(error, path) from error
    if suffix in LABEL_MAP_SUFFIXES:
        check_letters(target, path.name, "rename it, or write .seg.nrrd")
    return suffix


def output_suffix(path: Path, suffixes: Sequence[str] = SEGMENTATION_SUFFIXES) -> str:
    """Return the suffix that chooses a format, lower case: one of `suffixes`.

    Raises:
        InputError: it is none of them, or one that no program would read.
    """
    name = path.name.lower()
    for suffix in sorted(suffixes, key=len, reverse=True):
        if name.endswith(suffix) and name != suffix:
            check_letter_case(path, suffix, path.name, f"end it with {suffix}")
            return suffix
    ending = "".join(path.suffixes) or path.name
    raise InputError(
        f"the format of {ending!r} is not known for this output", f"end the name with {', '.join(suffixes)}"
    )
