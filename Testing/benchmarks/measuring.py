"""Wall and CPU seconds and peak memory of named stages, and a description of the machine."""

from __future__ import annotations

import os
import platform
import re
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from OpenVocabCTLib.memory import reset_peak_memory, status_mb

_PACKAGES = ("numpy", "torch", "openvino", "monai")


class Stages:
    """Books what every stage costs; one that is entered again adds to its seconds.

    Attributes:
        rows: stage -> ``wall_s``, ``cpu_s`` and, on Linux, ``peak_mb`` (most memory held while it ran).
    """

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, float]] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Measure a ``with`` block."""
        resettable = reset_peak_memory()
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        row = self.rows.setdefault(name, {"wall_s": 0.0, "cpu_s": 0.0})
        row["wall_s"] += time.perf_counter() - wall
        row["cpu_s"] += time.process_time() - cpu
        if resettable:
            row["peak_mb"] = max(row.get("peak_mb", 0.0), status_mb("VmHWM") or 0.0)

    @property
    def peak_mb(self) -> float:
        """Most memory of the process so far, in MB (10^6 bytes)."""
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
        return max(own, *(row.get("peak_mb", 0.0) for row in self.rows.values()))


def machine() -> dict[str, Any]:
    """Describe what the figures were measured on."""
    facts: dict[str, Any] = {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
        if hasattr(os, "sysconf")
        else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }
    for package in _PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = None
    return facts


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    names = re.findall(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    kinds = [kind for kind in ("avx2", "avx512f", "avx512_bf16", "amx_tile") if re.search(rf"\b{kind}\b", text)]
    return f"{names[0] if names else platform.machine()} ({', '.join(kinds) or 'no AVX2'})"
