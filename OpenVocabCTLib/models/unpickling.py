"""Reading the checkpoints of other programs: pickles, which run code when they are read without care.

Both readers build nothing but containers, numbers, numpy arrays and tensors; anything else in a file is refused before
it is looked up.
"""

from __future__ import annotations

import errno
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from OpenVocabCTLib.errors import InputError, ModelError

_GET_AGAIN = "get the checkpoint again from where it was published"
_REFUSED = "do not use this file; get the checkpoint from where it was published"
# How torch's and our own unpickler name what they refuse to build.
_REFUSALS = (r"GLOBAL ([\w.]+)", r"^([\w.]+) is not allowed", r"(Can only \w+ \w+)", r"([Uu]nsupported class [\w.]+)")
_MAX_PICKLE_BYTES = 64 << 20


def _numpy_parts() -> dict[tuple[str, str], Any]:
    """What pickled numpy arrays and numbers are made of, by the names of numpy 1 and numpy 2."""
    core = np._core.multiarray  # type: ignore[attr-defined]
    parts: dict[tuple[str, str], Any] = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype}
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        parts[module, "_reconstruct"] = core._reconstruct
        parts[module, "scalar"] = core.scalar
    return parts


class _PlainUnpickler(pickle.Unpickler):
    """Builds containers, numbers, texts and numpy arrays of them."""

    allowed = _numpy_parts() | {("collections", "OrderedDict"): OrderedDict}

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the few things that a plan is made of.

        Raises:
            pickle.UnpicklingError: the file asks for anything else.
        """
        try:
            return self.allowed[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed") from None


def read_plain_pickle(path: Path) -> Any:
    """Read a pickle of containers, numbers, texts and numpy arrays (nnU-Net v1's ``.model.pkl`` and ``plans.pkl``).

    Raises:
        InputError: there is no such file.
        ModelError: it is damaged, or holds something else.
    """
    with _one_line(path), path.open("rb") as stream:
        if stream.seek(0, 2) > _MAX_PICKLE_BYTES:
            raise pickle.UnpicklingError("too large for a plan")
        stream.seek(0)
        return _read(stream)


def _read(stream: BinaryIO) -> Any:
    return _PlainUnpickler(stream).load()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a dictionary that ``torch.save`` wrote, with all tensors on the CPU.

    Raises:
        InputError: there is no such file.
        ModelError: it is damaged, or holds more than tensors, numbers, texts and containers of them.
    """
    import torch

    numbers = [type(np.dtype(name)) for name in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")]
    allowed: list[Any] = [(part, f"{module}.{name}") for (module, name), part in _numpy_parts().items()]
    with _one_line(path), torch.serialization.safe_globals([*allowed, *numbers]):
        _check_sums(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict):
        raise ModelError(f"{path.name} holds no checkpoint but a {type(content).__name__}", _GET_AGAIN)
    return content


def _check_sums(path: Path) -> None:
    """Compare the checksums that ``torch.save`` writes beside every tensor, which ``torch.load`` does not look at.

    Raises:
        BadZipFile: one differs.
    """
    if zipfile.is_zipfile(path):  # older versions of torch wrote no archive
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"the checksum of {damaged} differs")


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Turn all that can go wrong with a foreign file into one sentence."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"there is no {path.name} in {path.parent.name or path.parent}", "check the path") from error
    except OSError as error:
        # Readers of archives report offsets beyond the end of a file as an invalid argument.
        if error.errno in (None, errno.EINVAL):
            raise ModelError(f"{path.name} is damaged or cut off", _GET_AGAIN) from error
        raise InputError(f"{path.name} cannot be read ({error.strerror})", "check the path and permissions") from error
    except (
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        EOFError,
        RuntimeError,
        ValueError,  # also UnicodeDecodeError
        LookupError,
        TypeError,
        AttributeError,
        ImportError,
        MemoryError,
    ) as error:
        refused = next((found[1] for one in _REFUSALS if (found := re.search(one, str(error)))), None)
        if isinstance(error, pickle.UnpicklingError) and refused:
            what = f"{path.name} would run or build things that no checkpoint needs ({refused})"
            raise ModelError(what, _REFUSED) from error
        raise ModelError(f"{path.name} is damaged or cut off", _GET_AGAIN) from error
