"""Names that the libraries below cannot read, whatever the file holds."""

from __future__ import annotations

import sys
from pathlib import Path

from OpenVocabCTLib.errors import InputError

NIFTI_SUFFIXES = (".nii.gz", ".nii")


def check_letter_case(path: Path, suffix: str, called: str, todo: str) -> None:
    """Refuse a NIfTI that ends in upper and lower case: its standard forbids that, and ITK does not know it.

    Args:
        path: the file.
        suffix: that it ends with, in lower case.
        called: what the message calls it.
        todo: what the user can do.

    Raises:
        InputError: it is such a name.
    """
    if suffix in NIFTI_SUFFIXES and path.name[-len(suffix) :] not in (suffix, suffix.upper()):
        raise InputError(f"{called} ends in upper and lower case, which NIfTI forbids", todo)


def check_letters(path: Path, called: str, todo: str) -> None:
    """Refuse a path with bytes that are no text, as Latin-1 names of other systems: SimpleITK ends the process.

    Args:
        path: the file, with all folders that it lies in.
        called: what the message calls it.
        todo: what the user can do.

    Raises:
        InputError: there are some.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        encoding = sys.getfilesystemencoding().upper()
        raise InputError(f"the name of {called} or of one of its folders is not in {encoding}", todo) from error
