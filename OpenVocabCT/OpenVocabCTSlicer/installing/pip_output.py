"""Reading what pip prints: how far it is, and why it failed, in one sentence."""

from __future__ import annotations

import re
from dataclasses import dataclass

from OpenVocabCTLib.errors import InputError, OpenVocabCTError, ResourceError
from OpenVocabCTLib.worker.steps import Progress, Stage
from OpenVocabCTSlicer.strings import _

STAGE: Stage = "installing"
_BYTES = re.compile(r"^Progress (\d+) of (\d+)\s*$")
_COLLECTING = re.compile(r"^\s*(?:Collecting|Downloading|Processing|Using cached|Building wheel for) (\S+)")
_INSTALLING = re.compile(r"^\s*(?:Installing collected packages|Attempting uninstall)")
_MISSING = re.compile(r"No matching distribution found for ([A-Za-z0-9._-]+)")
_CREDENTIALS = re.compile(r"(\w+://)[^/\s@]+@")
_LONG_LINE = 200

_NETWORK = (
    "NewConnectionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "getaddrinfo failed",
    "Temporary failure in name resolution",
    "Name or service not known",
    "Max retries exceeded",
    "ProxyError",
    "Cannot connect to proxy",
    "Connection refused",
    "Connection reset",
)
_CERTIFICATE = ("CERTIFICATE_VERIFY_FAILED", "SSLError", "certificate verify failed")
_DISK = ("No space left on device", "Errno 28", "WinError 112", "Disk quota exceeded")
_LOCKED = ("WinError 5", "WinError 32", "Access is denied", "Permission denied", "Errno 13")
_CONFLICT = ("ResolutionImpossible", "conflicting dependencies")


@dataclass(frozen=True)
class InstallProgress(Progress):
    """How far an installation is; ``done`` and ``total`` are the bytes of the current download.

    Attributes:
        text: which package, for the progress bar.
    """

    text: str = ""


class PipOutput:
    """Follows the output of one run of pip.

    Args:
        title: what is installed, shown until pip names something.
    """

    def __init__(self, title: str) -> None:
        self.progress = InstallProgress(STAGE, text=title)
        self.lines: list[str] = []
        self.changing = False
        """Files of Python are being replaced: stopping now would leave half an installation."""

    def feed(self, line: str) -> bool:
        """Take one line; returns whether there is news for the progress bar."""
        if found := _BYTES.match(line):
            self.progress = InstallProgress(STAGE, int(found[1]), int(found[2]), self.progress.text)
            return True
        self.lines.append(line)
        if _INSTALLING.match(line):
            self.changing = True
            self.progress = InstallProgress(STAGE, text=_("unpacking"))
            return True
        if found := _COLLECTING.match(line):
            # The file name of a wheel or archive is long; its first part is the package.
            name = re.split(r"[<>=!~;\[(]|-\d", found[1].rsplit("/", 1)[-1])[0]
            self.progress = InstallProgress(STAGE, text=name)
            return True
        return False


def failure(lines: list[str], offline: bool) -> OpenVocabCTError:
    """Say in one sentence why pip failed.

    Args:
        lines: what it printed.
        offline: packages came from a folder of wheels.
    """
    text = "\n".join(lines)
    if _has(text, _DISK):
        return ResourceError(_("the disk is full"), _("free some space and press Apply again"))
    if not offline and _has(text, _CERTIFICATE):
        return InputError(
            _("the download server's certificate is not trusted here"),
            _("set PIP_CERT to your institution's certificate file, or install from a folder of wheels"),
        )
    if not offline and _has(text, _NETWORK):
        return InputError(
            _("packages cannot be downloaded"),
            _("check the network and the proxy settings, or install from a folder of wheels"),
        )
    if _has(text, _LOCKED):
        return InputError(
            _("files of Slicer's Python are in use or protected"),
            _("restart Slicer and press Apply before anything else"),
        )
    if _has(text, _CONFLICT):
        return InputError(
            _("the packages do not fit to what other extensions installed"),
            _("install them in a fresh Slicer, or use a server"),
        )
    if missing := _MISSING.search(text):
        todo = _("add it to the folder of wheels") if offline else _("use a newer Slicer, or a server")
        return InputError(_("there is no {name} for this computer's Python").format(name=missing[1]), todo)
    return InputError(
        _("pip failed ({reason})").format(reason=_last_error(lines)), _('see the log by "Copy report", then try again')
    )


def _has(text: str, words: tuple[str, ...]) -> bool:
    return any(word in text for word in words)


def _last_error(lines: list[str]) -> str:
    errors = [line for line in lines if line.lower().startswith("error:")] or [line for line in lines if line.strip()]
    if not errors:
        return _("it printed nothing")
    line = errors[-1].strip().removeprefix("ERROR:").strip()
    return without_credentials(line)[:_LONG_LINE]


def without_credentials(text: str) -> str:
    """Return a text without user names and passwords in addresses."""
    return _CREDENTIALS.sub(r"\1", text)
