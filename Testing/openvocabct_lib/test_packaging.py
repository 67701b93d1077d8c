"""The distribution: what it holds, what importing it costs, and that its versions agree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import OpenVocabCTLib

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "SimpleITK", "matplotlib", "pydicom", "scipy", "numpy")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from a copy so that the checkout stays clean."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("OpenVocabCTLib", "Training"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    code = f"from setuptools.build_meta import build_wheel; print(build_wheel({str(built)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(built / done.stdout.split()[-1])


# Import


@pytest.mark.parametrize("module", ["OpenVocabCTLib", "OpenVocabCTLib.cli"])
def test_import_is_cheap_and_light(module: str) -> None:
    code = (
        "import sys, time; began = time.process_time()\n"
        f"import {module}\n"
        "print(time.process_time() - began)\n"
        f"print(sorted(set({HEAVY}) & set(sys.modules)))"
    )
    fastest = float("inf")
    for _ in range(8):  # other programs on the same core can slow down one run, not every one
        seconds, loaded = python(code).splitlines()
        assert loaded == "[]"
        fastest = min(fastest, float(seconds))
        if fastest <= 0.3:
            break
    assert fastest <= 0.3


def test_public_names_are_imported_when_asked_for() -> None:
    assert set(dir(OpenVocabCTLib)) == set(OpenVocabCTLib.__all__)
    for name in OpenVocabCTLib.__all__:
        assert getattr(OpenVocabCTLib, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = OpenVocabCTLib.no_such_name


def test_no_network_at_import() -> None:
    python(
        "import socket\n"
        "def refuse(*args, **kwargs): raise AssertionError('network at import')\n"
        "socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse\n"
        "import importlib, pkgutil, OpenVocabCTLib\n"
        "for module in pkgutil.walk_packages(OpenVocabCTLib.__path__, 'OpenVocabCTLib.'):\n"
        "    importlib.import_module(module.name)\n"
        "assert all(getattr(OpenVocabCTLib, name) for name in OpenVocabCTLib.__all__)\n"
    )


# What is shipped


def test_wheel_holds_every_module_and_data_file(wheel: zipfile.ZipFile) -> None:
    shipped = set(wheel.namelist())
    roots = {"OpenVocabCTLib": ROOT, "openvocabct_training": ROOT / "Training"}
    for package, root in roots.items():
        files = [path for path in (root / package).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        files = [path for path in files if path.name != "CMakeLists.txt"]  # that packs the Slicer extension
        missing = {path.relative_to(root).as_posix() for path in files} - shipped
        assert not missing, f"not in the wheel: {sorted(missing)}"
    assert {"OpenVocabCTLib/py.typed", "OpenVocabCTLib/prompts/structures.json"} <= shipped
    assert not [name for name in shipped if name.startswith(("Testing", "tests", "OpenVocabCT/"))]


def test_wheel_metadata(wheel: zipfile.ZipFile) -> None:
    info = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")).rsplit("/", 1)[0]
    metadata = Parser().parsestr(wheel.read(f"{info}/METADATA").decode())
    assert (metadata["Name"], metadata["Version"]) == ("openvocabct", OpenVocabCTLib.__version__)
    assert metadata["License-Expression"] == "Apache-2.0"
    scripts = wheel.read(f"{info}/entry_points.txt").decode()
    assert "openvocabct = OpenVocabCTLib.cli:main" in scripts
    assert "openvocabct-train = openvocabct_training.cli:main" in scripts
    assert b"Apache License" in wheel.read(f"{info}/licenses/LICENSE")


def test_versions_agree() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {OpenVocabCTLib.__version__}\n" in citation


def test_constraints_pin_every_requirement(project: dict[str, Any]) -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pinned = {canonicalize_name(name): version for name, version in pins.items()}
    wanted = [
        *project["dependencies"],
        *(entry for extra in project["optional-dependencies"].values() for entry in extra),
    ]
    for requirement in map(Requirement, wanted):
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} but pinned to {version}"
    assert pinned["torch"] == "2.13.0"
    assert not [version for version in pins.values() if "+" in version]


# Make


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def make(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *words], cwd=checkout, capture_output=True, text=True, check=False)


def test_make_installs_once_and_again_when_requirements_change(checkout: Path) -> None:
    assert "pip install" in make(checkout, "-n", "test").stdout
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / ".installed").touch()
    assert "pip install" not in make(checkout, "-n", "test").stdout
    later = (checkout / ".venv" / ".installed").stat().st_mtime + 10
    os.utime(checkout / "constraints.txt", (later, later))
    assert "pip install" in make(checkout, "-n", "demo").stdout


def test_make_refuses_another_python(checkout: Path) -> None:
    (checkout / "old").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    (checkout / "old").chmod(0o755)
    done = make(checkout, "test", "PYTHON=./old")
    assert done.returncode != 0
    assert re.search(r"^error: './old' is not Python 3\.11 to 3\.13: ", done.stderr, re.MULTILINE)
    assert not (checkout / ".venv").exists()
