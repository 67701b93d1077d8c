"""The optimiser and schedule of every run: AdamW, linear warm-up, then cosine to zero."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch


def adamw_with_warmup(
    module: pl.LightningModule,
    learning_rate: float,
    weight_decay: float,
    warmup_steps: int,
    factors: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """What ``configure_optimizers`` returns; the schedule is stepped every optimisation step.

    Args:
        module: whose parameters learn, those that may; its trainer knows the number of steps.
        learning_rate: peak.
        weight_decay: of AdamW.
        warmup_steps: length of the warm-up.
        factors: name of a parameter -> its learning rate relative to that of all others.

    Raises:
        ValueError: the module has no parameter of a name.
    """
    factors = {} if factors is None else factors
    parameters = dict(module.named_parameters())
    if unknown := sorted(set(factors) - set(parameters)):
        raise ValueError(f"there is no parameter {unknown[0]!r}")
    learning = {name: weight for name, weight in parameters.items() if weight.requires_grad}
    groups: list[dict[str, Any]] = [{"params": [weight for name, weight in learning.items() if name not in factors]}]
    groups += [
        {"params": [weight], "lr": learning_rate * factors[name]}
        for name, weight in learning.items()
        if name in factors
    ]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, weight_decay=weight_decay)
    total = max(1, int(module.trainer.estimated_stepping_batches))

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        progress = (step - warmup_steps) / max(1, total - warmup_steps)
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
