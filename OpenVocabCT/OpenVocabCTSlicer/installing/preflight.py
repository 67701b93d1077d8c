"""Can packages be installed here at all: facts are gathered once, and judging them is plain code."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from OpenVocabCTLib.errors import InputError, OpenVocabCTError, ResourceError
from OpenVocabCTSlicer.strings import _

SUPPORTED_PYTHON = ((3, 11), (3, 14))
# Longest path inside the packages, with a little to spare; Windows counts 260 with the final zero.
LONGEST_PATH = 175
WINDOWS_LIMIT = 259
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
MINIMUM_DRIVER = 525  # the oldest that CUDA 12 runs with
MINIMUM_VIDEO_MB = 4000
# pip keeps the downloaded file and the unpacked one at the same time.
_TEMPORARY_FACTOR = 1.2


@dataclass(frozen=True)
class GraphicsCard:
    """An NVIDIA card as its driver describes it.

    Attributes:
        name: model of the card.
        driver: version of the driver, such as ``"551.61"``.
        memory_mb: video memory.
    """

    name: str
    driver: str
    memory_mb: int

    @property
    def usable(self) -> bool:
        """Whether the driver is new enough for today's CUDA builds."""
        major = self.driver.split(".")[0]
        return major.isdigit() and int(major) >= MINIMUM_DRIVER


@dataclass(frozen=True)
class Facts:
    """Everything that decides whether an installation can work.

    Attributes:
        python: version of Slicer's Python.
        system: "Windows", "Darwin" or "Linux".
        machine: processor, such as "AMD64", "x86_64" or "arm64".
        folder: where pip puts packages.
        writable: whether files can be made there.
        free_mb: free space there; None when unknown.
        temporary_free_mb: free space for downloads; None when unknown.
        long_paths: whether Windows allows paths of more than 260 characters.
        proxies: proxy variables and their values.
        card: the graphics card; None when there is none or it is unknown.
        loaded: modules that this process has imported.
    """

    python: tuple[int, int]
    system: str
    machine: str
    folder: Path
    writable: bool
    free_mb: int | None
    temporary_free_mb: int | None
    long_paths: bool = True
    proxies: Mapping[str, str] = field(default_factory=dict)
    card: GraphicsCard | None = None
    loaded: frozenset[str] = frozenset()


def gather(folder: Path, temporary: Path, environ: Mapping[str, str], card: GraphicsCard | None = None) -> Facts:
    """Read the facts of this machine; starts no process and opens no connection.

    Args:
        folder: where pip puts packages.
        temporary: where pip keeps downloads.
        environ: environment variables.
        card: graphics card, where one is known already.
    """
    lower = {name.upper(): value for name, value in environ.items() if value}
    return Facts(
        python=(sys.version_info[0], sys.version_info[1]),
        system=platform.system(),
        machine=platform.machine(),
        folder=folder,
        writable=os.access(folder, os.W_OK),
        free_mb=_free_mb(folder),
        temporary_free_mb=_free_mb(temporary),
        long_paths=_long_paths(),
        proxies={name: lower[name] for name in PROXY_VARIABLES if name in lower},
        card=card,
        loaded=frozenset(name for name in sys.modules if "." not in name),
    )


def _free_mb(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free // 1_000_000
    except OSError:
        return None


def _long_paths() -> bool:
    if sys.platform == "win32":
        import winreg

        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"SYSTEM\CurrentControlSet\Control\FileSystem") as key:
                return bool(winreg.QueryValueEx(key, "LongPathsEnabled")[0])
        except OSError:
            return False
    return True


def obstacles(facts: Facts, download_mb: int, disk_mb: int) -> tuple[OpenVocabCTError, ...]:
    """Return what makes the installation fail; empty when it can go on.

    Args:
        facts: of this machine.
        download_mb: size of what is downloaded.
        disk_mb: size of what is installed.
    """
    return (*_program_obstacles(facts), *_space_obstacles(facts, download_mb, disk_mb))


def _program_obstacles(facts: Facts) -> Iterator[OpenVocabCTError]:
    low, high = SUPPORTED_PYTHON
    if not low <= facts.python < high:
        version = ".".join(map(str, facts.python))
        yield InputError(
            _("Python {version} is not supported").format(version=version), _("use Slicer 5.10 or newer, or a server")
        )
    if facts.system == "Darwin" and facts.machine == "x86_64":
        yield InputError(
            _("PyTorch is no longer made for Intel programs on a Mac"),
            _("install Slicer for Apple silicon, or use a server"),
        )
    if not facts.writable:
        yield InputError(
            _("Slicer's Python folder cannot be written to"),
            _("install Slicer in your own folder, or ask its administrator"),
        )
    if facts.system == "Windows" and not facts.long_paths and len(str(facts.folder)) + LONGEST_PATH > WINDOWS_LIMIT:
        yield InputError(
            _("the name of Slicer's folder is too long for Windows"),
            _("install Slicer in a shorter one, or allow long paths"),
        )


def _space_obstacles(facts: Facts, download_mb: int, disk_mb: int) -> Iterator[OpenVocabCTError]:
    places = (
        (_("where Slicer is"), facts.free_mb, disk_mb),
        (_("for temporary files"), facts.temporary_free_mb, int(download_mb * _TEMPORARY_FACTOR)),
    )
    for place, free, need in places:
        if free is not None and free < need:
            yield ResourceError(
                _("{free:.1f} GB are free {place} and {need:.1f} GB are needed").format(
                    free=free / 1000, place=place, need=need / 1000
                ),
                _("free some space"),
            )


def remarks(facts: Facts, online: bool) -> tuple[str, ...]:
    """Return what the user should know but can go on with, one sentence each.

    Args:
        facts: of this machine.
        online: whether packages are downloaded.
    """
    found: list[str] = []
    if online and facts.proxies:
        # Never the value: it may hold a password.
        found.append(_("downloads go through the proxy set in {names}").format(names=", ".join(sorted(facts.proxies))))
        if any(value.lower().startswith("socks") for value in facts.proxies.values()):
            found.append(_("pip cannot use a SOCKS proxy: set an HTTP proxy, or install from a folder of wheels"))
    card = facts.card
    if card is not None and not card.usable:
        found.append(
            _("the graphics driver {driver} is too old for PyTorch: update it, or the processor is used").format(
                driver=card.driver
            )
        )
    elif card is not None and card.memory_mb < MINIMUM_VIDEO_MB:
        found.append(
            _('the graphics card has {memory:.1f} GB: choose the device "cpu" if large scans fail').format(
                memory=card.memory_mb / 1000
            )
        )
    return tuple(found)


def parse_cards(text: str) -> GraphicsCard | None:
    """Read what ``nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader,nounits`` prints.

    Returns:
        The card with the most memory; None when there is none that can be read.
    """
    cards = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.rsplit(",", 2)]
        if len(parts) == 3 and parts[0] and parts[2].isdigit():
            cards.append(GraphicsCard(parts[0], parts[1], int(parts[2])))
    return max(cards, key=lambda card: card.memory_mb, default=None)
