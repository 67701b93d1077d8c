"""Image-text contrastive losses with soft positives and opposite statements, of whole scans and of single organs.

For N pairs with unit-length image features x_i and text features t_j, and the logits l_ij = s <x_i, t_j> with a learned
scale s:

- InfoNCE, symmetric (CLIP, Radford et al. 2021, arXiv:2103.00020): the mean over both directions of
  -1/N sum_i sum_j p_ij log softmax_j(l_ij), where p_ij = w_ij / sum_j w_ij.  With w the identity it is CLIP's loss.
- SigLIP (Zhai et al. 2023, arXiv:2303.15343): -1/N sum_ij [w_ij log sigma(l_ij + b) + (1 - w_ij) log sigma(-l_ij - b)]
  with a learned bias b.

w_ij says how much text j is true of image i: 1 for its own text and for every text that says the same, in the words;
``normal_weight`` for two captions that both call the same organ normal, which differ in words only (false negatives, as
fVLM, Shui et al. 2025, arXiv:2501.14548, describes).  An image also has a negative of its own, the opposite of what
its text says, where there is one.

The multi-granular objective (Li et al. 2025, arXiv:2503.06030) adds the loss of the pairs (scan, report) and that of
the pairs (organ of a scan, its caption).
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from openvocabct_training.pretraining.gather import gathered

Variant = Literal["infonce", "siglip"]
NO_GROUP = -1
# CLIP's: a scale beyond 100 makes training unstable.
MAX_SCALE = 100.0
_INITIAL: dict[str, tuple[float, float]] = {"infonce": (1.0 / 0.07, 0.0), "siglip": (10.0, -10.0)}


class Pairs(NamedTuple):
    """Images and their texts.

    Attributes:
        image: (N, D) unit length.
        text: (N, D) unit length.
        valid: (N,) bool, False for padding.
        words: (N,) int64, equal for equal texts.
        normal: (N,) int64, equal for captions that call the same organ normal, ``NO_GROUP`` for others.
        opposite: (N, D) unit length, the opposite of the text; anything where there is none.
        opposed: (N,) bool, whether there is one.
    """

    image: Tensor
    text: Tensor
    valid: Tensor
    words: Tensor
    normal: Tensor
    opposite: Tensor
    opposed: Tensor

    def gather(self) -> Pairs:
        """Pairs of all processes; every process must have as many."""
        flags = gathered(torch.stack((self.valid, self.opposed)).T.long())
        return Pairs(
            gathered(self.image),
            gathered(self.text),
            flags[:, 0].bool(),
            gathered(self.words),
            gathered(self.normal),
            gathered(self.opposite),
            flags[:, 1].bool(),
        )


def truth(pairs: Pairs, normal_weight: float) -> Tensor:
    """(N, N) w_ij of the module's text; rows and columns of padding are 0."""
    same = pairs.words[:, None] == pairs.words[None, :]
    same |= torch.eye(len(pairs.words), dtype=torch.bool, device=same.device)
    normal = (pairs.normal[:, None] == pairs.normal[None, :]) & (pairs.normal[:, None] != NO_GROUP)
    weights = torch.where(same, 1.0, torch.where(normal, normal_weight, 0.0))
    return weights * (pairs.valid[:, None] & pairs.valid[None, :])


def info_nce(pairs: Pairs, scale: Tensor, normal_weight: float = 0.0) -> Tensor:
    """Symmetric InfoNCE with soft targets; 0 where no pair is valid.

    Args:
        pairs: N pairs; those of all processes.
        scale: factor s of the cosine similarities.
        normal_weight: w_ij of two captions that call the same organ normal.
    """
    weights = truth(pairs, normal_weight)
    logits = scale * pairs.image @ pairs.text.T
    own_opposite = scale * (pairs.image * pairs.opposite).sum(1, keepdim=True)
    own_opposite = own_opposite.masked_fill(~pairs.opposed[:, None], -torch.inf)
    hidden = ~pairs.valid
    to_text = torch.cat((logits.masked_fill(hidden[None, :], -torch.inf), own_opposite), dim=1)
    to_image = logits.T.masked_fill(hidden[None, :], -torch.inf)
    return 0.5 * (
        _cross_entropy(to_text, F.pad(weights, (0, 1)), pairs.valid) + _cross_entropy(to_image, weights.T, pairs.valid)
    )


def _cross_entropy(logits: Tensor, weights: Tensor, valid: Tensor) -> Tensor:
    rows, targets = logits[valid], weights[valid]
    if len(rows) == 0:
        return logits[:, :0].sum()  # 0, with a gradient of 0
    targets = targets / targets.sum(1, keepdim=True)
    # -inf of padding times a target of 0 would be no number.
    return -(torch.where(targets > 0, rows.log_softmax(1), 0.0) * targets).sum(1).mean()


def siglip(pairs: Pairs, scale: Tensor, bias: Tensor, normal_weight: float = 0.0) -> Tensor:
    """Pairwise sigmoid loss with soft targets; 0 where no pair is valid.

    Args:
        pairs: N pairs; those of all processes.
        scale: factor s of the cosine similarities.
        bias: b, added to them.
        normal_weight: w_ij of two captions that call the same organ normal.
    """
    weights = truth(pairs, normal_weight)
    logits = scale * pairs.image @ pairs.text.T + bias
    each = F.binary_cross_entropy_with_logits(logits, weights, reduction="none")
    asked = pairs.valid[:, None] & pairs.valid[None, :]
    opposite = F.softplus(scale * (pairs.image * pairs.opposite).sum(1) + bias)
    total = (each * asked).sum() + (opposite * (pairs.opposed & pairs.valid)).sum()
    return total / pairs.valid.sum().clamp(min=1)


class ContrastiveLoss(nn.Module):
    """One of the losses, with its learned scale and bias; pairs of all processes are each other's negatives.

    Args:
        variant: which.
        normal_weight: w_ij of two captions that call the same organ normal.
    """

    def __init__(self, variant: Variant = "infonce", normal_weight: float = 0.5) -> None:
        super().__init__()
        scale, bias = _INITIAL[variant]
        self.variant, self.normal_weight = variant, normal_weight
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.bias = nn.Parameter(torch.tensor(bias), requires_grad=variant == "siglip")

    @property
    def scale(self) -> Tensor:
        """Scale s, at most ``MAX_SCALE``; beyond it the parameter has no gradient and so goes no further."""
        return self.log_scale.clamp(max=math.log(MAX_SCALE)).exp()

    def forward(self, pairs: Pairs) -> Tensor:
        """Loss of the pairs of all processes, the same in each of them."""
        everyone = pairs.gather()
        if self.variant == "siglip":
            return siglip(everyone, self.scale, self.bias, self.normal_weight)
        return info_nce(everyone, self.scale, self.normal_weight)
