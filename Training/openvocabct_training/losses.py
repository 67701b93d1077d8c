"""Losses of text-prompted segmentation with partial labels.

Only prompts that a case annotates are ever asked, so nothing here needs to know what is missing.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

# A structure of a hundredth of the patch, say 2,600 of 64^3 voxels, has half its cross-entropy per own voxel.
_BACKGROUND_SHARE = 0.01

# Where a bias of voxel logits starts: a structure is taken to fill a hundredth of a patch before anything is learned
# (Lin et al. 2017, arXiv:1708.02002).  From one half, the background is all of the loss until the bias has got here,
# and a bias moves by about one learning rate a step.
PRIOR_LOGIT = math.log(0.01 / 0.99)


class SegmentationLoss(NamedTuple):
    """Mean over prompts of the two terms, and the soft Dice of each prompt (NaN where the target is empty)."""

    bce: Tensor
    dice: Tensor
    per_prompt_dice: Tensor


def segmentation_loss(
    logits: Tensor, target: Tensor, valid: Tensor, background_share: float = _BACKGROUND_SHARE
) -> SegmentationLoss:
    """Binary cross-entropy for every prompt, soft Dice where the target is not empty (an empty target has no overlap).

    The cross-entropy of a prompt is summed over voxels and divided by the size of its structure plus a share of the
    patch, BCE = sum_v bce(v) / (|T| + share * N). Its plain mean over a patch would give a parotid gland, a
    five-hundredth of a patch, a five-hundredth of the say of a lung. All voxels of a prompt keep equal weights, so
    probabilities stay calibrated.

    Args:
        logits: (B, P, D, H, W).
        target: (B, P, D, H, W) in {0, 1}.
        valid: (B, P) bool, False for padding prompts.
        background_share: of the patch's N voxels that is added to the size of a structure.
    """
    target = target.to(logits.dtype)
    voxels = (2, 3, 4)
    probability = logits.sigmoid()
    positives = target.sum(voxels)
    bce_each = F.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(voxels)
    bce = mean_of_patches(bce_each / (positives + background_share * logits[0, 0].numel()), valid)
    dice_each = (2.0 * (probability * target).sum(voxels) + 1.0) / (probability.sum(voxels) + positives + 1.0)
    counted = valid & (positives > 0)
    dice = mean_of_patches(1.0 - dice_each, counted)
    nan = torch.full_like(dice_each, torch.nan)
    return SegmentationLoss(bce, dice, torch.where(counted, dice_each, nan).detach())


def mean_of_patches(values: Tensor, counted: Tensor) -> Tensor:
    """Mean over patches of the mean over each patch's counted prompts; a patch without any has the mean 0.

    Every patch has the same say, however many prompts it was asked: so the mean over the processes of a distributed
    run, each with its patches, is the mean over all patches.

    Args:
        values: (B, P), finite where counted.
        counted: (B, P) bool.
    """
    kept = torch.where(counted, values, torch.zeros_like(values))
    return (kept.sum(1) / counted.sum(1).clamp(min=1)).mean()


def presence_loss(logits: Tensor, voxel_counts: Tensor, valid: Tensor, min_voxels: int = 8) -> Tensor:
    """Is the structure in the tile?  Tiles that hold only a sliver of it (1..min_voxels-1) are not asked.

    Args:
        logits: (B, P) presence logits.
        voxel_counts: (B, P) target voxels in the tile.
        valid: (B, P) bool.
        min_voxels: voxels from which on a structure counts as present.
    """
    decided = valid & ((voxel_counts == 0) | (voxel_counts >= min_voxels))
    each = F.binary_cross_entropy_with_logits(logits, (voxel_counts > 0).to(logits.dtype), reduction="none")
    return mean_of_patches(each, decided)
