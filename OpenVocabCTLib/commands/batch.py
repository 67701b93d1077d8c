"""``openvocabct batch``: segment many CTs."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
from OpenVocabCTLib.commands.services import Services, services_of, with_embedding_folder
from OpenVocabCTLib.commands.terminal import Reporter, Stopwatch, print_json, print_table
from OpenVocabCTLib.errors import InputError

if TYPE_CHECKING:
    from OpenVocabCTLib.batch.jobs import Job
    from OpenVocabCTLib.batch.manifest import Manifest, Record
    from OpenVocabCTLib.batch.steps import CaseSteps
    from OpenVocabCTLib.inference import Segmenter
    from OpenVocabCTLib.output.segmentation import Overlap


def batch(
    context: typer.Context,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", parser=named_path, help="Folder for the results.")
    ],
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[INPUT]...", parser=named_path, help="CTs, DICOM folders, or folders to search for them."
        ),
    ] = None,
    prompt: PromptOption = None,
    jobs: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv|.jsonl", help="CTs, each with its own prompts: input, prompts, output, threshold."
        ),
    ] = None,
    suffix: Annotated[
        Literal[".seg.nrrd", ".nii.gz", ".nrrd", ".mha"], typer.Option("--format", help="Format of the results.")
    ] = ".seg.nrrd",
    resume: Annotated[bool, typer.Option("--resume", help="Leave out what was done with the same settings.")] = False,
    ray: Annotated[
        str | None,
        typer.Option(metavar="local|ADDRESS", help="Spread the CTs over a Ray cluster; needs openvocabct[ray]."),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, metavar="N", help="With --ray: number of workers.")] = None,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    threshold: ThresholdOption = None,
    overlap: OverlapOption = "error",
    cache: CacheOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Segment many CTs; one that fails is reported, and the next follows.

    The output folder also gets manifest.jsonl, by which --resume knows what was done.
    """
    from OpenVocabCTLib.batch.inputs import check_same_source
    from OpenVocabCTLib.batch.jobs import check_distinct, jobs_for, read_jobs
    from OpenVocabCTLib.batch.manifest import FILE_NAME, Manifest
    from OpenVocabCTLib.output.atomic import make_folder

    clock, reporter = Stopwatch(), Reporter(quiet)
    check_threshold(threshold)
    check_device(device)
    prompts = tuple(prompt or ())
    output = Path(os.path.abspath(output))  # a worker of a Ray cluster runs in a folder of its own
    todo = read_jobs(jobs, output, suffix, prompts, threshold) if jobs is not None else ()
    if inputs or jobs is None:
        if not inputs:
            raise InputError("there is no CT to segment", "give files or folders, or --jobs FILE")
        todo += jobs_for(inputs, output, suffix, prompts, threshold, reporter.say)
    check_distinct(todo)
    _check_prompts(todo)
    model = _anchored(model)
    identity = _model_identity(model)
    make_folder(output)
    manifest = Manifest(output / FILE_NAME)
    manifest.load()
    names = [job.case.output.relative_to(output).as_posix() for job in todo]
    for name, job in zip(names, todo, strict=True):
        check_same_source(manifest.source(name), job.case)
    if not resume:
        manifest.start_anew(names)
    waiting = list(_waiting(todo, names, manifest, identity, overlap))
    skipped = len(todo) - len(waiting)
    if skipped:
        reporter.say(f"{skipped} of {len(todo)} finished before")
    services = with_embedding_folder(services_of(context), cache)
    if waiting:
        with closing(_records(waiting, services, model, device, ray, workers)) as records:
            for number, record in enumerate(records, start=skipped + 1):
                manifest.add(record)
                reporter.say(f"[{number}/{len(todo)}] {_line(record)}")
                for note in record.notes:
                    reporter.say(f"[{number}/{len(todo)}] {record.case}: note: {note}")
    _finish(manifest.records(names), skipped, clock, as_json)


def _waiting(
    todo: Sequence[Job], names: Sequence[str], manifest: Manifest, model: str, overlap: Overlap
) -> Iterator[CaseSteps]:
    """Yield what is not finished yet."""
    from OpenVocabCTLib.batch.manifest import Record
    from OpenVocabCTLib.batch.steps import CaseSteps

    for name, job in zip(names, todo, strict=True):
        settings = job.settings(model, overlap)
        if not (job.case.output.is_file() and manifest.finished(name, settings)):
            blank = Record(job.case.name, name, settings, source=str(job.case.source))
            yield CaseSteps(job, blank, overlap)


def _records(
    cases: Sequence[CaseSteps],
    services: Services,
    model: str | None,
    device: str,
    ray: str | None,
    workers: int | None,
) -> Generator[Record, None, None]:
    make_segmenter = partial(_make_segmenter, services, model, device)
    if ray is None:
        from OpenVocabCTLib.batch.pipeline import run_here

        yield from run_here(cases, make_segmenter(), services.read_volume)
        return
    from OpenVocabCTLib.batch.ray_pool import RayPool

    with RayPool(ray, make_segmenter, services.read_volume, workers) as pool:
        yield from pool.run(cases)


def _make_segmenter(services: Services, model: str | None, device: str) -> Segmenter:
    segmenter = services.load_model(model, device).segmenter
    segmenter.cache.max_bytes = 0  # nobody asks again about a CT of a batch
    return segmenter


def _anchored(model: str | None) -> str | None:
    """Make the path of a model's folder absolute; a name stays, for other machines have their own folder for it."""
    from OpenVocabCTLib.models.checkpoints import resolve

    folder = resolve(model)
    return os.path.abspath(folder) if model is not None and folder == Path(model).expanduser() else model


def _check_prompts(jobs: Sequence[Job]) -> None:
    """Read all prompts before anything else is done."""
    from OpenVocabCTLib.prompts import PromptSet

    for prompts in dict.fromkeys(job.prompts for job in jobs):
        PromptSet.parse(prompts)


def _model_identity(model: str | None) -> str:
    from OpenVocabCTLib.models.checkpoints import WEIGHTS_FILE, read_config, resolve

    return str(read_config(resolve(model)).get("sha256", {}).get(WEIGHTS_FILE))


def _line(record: Record) -> str:
    if not record.done:
        return f"{record.case}: error: {record.error}"
    found = sum(bool(segment["found"]) for segment in record.segments)
    return f"{record.case}: found {found} of {len(record.segments)}, {sum(record.seconds.values()):.1f} s"


def _finish(records: Sequence[Record], skipped: int, clock: Stopwatch, as_json: bool) -> None:
    failed = [record for record in records if not record.done]
    if as_json:
        print_json(_report(records, skipped, clock))
    else:
        rows = [
            (
                record.case,
                "done" if record.done else "failed",
                f"{sum(bool(segment['found']) for segment in record.segments)}/{len(record.segments)}",
                f"{sum(record.seconds.values()):.1f}",
                record.error,
            )
            for record in records
        ]
        print_table(("CT", "", "found", "seconds", ""), rows, right=(2, 3))
    if failed:
        raise typer.Exit(max(record.exit_code for record in failed))


def _report(records: Sequence[Record], skipped: int, clock: Stopwatch) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "done": sum(record.done for record in records),
        "failed": sum(not record.done for record in records),
        "finished_before": skipped,
        "cases": [asdict(record) for record in records],
        "timings": {"total": clock.total()},
    }
