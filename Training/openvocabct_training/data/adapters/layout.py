"""Finding files: every failure names the file or folder that is not where a data set keeps it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from OpenVocabCTLib.errors import InputError

_HOLDER = "give the folder that holds one folder per data set"
_UNPACK = "unpack the data set as its download page describes"


def read_json(path: Path, *required: str, todo: str = _UNPACK) -> dict[str, Any]:
    """Read an object with the given entries from a JSON file.

    Raises:
        InputError: the file is missing, is no JSON object, or lacks an entry.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing", todo)
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no JSON file ({error})", "download or write it again") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no object", "download or write it again")
    missing = [key for key in required if key not in content]
    if missing:
        raise InputError(f"{path} has no entry {missing[0]!r}", "give the data set as its README describes it")
    return content


def meta(folder: Path, *required: str) -> dict[str, Any]:
    """Read the ``meta.json`` of a case of the shared data."""
    return read_json(folder / "meta.json", *required, todo=_HOLDER)


def read_table(path: Path, *required: str, todo: str = _UNPACK) -> list[dict[str, str]]:
    """Read the rows of a table with the given columns, separated by comma, semicolon or tab.

    Names of columns are taken in lower case and without spaces around them: "Patient" is the column patient.

    Raises:
        InputError: the file is missing, is no text, or lacks a column.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing", todo)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8", "save it again as CSV in UTF-8") from error
    header = lines[0] if lines else ""
    separator = max(",;\t", key=header.count)
    names = [
        name.strip().lower() for name in next(csv.reader([header], delimiter=separator, skipinitialspace=True), [])
    ]
    rows = list(csv.DictReader(lines[1:], names, delimiter=separator, skipinitialspace=True))
    missing = [column for column in required if column not in names]
    if missing:
        raise InputError(f"{path} has no column {missing[0]!r}", f"its columns should be {', '.join(required)}")
    return [{key: (value or "").strip() for key, value in row.items() if key} for row in rows]


def folders_in(parent: Path, todo: str = _HOLDER) -> list[Path]:
    """List the folders in a folder, in order of their names.

    Raises:
        InputError: it is not there.
    """
    if not parent.is_dir():
        raise InputError(f"{parent} is missing", todo)
    return sorted(folder for folder in parent.iterdir() if folder.is_dir() and not folder.name.startswith("."))


def first_folder(root: Path, *places: str) -> Path:
    """Return the first of some places that is there; "." is the folder itself.

    Raises:
        InputError: none is; the message names the first.
    """
    for place in places:
        if (root / place).is_dir():
            return root / place
    raise InputError(f"{root / places[0]} is missing", _UNPACK)


def numbered(name: str) -> tuple[int, str]:
    """Order for names that end with numbers: volume-2 before volume-10."""
    return len(name), name


def pairs(images: Path, labels: Path, image: str, label: str) -> Iterator[tuple[str, Path, Path]]:
    """Yield id, image and labels of every case that has either file, so that a missing one is noticed.

    Args:
        images: folder of the images.
        labels: folder of the labels.
        image: name of an image, with "*" for the case's id.
        label: name of a label file, with "*" for the case's id.

    Raises:
        InputError: a folder is missing.
    """
    found: set[str] = set()
    for folder, pattern in ((images, image), (labels, label)):
        if not folder.is_dir():
            raise InputError(f"{folder} is missing", _UNPACK)
        start, end = pattern.split("*")
        for path in folder.glob(pattern):
            if not path.name.startswith("."):  # macOS leaves ._files beside the real ones
                found.add(path.name[len(start) : len(path.name) - len(end)])
    for case in sorted(found, key=numbered):
        yield case, images / image.replace("*", case), labels / label.replace("*", case)


def listed(root: Path, description: dict[str, Any], key: str) -> Iterator[tuple[str, Path, Path]]:
    """Yield id, image and labels of the cases that a Decathlon-style ``dataset.json`` lists with labels.

    Args:
        root: folder of the ``dataset.json``.
        description: its content.
        key: the list to read, for example "training"; entries without labels are passed over.

    Raises:
        InputError: an entry is neither a name nor a pair of names.
    """
    entries = description.get(key, [])
    if not isinstance(entries, Sequence):
        raise InputError(f"{root / 'dataset.json'}: {key!r} is no list", _UNPACK)
    for entry in entries:
        if not isinstance(entry, dict) or not entry.get("label"):
            continue
        image, label = str(entry.get("image", "")), str(entry["label"])
        if not image:
            raise InputError(f"{root / 'dataset.json'}: an entry of {key!r} has no 'image'", _UNPACK)
        yield Path(image).name.removesuffix(".gz").removesuffix(".nii"), root / image, root / label


def stated_licence(description: dict[str, Any]) -> str:
    """Return the licence that a ``dataset.json`` states, empty if it states none."""
    return str(description.get("licence") or description.get("license") or "")
