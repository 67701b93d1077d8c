"""From starting the worker to the first answer on a CT, and what further prompts cost through HTTP.

Usage: python -m Testing.benchmarks.worker_latency [CT|KxJxI] [--device cpu] [--json FILE]

Without a CT, the sample CT of the demo is used; reading it is not counted, because 3D Slicer has it in memory.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from OpenVocabCTLib import CTVolume
from OpenVocabCTLib.commands.sample import Sample
from OpenVocabCTLib.worker.process import WorkerProcess
from OpenVocabCTLib.worker.protocol import PromptRequest, VolumeHeader
from OpenVocabCTLib.worker.session import Session
from OpenVocabCTLib.worker.steps import Progress, run
from Testing.benchmarks.phantom_ct import ct_file

FIRST, FURTHER = "left lung", ("right lung", "spinal cord", "bones", "adipose tissue", "body")
REACH_FIRST_SECONDS, REACH_FURTHER_SECONDS = 10.0, 0.3
LIBRARY_FOLDER = Path(__file__).resolve().parents[2]


class Stages:
    """Notes when every stage was first reported."""

    def __init__(self) -> None:
        self.began, self.seconds = time.perf_counter(), dict[str, float]()

    def __call__(self, progress: Progress) -> None:
        self.seconds.setdefault(progress.stage, time.perf_counter() - self.began)


def measure(path: Path, device: str, folder: Path) -> dict[str, Any]:
    """Seconds on one CT."""
    ct = CTVolume.read(path)
    volume = VolumeHeader.of(ct.array, ct.geometry), ct.array
    session = Session(
        lambda: WorkerProcess.start(sys.executable, library_folder=LIBRARY_FOLDER, log=folder / "worker.log")
    )
    try:
        stages = Stages()
        run(session.segment(volume, [PromptRequest(FIRST)], device=device, revision=1), stages)
        first = time.perf_counter() - stages.began
        further = {}
        for prompt in FURTHER:
            began = time.perf_counter()
            run(session.segment(volume, [PromptRequest(prompt)], device=device, revision=1))
            further[prompt] = time.perf_counter() - began
        return {
            "ct": path.name,
            "voxels": list(ct.geometry.shape),
            "first_answer_s": first,
            "stage_began_s": stages.seconds,
            "further_s": further,
            "model": run(session.status())["model"],
        }
    finally:
        session.close(5)


def main() -> None:
    """Print one line; write JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ct", nargs="?")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = ct_file(options.ct or str(Sample.find().ct), Path(folder))
        result = measure(path, options.device, Path(folder))
    report = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(), **result}
    further = result["further_s"].values()
    print(
        f"{result['ct']}: first answer {result['first_answer_s']:.1f} s after the start of the worker "
        f"(reach {REACH_FIRST_SECONDS:g} s); further prompts {statistics.median(further):.3f} s (median; reach "
        f"{REACH_FURTHER_SECONDS:g} s), worst {max(further):.3f} s"
    )
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
