"""``openvocabct demo``: the main job on a sample CT with a reference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from OpenVocabCTLib.commands.options import (
    DeviceOption,
    JsonOption,
    ModelOption,
    QuietOption,
    check_device,
    named_path,
)
from OpenVocabCTLib.commands.outputs import Outputs
from OpenVocabCTLib.commands.results import NOTHING, decimal, segment_record
from OpenVocabCTLib.commands.run import Run
from OpenVocabCTLib.commands.sample import DEMO_PROMPTS, Sample, dice
from OpenVocabCTLib.commands.services import services_of
from OpenVocabCTLib.commands.terminal import Reporter, Stopwatch, print_json, print_table

if TYPE_CHECKING:
    import numpy as np

    from OpenVocabCTLib.output import Segment


def demo(
    context: typer.Context,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", parser=named_path, help="Folder for the results.")
    ] = Path("openvocabct-demo"),
    model: ModelOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Segment a sample chest CT that has a reference.

    Prints the Dice coefficient with the reference where there is one. One of the prompts names no structure at all, to
    show what "not found" looks like.
    """
    from OpenVocabCTLib.prompts import PromptSet

    clock = Stopwatch()
    reporter = Reporter(quiet)
    check_device(device)
    sample = Sample.find()
    output.mkdir(exist_ok=True)
    outputs = Outputs(output / "CTChest4.seg.nrrd", output / "CTChest4.csv", output / "CTChest4.png")
    prompts = PromptSet.parse(DEMO_PROMPTS)
    outputs.check(sample.ct, prompts)

    answer = Run(services_of(context), reporter, clock).answer(sample.ct, prompts, model, device)
    references = sample.reference_masks()
    scores = [_score(segment, references.get(segment.prompt)) for segment in answer.segmentation]
    for path in outputs.write(answer.study, answer.segmentation, prompts, "error").files:
        reporter.say(f"wrote {path}")
    clock.lap("write")
    if as_json:
        records = [
            segment_record(segment) | {"dice": score}
            for segment, score in zip(answer.segmentation, scores, strict=True)
        ]
        print_json({"output": str(output), "segments": records, "timings": clock.seconds | {"total": clock.total()}})
        return
    rows = [
        (
            segment.prompt,
            "yes" if segment.found else "no",
            decimal(segment.volume_ml) if segment.found else NOTHING,
            decimal(segment.mean_hu, 0) if segment.found else NOTHING,
            decimal(score, 3),
            "" if segment.found else segment.reason,
        )
        for segment, score in zip(answer.segmentation, scores, strict=True)
    ]
    print_table(("prompt", "found", "volume ml", "mean HU", "Dice", ""), rows, right=(2, 3, 4))
    typer.echo(f"\nLook at {outputs.preview}, or open {outputs.segmentation} in 3D Slicer.")


def _score(segment: Segment, reference: np.ndarray | None) -> float | None:
    """Dice with the reference; None where there is none, 0 where the structure was not found."""
    if reference is None:
        return None
    return dice(segment.mask, reference) if segment.found else 0.0
