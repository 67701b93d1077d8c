"""Damaged DICOM: never a crash, never a wrong place without a message.

OPENVOCABCT_CORRUPTIONS sets how many; ``python -m Testing.openvocabct_lib.dicom.corruption 2000`` does the full number.
"""

from __future__ import annotations

import os

import pytest

from Testing.openvocabct_lib.dicom.corruption import damaged_runs

COUNT = int(os.environ.get("OPENVOCABCT_CORRUPTIONS", "300"))


@pytest.mark.parametrize("compressed", [False, True])
def test_random_damage_is_noticed_or_harmless(compressed: bool) -> None:
    results = damaged_runs(COUNT // 4 if compressed else COUNT - COUNT // 4, seed=7, compress=compressed)
    assert results["refused"] > 0
    assert results["with a note"] > 0
    assert results["the same place"] > 0
