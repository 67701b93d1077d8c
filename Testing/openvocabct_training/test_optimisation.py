from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from openvocabct_training.optimisation import adamw_with_warmup


class Two(pl.LightningModule):
    """A layer, and a parameter of its own; a run of ten steps."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.rows = nn.Parameter(torch.ones(3))
        self.fixed = nn.Parameter(torch.ones(3), requires_grad=False)

    @property
    def trainer(self) -> Any:
        return SimpleNamespace(estimated_stepping_batches=10)


def rates(configured: dict[str, Any], steps: int) -> list[list[float]]:
    """Learning rates of all groups at the first steps."""
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    found = []
    for _ in range(steps):
        found.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    return found


def test_warm_up_then_a_cosine_to_zero() -> None:
    found = [one for (one,) in rates(adamw_with_warmup(Two(), 1.0, 0.0, 4), 11)]
    assert found[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert found[4:] == sorted(found[4:], reverse=True)
    assert found[10] == pytest.approx(0.0)


def test_a_parameter_can_learn_faster_than_all_others() -> None:
    module = Two()
    configured = adamw_with_warmup(module, 1.0, 0.1, 4, {"rows": 10.0, "fixed": 3.0})
    others, rows = configured["optimizer"].param_groups
    assert [weight is module.rows for weight in rows["params"]] == [True]
    assert {id(weight) for weight in others["params"]} == {id(weight) for weight in module.layer.parameters()}
    assert others["weight_decay"] == rows["weight_decay"] == 0.1
    for slow, fast in rates(configured, 11):
        assert fast == pytest.approx(10.0 * slow)


def test_a_parameter_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match=r"there is no parameter 'no\.such'"):
        adamw_with_warmup(Two(), 1.0, 0.0, 4, {"no.such": 10.0})
