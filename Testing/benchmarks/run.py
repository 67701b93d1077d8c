"""All benchmarks, each in a process of its own; writes RESULTS.md, results.json and results.png beside this file.

Usage: python -m Testing.benchmarks.run [--quick] [--output DIR]

--quick takes small sizes, to see that everything runs; its figures say little.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from OpenVocabCTLib.commands.sample import Sample
from Testing.benchmarks.measuring import machine
from Testing.benchmarks.report import write_report

ROOT = Path(__file__).resolve().parents[2]
SIZES = ("150x256x256", "300x512x512", "600x512x512")
QUICK_SIZES = ("40x64x64",)


def run(module: str, *words: str) -> Any:
    """Run one benchmark and return what it wrote; None when it wrote nothing.

    Raises:
        SystemExit: it failed.
    """
    print(f"== {module} {' '.join(words)}", flush=True)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        command = [sys.executable, "-m", f"Testing.benchmarks.{module}", *words, "--json", str(path)]
        done = subprocess.run(command, cwd=ROOT, check=False)
        if done.returncode:
            raise SystemExit(f"error: the benchmark {module} failed: look at what it printed")
        result = json.loads(path.read_text()) if path.is_file() else None
    print(f"   {time.perf_counter() - began:.0f} s", flush=True)
    return result


def import_seconds(module: str = "OpenVocabCTLib", repeats: int = 5) -> float:
    """Median seconds that importing a module takes in a fresh process, the start of Python not counted."""
    code = f"import time; began = time.perf_counter(); import {module}; print(time.perf_counter() - began)"
    runs = [
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        for _ in range(repeats)
    ]
    return median(float(one.stdout) for one in runs)


def measure(quick: bool) -> dict[str, Any]:
    """Everything, as results.json has it."""
    sources = QUICK_SIZES if quick else (str(Sample.find().ct), *SIZES)
    first, compared = sources[0], sources[0 if quick else 2]
    both = dict.fromkeys((first, compared))
    results: dict[str, Any] = {"machine": machine(), "quick": quick, "import_s": import_seconds()}
    results["stages"] = [run("image_stages", source) for source in sources]
    results["worker"] = run("worker_latency", first)
    results["prompts"] = run("prompt_cost", *both)
    results["sliding_window"] = run("sliding_window", *both)
    results["batch"] = run("batch_memory", "--cases", "4" if quick else "200")
    results["gpu"] = run("gpu")
    return results


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    began = time.perf_counter()
    results = measure(options.quick)
    results["seconds"] = time.perf_counter() - began
    options.output.mkdir(parents=True, exist_ok=True)
    print(write_report(results, options.output))


if __name__ == "__main__":
    main()
