"""``openvocabct segment``: segment a CT from text prompts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from OpenVocabCTLib.commands.options import (
    CacheOption,
    DeviceOption,
    JsonOption,
    ModelOption,
    OverlapOption,
    PromptOption,
    QuietOption,
    ThresholdOption,
    check_device,
    check_threshold,
    named_path,
)
from OpenVocabCTLib.commands.outputs import Outputs, Written
from OpenVocabCTLib.commands.pacs import Exchange
from OpenVocabCTLib.commands.reports import lines_of_report, read_report_prompts, segment_records
from OpenVocabCTLib.commands.results import print_segments, segment_record
from OpenVocabCTLib.commands.run import Answer, Run
from OpenVocabCTLib.commands.services import Services, services_of, with_embedding_folder
from OpenVocabCTLib.commands.terminal import Reporter, Stopwatch, print_json
from OpenVocabCTLib.errors import InputError


def segment(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="A CT: NIfTI, NRRD, MetaImage, a folder or zip of DICOM, or "
            "dicomweb+https://HOST/PATH/studies/UID/series/UID.",
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help=".seg.nrrd (3D Slicer), a label map: .nii.gz, .nii, .nrrd, .mha, or for DICOM input .dcm (SEG), "
            ".rtstruct.dcm, stow (SEG to the server of the input) or stow+https://HOST/PATH.",
        ),
    ],
    prompt: PromptOption = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE.txt", help="Segment what a report finds: each finding and the structure it is in."),
    ] = None,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    threshold: ThresholdOption = None,
    overlap: OverlapOption = "error",
    stats: Annotated[Path | None, typer.Option(metavar="FILE.csv", help="Write volumes and mean HU.")] = None,
    preview: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Write a picture of every segment.")] = None,
    probabilities: Annotated[
        Path | None,
        typer.Option(metavar="DIR", parser=named_path, help="Write the probabilities of every prompt as .nii.gz."),
    ] = None,
    series: Annotated[
        str | None, typer.Option(metavar="UID|NUMBER", help="DICOM: the series; the one with most slices by default.")
    ] = None,
    fractional: Annotated[bool, typer.Option("--fractional", help="DICOM SEG: probabilities, not masks.")] = False,
    cache: CacheOption = None,
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
    if not source:
        raise InputError("INPUT is empty", "give the CT: a file, a DICOM folder or a series on a server")
    exchange = Exchange.plan(source, output)
    outputs = Outputs(exchange.output(output), stats, preview, probabilities, fractional)
    # What costs nothing to find out comes first.
    typed = prompt or []
    if not typed and report is None:
        raise InputError("there is nothing to segment", 'name a structure with --prompt, for example -p "left kidney"')
    from_report = None if report is None else read_report_prompts(report)
    prompts = PromptSet.parse([*typed, *(from_report.texts if from_report else ())])
    check_threshold(threshold)
    check_device(device)
    if not exchange.is_remote:
        check_source(exchange.images)
    for line in lines_of_report(from_report) if from_report else ():
        reporter.say(line)
    with exchange.open(reporter):
        outputs.check(exchange.images, prompts)
        exchange.fetch(reporter)
        services = _with_series(with_embedding_folder(services_of(context), cache), series)
        answer = Run(services, reporter, clock).answer(
            exchange.images, prompts, model, device, threshold, outputs.check_volume
        )
        written = exchange.kept(outputs.write(answer.study, answer.segmentation, prompts, overlap))
        for path in written.files:
            reporter.say(f"wrote {path}")
        for note in written.notes:
            reporter.say(f"note: {note}")
        asked = [one.text for one in prompts]
        stored = exchange.store([asked, threshold, fractional, series], answer.segmentation, reporter)
    clock.lap("write")
    if as_json:
        segments = tuple(answer.segmentation)
        findings = {"report": segment_records(from_report, segments, len(typed))} if from_report else {}
        there = stored or outputs.segmentation in written.files
        print_json(_report(source, output if there else None, written, answer, clock) | findings)
    else:
        print_segments(answer.segmentation)


def _with_series(services: Services, series: str | None) -> Services:
    if series is None:
        return services
    from OpenVocabCTLib.volume import CTVolume

    return replace(services, read_volume=lambda path: CTVolume.read(path, series=series))


def check_source(source: Path) -> None:
    """Refuse an input that is not there, before the model is loaded.

    Raises:
        InputError: there is no such file or folder.
    """
    from OpenVocabCTLib.volume import printable

    if not source.exists():
        raise InputError(f"{printable(source)} does not exist", "check the path of the CT")


def _report(source: str, output: str | None, written: Written, answer: Answer, clock: Stopwatch) -> dict[str, Any]:
    return {
        "input": source,
        "output": output,  # null where there is none: DICOM cannot say that nothing was found
        "written": [str(path) for path in written.files],
        "model": answer.model.name,
        "device": answer.model.device,
        "segments": [segment_record(segment) for segment in answer.segmentation],
        "timings": clock.seconds | {"total": clock.total()},
        "notes": [*answer.segmentation.notes, *written.notes],
    }
