"""The optimiser and schedule of every run: AdamW, linear warm-up, then cosine to zero."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import torch


def adamw_with_warmup(
    module: pl.LightningModule, learning_rate: float, weight_decay: float, warmup_steps: int
) -> dict[str, Any]:
    """What ``configure_optimizers`` returns; the schedule is stepped every optimisation step.

    Args:
        module: whose parameters learn, those that may; its trainer knows the number of steps.
        learning_rate: peak.
        weight_decay: of AdamW.
        warmup_steps: length of the warm-up.
    """
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=learning_rate, weight_decay=weight_decay)
    total = max(1, int(module.trainer.estimated_stepping_batches))

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        progress = (step - warmup_steps) / max(1, total - warmup_steps)
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
