"""Hostile and damaged prompts: never a crash, always bounded time; ``benchmarks/fuzzed_prompts`` is the full run."""

from __future__ import annotations

from OpenVocabCTLib.prompts import PromptSet
from Testing.benchmarks.fuzzed_prompts import fuzzed, hostile, slowest


def test_damaged_prompts_are_read() -> None:
    PromptSet.parse(["liver"])
    seconds, text = slowest(fuzzed(500, seed=1))
    assert seconds < 1.0, text


def test_a_megabyte_takes_bounded_time() -> None:
    seconds, text = slowest(hostile(1_000_000))
    assert seconds < 3.0, text
