"""Models from files that somebody brought: model folders, checkpoints of other frameworks, and zips of either."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from OpenVocabCTLib.errors import InputError, ModelError
from OpenVocabCTLib.models.checkpoints import CONFIG_FILE, check_name, verify
from OpenVocabCTLib.output.atomic import os_error

_MAX_BYTES = 40 << 30
_NO_ZIP = (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError, zlib.error)


def import_model(
    sources: Sequence[Path], folder: Path, source: str | None = None, licence: str | None = None, fast: bool = False
) -> None:
    """Install a model.

    Args:
        sources: one model folder, one STU-Net ``.model`` file, or one or more results folders of nnU-Net v2, each as
            it is or in a zip.
        folder: where the model goes, new.
        source: where it comes from, for the model card.
        licence: of the weights.
        fast: see ``converting.writing.Description``.

    Raises:
        InputError: a source is not there or none of these, or the folder or its name is there already.
        ModelError: a file is damaged or refused.
        ResourceError: the disk is full.
    """
    if folder.exists():
        raise InputError(f"{folder.name} is already installed", "choose another --name, or remove its folder first")
    check_name(folder.name)
    with tempfile.TemporaryDirectory() as place:
        opened = [_opened(one, Path(place) / str(number)) for number, one in enumerate(sources)]
        ready = [found for one in opened for found in _models(one)]
        if ready:
            if len(ready) > 1 or len(sources) > 1:
                raise InputError("there are several models", "import one after the other")
            _copy(ready[0], folder)
            return
        _convert(opened, folder, source, licence, fast)


def check_archive(archive: Path) -> None:
    """Read a downloaded zip to its end.

    Raises:
        ModelError: it is no zip, is damaged, or holds no results folder of nnU-Net.
        InputError: it cannot be read.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            _check(opened, archive.name)
            names = [Path(name) for name in opened.namelist()]
            bad = opened.testzip()
    except _NO_ZIP as error:
        todo = "sign in where your network asks for it, then download it again"
        raise ModelError("what came from the server is no zip", todo) from error
    except OSError as error:
        raise os_error(error, archive) from error
    if bad is not None:
        raise ModelError(f"what came from the server is damaged ({Path(bad).name})", "download it again")
    if not any(one.name == "plans.json" for one in names) or not any(one.suffix == ".pth" for one in names):
        raise ModelError("what came from the server holds no model", "try later, or import it from a file")


def _convert(opened: Sequence[Path], folder: Path, source: str | None, licence: str | None, fast: bool) -> None:
    from OpenVocabCTLib.models.converting.nnunet import read_results
    from OpenVocabCTLib.models.converting.stunet import read_stunet
    from OpenVocabCTLib.models.converting.writing import Description, write_model

    results = [found for one in opened for found in _results(one)]
    checkpoints = [found for one in opened for found in _checkpoints(one)]
    if bool(results) == bool(checkpoints):
        raise InputError(
            f"{opened[0].name} holds no model that is known here",
            "give a model folder, a results folder of nnU-Net v2, or a STU-Net .model with its .pkl",
        )
    networks = [read_results(one) for one in results] or [read_stunet(one) for one in checkpoints]
    described = source or ", ".join(network.config.name for network in networks)
    write_model(folder, networks, Description(described, licence or "not stated", fast))


def _models(place: Path) -> list[Path]:
    return sorted(one.parent for one in place.rglob(CONFIG_FILE)) if place.is_dir() else []


def _results(place: Path) -> list[Path]:
    found = sorted(one.parent for one in place.rglob("plans.json")) if place.is_dir() else []
    return [one for one in found if any(one.glob("fold_*/*.pth"))]


def _checkpoints(place: Path) -> list[Path]:
    if place.is_file():
        return [place] if place.suffix == ".model" else []
    return sorted(place.rglob("*.model"))


def _opened(source: Path, place: Path) -> Path:
    """The source itself, or what is in it when it is a zip."""
    if not source.exists():
        raise InputError(f"there is no {source.name}", "check the path")
    if not source.is_file() or source.suffix.lower() != ".zip":
        return source
    try:
        with zipfile.ZipFile(source) as archive:
            _check(archive, source.name)
            archive.extractall(place)  # names were checked
    except _NO_ZIP as error:
        raise ModelError(f"{source.name} is damaged or cut off", "get it again") from error
    except OSError as error:
        raise os_error(error, source) from error
    return place


def _check(archive: zipfile.ZipFile, name: str) -> None:
    """Refuse an archive that would write elsewhere, hold links, or fill the disk."""
    for one in archive.infolist():
        path = Path(one.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or path.drive or stat.S_ISLNK(one.external_attr >> 16):
            raise ModelError(f"{name} would write outside of its folder", "do not use this file")
    if sum(one.file_size for one in archive.infolist()) > _MAX_BYTES:
        raise ModelError(f"{name} unpacks to more than any model needs", "do not use this file")


def _copy(model: Path, folder: Path) -> None:
    verify(model)
    with _beside(folder) as place:
        shutil.copytree(model, place)
        verify(place)
        os.replace(place, folder)


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    place = folder.with_name(f".{folder.name[:40]}.{secrets.token_hex(6)}.part")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        yield place
    except (OSError, shutil.Error) as error:
        raise os_error(error, folder) if isinstance(error, OSError) else error from error
    finally:
        shutil.rmtree(place, ignore_errors=True)
