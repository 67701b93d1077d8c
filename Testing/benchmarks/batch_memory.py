"""Memory of ``openvocabct batch`` over many small CTs: it must stay flat.

Usage: python -m Testing.benchmarks.batch_memory [--cases 200] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from OpenVocabCTLib.memory import status_mb
from Testing.benchmarks.phantom_ct import phantom_ct

SHAPE, SLICE_MM = (24, 64, 64), 6.0
# The first cases fill buffers and allocate what is kept for the next ones.
WARM_UP = 20


def measure(cases: int, folder: Path) -> dict[str, Any]:
    """Run a batch, and note the memory of its process after every case."""
    (folder / "cts").mkdir()
    for number in range(cases):
        volume = phantom_ct(SHAPE, SLICE_MM, seed=number)
        sitk.WriteImage(volume.to_sitk(), str(folder / "cts" / f"{number:04}.nrrd"))
    words = ["batch", str(folder / "cts"), "-p", "lungs", "-p", "bones", "-o", str(folder / "out"), "--quiet"]
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "OpenVocabCTLib.cli", *words], stdout=subprocess.DEVNULL)
    manifest = folder / "out" / "manifest.jsonl"
    memory: list[float] = []
    while process.poll() is None:
        done = manifest.read_text().count("\n") if manifest.is_file() else 0
        while len(memory) < done:
            memory.append(status_mb("VmRSS", process.pid) or 0.0)
        time.sleep(0.05)
    done = manifest.read_text().count("\n")
    rest = np.array(memory[min(WARM_UP, cases // 2) : -1] or [0.0])
    return {
        "cases": cases,
        "done": done,
        "exit_code": process.returncode,
        "seconds_a_case": (time.perf_counter() - began) / cases,
        "rss_mb_after_warm_up": float(rest[0]),
        "rss_mb_at_the_end": float(rest[-1]),
        "growth_mb_per_100_cases": float(np.polyfit(np.arange(len(rest)), rest, 1)[0] * 100) if len(rest) > 1 else 0.0,
    }


def main() -> None:
    """Print one line; write JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        row = measure(options.cases, Path(folder))
    print(
        f"batch of {row['cases']}: {row['done']} done, {row['seconds_a_case']:.2f} s a case, "
        f"{row['rss_mb_after_warm_up']:.0f} MB after the first, {row['rss_mb_at_the_end']:.0f} MB at the end, "
        f"{row['growth_mb_per_100_cases']:+.1f} MB per 100 cases"
    )
    if options.json:
        options.json.write_text(json.dumps(row, indent=1) + "\n")


if __name__ == "__main__":
    main()
