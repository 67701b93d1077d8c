"""From what is installed to what has to be done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from OpenVocabCTSlicer.installing.packages import Installed
from OpenVocabCTSlicer.installing.requirements import TORCH, TORCH_CUDA_DISK_MB, TORCH_CUDA_DOWNLOAD_MB, Package


@dataclass(frozen=True)
class Plan:
    """What has to be done before the engine can run; an empty plan means that everything is there.

    Attributes:
        packages: what is installed, in order; torch comes first, so that nothing else decides its version.
        broken: which of them are repaired: taken away first, then installed anew.
        bundled: packages that belong to Slicer and are missing from it.
        remove: what interrupted installations left behind and pip cannot remove.
        cuda: whether PyTorch for an NVIDIA card is to be expected.
    """

    packages: tuple[Package, ...] = ()
    broken: tuple[Installed, ...] = ()
    bundled: tuple[str, ...] = ()
    remove: tuple[Path, ...] = ()
    cuda: bool = False

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.packages or self.bundled)

    @property
    def torch(self) -> bool:
        """Whether PyTorch is installed by this plan."""
        return TORCH in self.packages

    @property
    def download_mb(self) -> int:
        """Size of what is downloaded, in MB."""
        return sum(self.sizes(package)[0] for package in self.packages)

    @property
    def disk_mb(self) -> int:
        """Size of what is installed, in MB."""
        return sum(self.sizes(package)[1] for package in self.packages)

    def sizes(self, package: Package) -> tuple[int, int]:
        """Return the size of one package in MB: downloaded, installed."""
        if package == TORCH and self.cuda:
            return TORCH_CUDA_DOWNLOAD_MB, TORCH_CUDA_DISK_MB
        return package.download_mb, package.disk_mb


def make_plan(
    found: Iterable[Installed],
    *,
    bundled: Iterable[str] = (),
    remove: Iterable[Path] = (),
    cuda: bool = False,
) -> Plan:
    """Plan what has to be done.

    Args:
        found: the state of every package, in the order of installation.
        bundled: packages of Slicer that this Slicer lacks.
        remove: remains of interrupted installations.
        cuda: whether there is an NVIDIA card that PyTorch can use.
    """
    wanted = [state for state in found if state.state != "ready"]
    return Plan(
        packages=tuple(state.package for state in wanted),
        broken=tuple(state for state in wanted if state.state == "broken"),
        bundled=tuple(bundled),
        # Nothing is removed without the user's consent, and consent is asked for only when something is installed.
        remove=tuple(remove) if wanted else (),
        cuda=cuda,
    )
