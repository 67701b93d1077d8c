"""What more prompts cost: seconds and memory against their number."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from openvocabct_training.evaluation.patient import Patient
from openvocabct_training.evaluation.predictors import Query
from OpenVocabCTLib.memory import reset_peak_memory, status_mb

NAME = "cost"
NUMBERS = (1, 2, 10, 100)


def measure(patient: Patient) -> dict[str, Any]:
    """Image pass in seconds, and number of prompts -> seconds and peak memory in MB of answering that many.

    The prompts are different names: those of structures that are drawn in this scan first, then others of the
    vocabulary. The image pass is done before, so its share of the memory is not in the figures.
    """
    queries = _prompts(patient, max(NUMBERS))
    patient.scan.segment(queries[:1])  # what is only built once is not part of any number
    result: dict[str, Any] = {"image_pass_seconds": patient.scan.seconds, "prompts": {}}
    for number in NUMBERS:
        peak = PeakMemory()
        began = time.perf_counter()
        patient.scan.segment(queries[:number])
        seconds = time.perf_counter() - began
        result["prompts"][str(number)] = {"seconds": seconds, **peak.read()}
    return result


def _prompts(patient: Patient, number: int) -> list[Query]:
    leaves = [concept.id for concept in patient.vocabulary if not concept.members]
    return [patient.query(concept) for concept in dict.fromkeys((*patient.drawn, *leaves))][:number]


def summarise(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over patients; ``first_answer_ratio`` compares with one prompt, image pass included in both."""
    pass_seconds = fmean(record[NAME]["image_pass_seconds"] for record in records)
    rows = {}
    for number in map(str, NUMBERS):
        entries = [record[NAME]["prompts"][number] for record in records]
        row: dict[str, Any] = {"seconds": fmean(entry["seconds"] for entry in entries)}
        for memory in ("peak_mb", "gpu_peak_mb"):
            known = [entry[memory] for entry in entries if entry[memory] is not None]
            row[memory] = max(known, default=None)
        row["first_answer_seconds"] = pass_seconds + row["seconds"]
        rows[number] = row
    one = rows[str(NUMBERS[0])]["first_answer_seconds"]
    for row in rows.values():
        row["first_answer_ratio"] = row["first_answer_seconds"] / one if one > 0 else None
    return {NAME: {"image_pass_seconds": pass_seconds, "prompts": rows}}


class PeakMemory:
    """The most memory that this process holds from now on, where the system tells (Linux), and that of its GPU."""

    def __init__(self) -> None:
        self._reset = reset_peak_memory()
        cuda = _cuda()
        if cuda is not None:
            cuda.reset_peak_memory_stats()

    def read(self) -> dict[str, float | None]:
        """Return ``peak_mb`` and ``gpu_peak_mb`` in MB (10^6 bytes), None where unknown."""
        cuda = _cuda()
        return {
            "peak_mb": status_mb("VmHWM") if self._reset else None,
            "gpu_peak_mb": None if cuda is None else cuda.max_memory_allocated() / 1e6,
        }


def _cuda() -> Any:
    """CUDA of torch where the system under evaluation uses it; torch is not loaded for the question."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None
