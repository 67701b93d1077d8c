"""The command line of a batch."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.output.segmentation import Overlap
from OpenVocabCTSlicer.batch_inputs import Case

FORMATS = ("seg.nrrd", "nii.gz")


@dataclass(frozen=True)
class Options:
    """What the command line said.

    Attributes:
        inputs: files and folders.
        prompts: one structure each.
        output: folder for the results.
        suffix: ".seg.nrrd" or ".nii.gz".
        resume: leave out what an earlier run with the same settings finished.
        model: name or folder, None for the default.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        threshold: voxel probability that counts as inside, None for the model's own.
        overlap: for a label map, who gets a voxel that two segments claim.
    """

    inputs: tuple[Path, ...]
    prompts: tuple[str, ...]
    output: Path
    suffix: str = ".seg.nrrd"
    resume: bool = False
    model: str | None = None
    device: str = "auto"
    threshold: float | None = None
    overlap: Overlap = "error"

    def settings_of(self, case: Case) -> str:
        """Return a short text that changes with everything that a result depends on."""
        facts = [self.prompts, self.model, self.threshold, self.suffix, self.overlap, case.fingerprint()]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def parse(arguments: Sequence[str]) -> Options:
    """Read the command line; every word has to be understood.

    Raises:
        InputError: it is wrong.
    """
    words = _parser().parse_args(list(arguments))
    if any(not prompt.strip() for prompt in words.prompt):
        raise InputError("a prompt is empty", 'type the name of a structure, for example "left kidney"')
    if words.threshold is not None and not 0.0 < words.threshold < 1.0:
        raise InputError(f"the threshold is {words.threshold}", "give a number between 0 and 1")
    return Options(
        tuple(words.input),
        tuple(words.prompt),
        words.output,
        f".{words.format}",
        words.resume,
        words.model,
        words.device,
        words.threshold,
        words.overlap,
    )


class _Parser(argparse.ArgumentParser):
    """A parser that raises our own error instead of ending the process: inside Slicer that is for us to do."""

    def error(self, message: str) -> NoReturn:
        raise InputError(message, "see the usage: --input PATH... --prompt TEXT... --output DIR")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="batch.py", description="Segment structures named in words in many CTs.", allow_abbrev=False)
    parser.add_argument(
        "--input",
        nargs="+",
        action="extend",
        type=Path,
        required=True,
        metavar="PATH",
        help="volume files, DICOM folders, or folders to search for them",
    )
    parser.add_argument(
        "--prompt", nargs="+", action="extend", required=True, metavar="TEXT", help='one structure each: "left kidney"'
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for results and summary.csv")
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="of the results")
    parser.add_argument("--resume", action="store_true", help="leave out what was finished with the same settings")
    parser.add_argument("--model", metavar="NAME|DIR", help="the embedded one by default")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda[:N]|mps", help="where the network runs")
    parser.add_argument("--threshold", type=float, metavar="T", help="probability that counts as inside")
    parser.add_argument(
        "--overlap", choices=("error", "first", "last"), default="error", help="label maps: who gets a shared voxel"
    )
    return parser
