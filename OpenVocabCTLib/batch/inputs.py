"""Which CTs a batch is about, and where their results go."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from OpenVocabCTLib.checks import naming
from OpenVocabCTLib.dicom.locations import ZIP_SUFFIX, Location, list_locations
from OpenVocabCTLib.dicom.looking import Kind, kind_of
from OpenVocabCTLib.errors import InputError, OpenVocabCTError
from OpenVocabCTLib.files import IMAGE_IO
from OpenVocabCTLib.output.formats import SEG_NRRD
from OpenVocabCTLib.output.labelmap import check_replaced_image
from OpenVocabCTLib.output.places import identity

# Beside the slices of a folder these are other CTs, or results; they are none of its slices.
_NO_SLICE = (*IMAGE_IO, ".jsonl", ".csv")

Say = Callable[[str], None]


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
            if self.source.is_file():
                files = [self.source]
            else:  # reading it goes into its subfolders, too
                found = (path for path in self.source.rglob("*") if not path.name.lower().endswith(_NO_SLICE))
                files = sorted(path for path in found if path.is_file())
            stats = [path.stat() for path in files]
        except OSError:
            return ""
        newest = max((stat.st_mtime_ns for stat in stats), default=0)
        return f"{len(stats)} {sum(stat.st_size for stat in stats)} {newest}"


def find_cases(inputs: Iterable[Path], output: Path, suffix: str, say: Say | None = None) -> tuple[Case, ...]:
    """Find the CTs under files and folders, and give each a file of its own in the output folder.

    Folders are searched, with their subfolders, for volume files, for folders with DICOM CT images, each of which is
    one CT with all that is below it, and for zips of DICOM CT. The results keep the folders. What is asked for by its
    own path is taken as it is, even if it is not there: reading it will say so.

    Args:
        inputs: volume files, DICOM folders, or folders to search.
        output: where the results go; it is not searched.
        suffix: of the results, ".seg.nrrd" or ".nii.gz".
        say: is told what was passed over that may be a CT.

    Raises:
        InputError: there is no CT, two would be written to the same file, or a result would replace an input.
    """
    sources: dict[Path, Path] = {}
    without: list[Path] = []
    for path in (Path(os.path.abspath(path)) for path in inputs):
        found = dict(sources_of(path, output, say))
        sources |= {source: relative for source, relative in found.items() if source not in sources}
        if not found:
            without.append(path)
    if sources:  # beside other CTs, a folder without any is one that failed
        sources |= {path: Path(path.name) for path in without}
    if not sources:
        raise InputError("there is no CT in the input", f"give {', '.join(IMAGE_IO)} files or DICOM folders")
    shared = Counter(_bare(relative) for relative in sources.values())
    cases = []
    for source, relative in sources.items():
        # a.nii.gz beside a.nrrd: then the whole name tells them apart.
        stem = relative if shared[_bare(relative)] > 1 else _bare(relative)
        cases.append(Case(source, relative.as_posix(), _result(stem, output, suffix)))
    twice = [name for name, count in Counter(case.output for case in cases).items() if count > 1]
    if twice:
        raise InputError(
            f"two inputs would both be written to {twice[0].name}",
            "give the folder that holds both, whose subfolders are kept, or another output folder for each",
        )
    check_inputs_stay(cases)
    return tuple(cases)


def one_case(path: Path, name: str, output: Path, suffix: str) -> Case:
    """Take a path for one CT: a folder with DICOM CT in it as `segment` reads it, or the only file of another folder.

    Args:
        path: the input.
        name: what reports call it.
        output: where the results go.
        suffix: of the result.

    Raises:
        InputError: it is a folder with several volume files.
    """
    path = Path(os.path.abspath(path))
    found = dict(sources_of(path, output))
    if len(found) > 1 and not any(source.is_dir() for source in found):
        raise InputError(f"{name} is a folder with {len(found)} CTs", "name each of them")
    source, relative = path, Path(path.name)
    if len(found) == 1 and not next(iter(found)).is_dir():
        ((source, relative),) = found.items()
    return Case(source, name, _result(_bare(relative), output, suffix))


def _result(stem: Path, output: Path, suffix: str) -> Path:
    return output / stem.with_name(stem.name + suffix)


def check_inputs_stay(cases: Iterable[Case]) -> None:
    """Refuse results that would replace one of the inputs, or another image that is no label map.

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
        check_replaced_image(case.output)


