"""Options that several commands share, and the checks of their values."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from OpenVocabCTLib.errors import InputError

_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?|mps")


def named_path(text: str) -> Path:
    """Read a path; an empty one, as a script gives whose variable is not set, would mean the current folder.

    Raises:
        BadParameter: it is empty.
    """
    if not text:
        raise typer.BadParameter("It is empty")
    return Path(text)


def typed_text(text: str) -> str:
    """Read a prompt; letters in another encoding than Python's would be left out of it.

    Raises:
        BadParameter: there are some.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise typer.BadParameter(f"It is not in {sys.getfilesystemencoding().upper()}") from error
    return text


PromptOption = Annotated[
    list[str] | None,
    typer.Option(
        "--prompt", "-p", metavar="TEXT", parser=typed_text, help='For example "left kidney"; repeat for more.'
    ),
]
ModelOption = Annotated[
    str | None, typer.Option("--model", metavar="NAME|DIR", help="Model; the embedded one by default.")
]
DeviceOption = Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda[:N]|mps", help="Where the network runs.")]
ThresholdOption = Annotated[
    float | None,
    typer.Option("--threshold", metavar="T", help="Probability that counts as inside, between 0 and 1."),
]
OverlapOption = Annotated[
    Literal["error", "first", "last"],
    typer.Option("--overlap", help="Label maps: who gets a voxel that two segments claim."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        parser=named_path,
        help="Keep image passes here: the next time, a CT is answered at once.",
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no messages on stderr.")]


def check_threshold(threshold: float | None) -> None:
    """Refuse a threshold outside 0 to 1, both ends excluded; NaN too.

    Raises:
        InputError: it is outside.
    """
    if threshold is not None and not 0 < threshold < 1:
        raise InputError(f"the threshold is {threshold}", "give a number between 0 and 1")


def check_device(device: str) -> None:
    """Refuse words that name no device; whether the device is there is found out when the model is loaded.

    Raises:
        InputError: it is none of the documented names.
    """
    if not _DEVICE.fullmatch(device):
        raise InputError(f"there is no device {device!r}", "choose auto, cpu, cuda, cuda:N or mps")
