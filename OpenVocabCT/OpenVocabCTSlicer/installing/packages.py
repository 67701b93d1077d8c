"""What is installed, judged by metadata and files only: nothing is imported, least of all torch.

An installation that was interrupted (closed window, full disk, virus scanner) leaves metadata without files, files
without metadata, or folders that begin with ``~``.  All three are recognised here.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, DistributionFinder, MetadataPathFinder
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Literal

from OpenVocabCTLib.worker.steps import Steps
from OpenVocabCTSlicer.installing.requirements import Package, satisfies

State = Literal["missing", "outdated", "broken", "ready"]
_FILES_A_STEP = 100
# A file of code may be patched by another extension; libraries and weights of another size are damaged.
_EXACT_SUFFIXES = (".so", ".pyd", ".dll", ".dylib", ".safetensors")


@dataclass(frozen=True)
class Installed:
    """What was found of one package.

    Attributes:
        package: the package.
        state: missing; outdated: a version that is not accepted; broken: an interrupted installation; ready.
        version: installed version, "" when unknown.
        reason: what is wrong, "" when ready.
    """

    package: Package
    state: State
    version: str = ""
    reason: str = ""


def canonical(name: str) -> str:
    """Return a distribution name in the one spelling that is used to compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def different(folders: Iterable[Path]) -> tuple[Path, ...]:
    """Return every folder once: a link ("lib64"), or a second mention on ``PYTHONPATH``, is no other folder."""
    found: dict[str, Path] = {}
    for folder in folders:
        found.setdefault(os.path.realpath(folder), folder)
    return tuple(found.values())


def distributions(name: str, folders: Sequence[Path]) -> tuple[Distribution, ...]:
    """Return every installation record of a package, the one that Python uses first.

    After another process installed something, ``importlib.invalidate_caches()`` is needed to see it.
    """
    context = DistributionFinder.Context(name=name, path=[str(folder) for folder in different(folders)])
    return tuple(MetadataPathFinder.find_distributions(context))


def installed_version(name: str, folders: Sequence[Path]) -> str | None:
    """Return the version that the metadata states; None where there is no metadata."""
    for found in distributions(name, folders):
        version = found.metadata["Version"]
        if version:
            return str(version)
    return None


def look(package: Package, folders: Sequence[Path]) -> Installed:
    """Judge a package from its metadata and its most important files, in a few milliseconds.

    Args:
        package: the package.
        folders: package folders of Python, in the order of ``sys.path``.
    """
    found = distributions(package.name, folders)
    if not found:
        if any(_exists(file, folders) for file in package.files):
            return Installed(package, "broken", reason="its files are there without their record")
        return Installed(package, "missing", reason="not installed")
    first = found[0]
    version = str(first.metadata["Version"] or "")
    # Another copy further back on the path is never used; only what shares a folder is mixed.
    home = _home(first)
    if any(_home(other) == home for other in found[1:]):
        return Installed(package, "broken", version, "two versions are mixed")
    if not version or not _record(first):
        return Installed(package, "broken", version, "its record is incomplete")
    lacking = [file for file in package.files if not (home / file).is_file()]
    if lacking:
        return Installed(package, "broken", version, f"{lacking[0]} is missing")
    if not satisfies(version, package.specifier):
        return Installed(package, "outdated", version, f"{version} is installed, {package.specifier} is needed")
    return Installed(package, "ready", version)


def inspect(package: Package, folders: Sequence[Path]) -> Steps[Installed]:
    """Like `look`, and compare every recorded file with the disk.

    Returns:
        ``broken`` when a file is missing, or a library or weights file has another size than recorded.
    """
    state = look(package, folders)
    if state.state not in ("ready", "outdated"):
        return state
    distribution = distributions(package.name, folders)[0]
    rows = _rows(_record(distribution))
    while batch := list(islice(rows, _FILES_A_STEP)):
        for file, size in batch:
            problem = _file_problem(Path(str(distribution.locate_file(file))), file, size)
            if problem:
                return Installed(package, "broken", state.version, problem)
        yield None
    return state


def leftovers(packages: Iterable[Package], folder: Path) -> tuple[Path, ...]:
    """Return what interrupted installations of these packages left in a package folder.

    These are folders that pip renamed to begin with ``~``, and metadata folders without the record that pip needs to
    uninstall; pip can remove neither.
    """
    if not folder.is_dir():
        return ()
    packages = tuple(packages)
    names = {canonical(package.name) for package in packages}
    modules = {module for package in packages for module in package.modules}
    return tuple(sorted(path for path in folder.iterdir() if _is_leftover(path, names, modules)))


def _is_leftover(path: Path, names: set[str], modules: set[str]) -> bool:
    if path.is_symlink():
        return False
    # pip replaces the first letter: "torch" becomes "~orch".
    if path.name.startswith("~"):
        rest = path.name.lstrip("~")
        stem = rest.split("-")[0]
        return len(stem) > 1 and any(word[1:] == stem for word in modules | {name.replace("-", "_") for name in names})
    if path.suffix != ".dist-info" or canonical(path.name.split("-")[0]) not in names:
        return False
    record = path / "RECORD"
    return not (record.is_file() and record.stat().st_size > 0)


def _exists(file: str, folders: Sequence[Path]) -> bool:
    return any((folder / file).is_file() for folder in folders)


def _home(distribution: Distribution) -> Path:
    return Path(str(distribution.locate_file("")))


def _record(distribution: Distribution) -> str:
    return distribution.read_text("RECORD") or ""


def _rows(record: str) -> Iterator[tuple[str, int | None]]:
    for row in csv.reader(record.splitlines()):
        if len(row) == 3 and row[0]:
            yield row[0], int(row[2]) if row[2].isdigit() else None


def _file_problem(path: Path, file: str, size: int | None) -> str:
    # Start scripts lie outside and may be gone; compiled files are remade; metadata is edited by Slicer itself.
    parts = PurePosixPath(file).parts
    if ".." in parts or "__pycache__" in parts or parts[0].endswith(".dist-info"):
        return ""
    if not path.is_file():
        return f"{file} is missing"
    if size is not None and path.suffix in _EXACT_SUFFIXES and path.stat().st_size != size:
        return f"{file} is damaged"
    return ""
