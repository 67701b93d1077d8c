"""Which CTs a batch is about, and where their results go."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.files import IMAGE_IO
from OpenVocabCTLib.output.formats import SEG_NRRD
from OpenVocabCTLib.output.places import identity

_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
_DICOM_MAGIC = b"DICM"
_DICOM_MAGIC_AT = 128


@dataclass(frozen=True)
class Case:
    """One CT.

    Attributes:
        source: a volume file, or the folder of a DICOM series.
        name: what the summary and the progress lines call it: its path from where the search began.
        output: the file to write.
    """

    source: Path
    name: str
    output: Path

    def fingerprint(self) -> str:
        """Return a text that changes when the input does; "" when it cannot be looked at."""
        try:
            files = [self.source] if self.source.is_file() else sorted(p for p in self.source.iterdir() if p.is_file())
            stats = [path.stat() for path in files]
        except OSError:
            return ""
        newest = max((stat.st_mtime_ns for stat in stats), default=0)
        return f"{len(stats)} {sum(stat.st_size for stat in stats)} {newest}"


def find_cases(inputs: Iterable[Path], output: Path, suffix: str) -> tuple[Case, ...]:
    """Find the CTs under files and folders, and give each a file of its own in the output folder.

    A folder with DICOM files is one CT; any other is searched, with its folders, for volume files. The results keep the
    folders. What is asked for by its own path is taken as it is, even if it is not there: reading it will say so.

    Args:
        inputs: volume files, DICOM folders, or folders to search.
        output: where the results go; it is not searched.
        suffix: of the results, ".seg.nrrd" or ".nii.gz".

    Raises:
        InputError: there is no CT, two would be written to the same file, or a result would replace an input.
    """
    sources: dict[Path, Path] = {}
    for path in inputs:
        for source, relative in _sources(path, output):
            sources.setdefault(source, relative)
    if not sources:
        raise InputError("there is no CT in the input", f"give {', '.join(IMAGE_IO)} files or DICOM folders")
    shared = Counter(_bare(relative) for relative in sources.values())
    cases = []
    for source, relative in sources.items():
        # a.nii.gz beside a.nrrd: then the whole name tells them apart.
        stem = relative if shared[_bare(relative)] > 1 else _bare(relative)
        cases.append(Case(source, relative.as_posix(), output / stem.with_name(stem.name + suffix)))
    twice = [name for name, count in Counter(case.output for case in cases).items() if count > 1]
    if twice:
        raise InputError(
            f"two inputs would both be written to {twice[0].name}",
            "give the folder that holds both, whose subfolders are kept, or another output folder for each",
        )
    check_inputs_stay(cases)
    return tuple(cases)


def check_inputs_stay(cases: Iterable[Case]) -> None:
    """Refuse results that would replace one of the inputs.

    Raises:
        InputError: one would, under the same name or through a link.
    """
    cases = tuple(cases)
    names = {identity(case.source): case.name for case in cases}
    for case in cases:
        replaced = names.get(identity(case.output))
        if replaced is not None:
            raise InputError(
                f"the result {case.output.name} would replace the input {replaced}",
                "give another folder or format for the results",
            )


def _sources(path: Path, output: Path) -> Iterator[tuple[Path, Path]]:
    """Yield every CT with its path from the folder that was given."""
    path = Path(os.path.abspath(path))
    if not path.is_dir():
        yield path, Path(path.name)
        return
    for folder, folders, files in os.walk(path):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if (here / name).resolve() != output.resolve())
        if any(_is_dicom(here / name) for name in sorted(files)):
            yield here, Path(path.name) if here == path else here.relative_to(path)
            continue
        for name in sorted(files):
            if _is_volume(name):
                yield here / name, (here / name).relative_to(path)


def _is_volume(name: str) -> bool:
    return name.lower().endswith(tuple(IMAGE_IO)) and not name.lower().endswith(SEG_NRRD) and not name.startswith(".")


def _is_dicom(path: Path) -> bool:
    if path.suffix.lower() in _DICOM_SUFFIXES:
        return True
    if path.name.lower().endswith(tuple(IMAGE_IO)):
        return False
    try:
        with path.open("rb") as file:
            file.seek(_DICOM_MAGIC_AT)
            return file.read(len(_DICOM_MAGIC)) == _DICOM_MAGIC
    except OSError:
        return False


def _bare(path: Path) -> Path:
    """Return a path without the suffix of a volume file."""
    for suffix in sorted(IMAGE_IO, key=len, reverse=True):
        if path.name.lower().endswith(suffix) and len(path.name) > len(suffix):
            return path.with_name(path.name[: -len(suffix)])
    return path
