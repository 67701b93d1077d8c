from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import multiprocessing

from openvocabct_training.data.store import CaseStore
from Testing.openvocabct_training.distributed_step import STEPS, batches, steps


def test_two_processes_do_what_one_does_with_both_batches(store: CaseStore, tmp_path: Path) -> None:
    results: list[dict[str, Any]] = []
    for processes in (1, 2):
        output = tmp_path / f"{processes}.pt"
        arguments = (processes, str(store.root), str(tmp_path / "meeting"), str(output))
        if processes == 1:
            threads = torch.get_num_threads()
            steps(0, *arguments)
            torch.set_num_threads(threads)
        else:
            multiprocessing.spawn(steps, arguments, nprocs=processes)
        results.append(torch.load(output, weights_only=True))
    alone, together = results
    assert len(alone["losses"]) == len(together["losses"]) == STEPS
    # The second loss is that of weights which both have changed by the same gradient.
    assert together["losses"] == pytest.approx(alone["losses"], rel=1e-5)
    assert together["losses"][0] != together["losses"][1]
    first, other = (torch.cat([part.flatten() for part in result["gradients"].values()]) for result in results)
    assert first.norm() > 1.0
    assert (first - other).norm() < 1e-5 * first.norm()


def test_the_two_are_asked_differently(store: CaseStore) -> None:
    """Otherwise the comparison would not see a loss that weighs prompts instead of patches."""
    counts = [[int(batch[3].sum()) for batch in batches(store, 2, rank, 1)] for rank in (0, 1)]
    assert any(one != other for one, other in zip(*counts, strict=True))