def check_same_source(earlier: Path | None, case: Case) -> None:
    """Refuse to replace the result of another CT that has the same name, as those of many patients have.

    Args:
        earlier: the CT that the result there was made of, None where that is not known.
        case: the CT that is to be segmented.

    Raises:
        InputError: it would be; a CT that is no longer where it was may have been moved, and is none.
    """
    if earlier is None or not (case.output.is_file() and earlier.exists()):
        return
    if identity(earlier) != identity(case.source):
        raise InputError(
            f"{case.output.name} in the output folder is the result of another CT called {earlier.name}",
            "use another output folder, or give the folder that holds both",
        )


def sources_of(path: Path, output: Path, say: Say | None = None) -> Iterator[tuple[Path, Path]]:
    """Yield every CT of an input with its path from the folder that was given; the arguments are as in `find_cases`."""
    if not path.is_dir():
        yield path, Path(path.name)
        return
    search = _Search(path, say or _keep_quiet)
    for folder, folders, files in os.walk(path):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if (here / name).resolve() != output.resolve())
        search.pass_over_links(here, folders)
        search.look_into(here, sorted(files))
    yield from ((source, search.name(source)) for source in search.all_found())


class _Search:
    """What was found below a folder.

    Args:
        root: the folder.
        tell: is told what is passed over.
    """

    def __init__(self, root: Path, tell: Say) -> None:
        self._root, self._tell = root, tell
        self._found: list[Path] = []
        self._damaged: list[Path] = []
        self._series: Path | None = None  # the last folder with DICOM CT images

    def name(self, source: Path) -> Path:
        """Return the path from the root; of the root itself its name."""
        return Path(self._root.name) if source == self._root else source.relative_to(self._root)

    def look_into(self, folder: Path, files: Sequence[str]) -> None:
        """Take the CTs that a folder itself holds; its subfolders have to come after it."""
        kind = kind_of(Location(folder / name) for name in files if not name.lower().endswith((*IMAGE_IO, ZIP_SUFFIX)))
        if kind is Kind.CT and self._series is not None and folder.is_relative_to(self._series):
            self._tell(f"{self.name(folder)} is read with the images in {self.name(self._series)}, as one CT")
        elif kind is Kind.CT:
            self._series = folder
            self._found.append(folder)
        elif kind is Kind.DAMAGED:
            self._damaged.append(folder)
        elif kind is Kind.OTHER:
            self._pass_over(folder, kind)
        self._found += [folder / name for name in files if _is_volume(name) or self._is_zip_of_ct(folder / name)]

    def pass_over_links(self, folder: Path, names: Iterable[str]) -> None:
        """Name the links to folders, which are not followed: they can lead in circles."""
        for name in names:
            if (folder / name).is_symlink():
                self._tell(f"{self.name(folder / name)} is a link to a folder: passed over, give it as an input itself")

    def all_found(self) -> tuple[Path, ...]:
        """Return the CTs, and the folders that hold nothing but damaged DICOM, so that reading them says so."""
        for folder in self._damaged:
            if any(source.is_relative_to(folder) or folder.is_relative_to(source) for source in self._found):
                self._pass_over(folder, Kind.DAMAGED)
            else:
                self._found.append(folder)
        return tuple(self._found)

    def _is_zip_of_ct(self, path: Path) -> bool:
        if path.suffix.lower() != ZIP_SUFFIX:
            return False
        try:
            with naming(path.name):
                kind = kind_of(list_locations(path))
        except (OpenVocabCTError, OSError) as error:
            self._tell(f"{self.name(path)} passed over: {error}")
            return False
        if kind is not Kind.CT:
            self._pass_over(path, kind)
        return kind is Kind.CT

    def _pass_over(self, path: Path, kind: Kind) -> None:
        self._tell(f"{self.name(path)} holds {kind}: passed over")


def _keep_quiet(_text: str) -> None:
    """Tell nobody."""


def _is_volume(name: str) -> bool:
    return name.lower().endswith(tuple(IMAGE_IO)) and not name.lower().endswith(SEG_NRRD) and not name.startswith(".")


def _bare(path: Path) -> Path:
    """Return a path without the suffix of a volume file."""
    for suffix in sorted(IMAGE_IO, key=len, reverse=True):
        if path.name.lower().endswith(suffix) and len(path.name) > len(suffix):
            return path.with_name(path.name[: -len(suffix)])
    return path
