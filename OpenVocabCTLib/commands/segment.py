"""``openvocabct segment``: segment a CT from text prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from OpenVocabCTLib.commands.options import (
    DeviceOption,
    JsonOption,
    ModelOption,
    QuietOption,
    check_device,
    check_threshold,
)
from OpenVocabCTLib.commands.outputs import Outputs
from OpenVocabCTLib.commands.reports import read_report_prompts
from OpenVocabCTLib.commands.results import print_segments, segment_record
from OpenVocabCTLib.commands.run import Answer, Run
from OpenVocabCTLib.commands.services import services_of
from OpenVocabCTLib.commands.terminal import Reporter, Stopwatch, print_json
from OpenVocabCTLib.errors import InputError


def segment(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="A CT: NIfTI, NRRD, MetaImage, or a DICOM folder.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", help=".seg.nrrd (3D Slicer), or a label map: .nii.gz, .nii, .nrrd, .mha."
        ),
    ],
    prompt: Annotated[
        list[str] | None,
        typer.Option("--prompt", "-p", metavar="TEXT", help='For example "left kidney"; repeat for more.'),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE.txt", help="Segment what a report finds: each finding and the structure it is in."),
    ] = None,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    threshold: Annotated[
        float | None, typer.Option(metavar="T", help="Probability that counts as inside, between 0 and 1.")
    ] = None,
    overlap: Annotated[
        Literal["error", "first", "last"], typer.Option(help="Label maps: who gets a voxel that two segments claim.")
    ] = "error",
    stats: Annotated[Path | None, typer.Option(metavar="FILE.csv", help="Write volumes and mean HU.")] = None,
    preview: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Write a picture of every segment.")] = None,
    probabilities: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the probabilities of every prompt as .nii.gz.")
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Segment a CT from text prompts.

    A structure that is not in the scan, or a text that names none, is answered with "not found" and its reason; that
    is not an error.
    """
    from OpenVocabCTLib.prompts import PromptSet

    clock = Stopwatch()
    reporter = Reporter(quiet)
    outputs = Outputs(output, stats, preview, probabilities)
    # What costs nothing to find out comes first.
    typed = prompt or []
    if not typed and report is None:
        raise InputError("there is nothing to segment", 'name a structure with --prompt, for example -p "left kidney"')
    from_report = None if report is None else read_report_prompts(report)
    prompts = PromptSet.parse([*typed, *(from_report.texts if from_report else ())])
    check_threshold(threshold)
    check_device(device)
    check_source(source)
    outputs.check(source)

    for line in from_report.lines() if from_report else ():
        reporter.say(line)
    answer = Run(services_of(context), reporter, clock).answer(source, prompts, model, device, threshold)
    for path in outputs.write(answer.study, answer.segmentation, prompts, overlap):
        reporter.say(f"wrote {path}")
    clock.lap("write")
    if as_json:
        findings = {"report": from_report.records(tuple(answer.segmentation), len(typed))} if from_report else {}
        print_json(_report(source, outputs, answer, clock) | findings)
    else:
        print_segments(answer.segmentation)


def check_source(source: Path) -> None:
    """Refuse an input that is not there, before the model is loaded.

    Raises:
        InputError: there is no such file or folder.
    """
    from OpenVocabCTLib.volume import printable

    if not source.exists():
        raise InputError(f"{printable(source)} does not exist", "check the path of the CT")


def _report(source: Path, outputs: Outputs, answer: Answer, clock: Stopwatch) -> dict[str, Any]:
    return {
        "input": str(source),
        "output": str(outputs.segmentation),
        "model": answer.model.name,
        "device": answer.model.device,
        "segments": [segment_record(segment) for segment in answer.segmentation],
        "timings": clock.seconds | {"total": clock.total()},
        "notes": list(answer.segmentation.notes),
    }
