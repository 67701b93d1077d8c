from __future__ import annotations

import pytest
import torch
from monai.losses import DiceLoss
from torch import Tensor
from torch.nn import functional as F

from openvocabct_training.losses import presence_loss, segmentation_loss


def case(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Two samples of four prompts; the last is padding in the first sample, and one target is empty."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 4, 6, 7, 8, generator=generator, dtype=torch.float64)
    target = torch.rand(2, 4, 6, 7, 8, generator=generator) < 0.3
    target[1, 2] = False
    valid = torch.tensor([[True, True, True, False], [True, True, True, True]])
    return logits, target, valid


def test_against_independent_implementations() -> None:
    logits, target, valid = case()
    loss = segmentation_loss(logits, target, valid)
    wanted = [(b, p) for b in range(2) for p in range(4) if valid[b, p]]
    sums = [F.binary_cross_entropy(logits[i].sigmoid(), target[i].double(), reduction="sum") for i in wanted]
    sizes = [target[i].sum() + 0.01 * target[i].numel() for i in wanted]
    bce = torch.stack([total / size for total, size in zip(sums, sizes, strict=True)]).mean()
    dice = DiceLoss(sigmoid=True, smooth_nr=1.0, smooth_dr=1.0, reduction="none")
    with_target = [i for i in wanted if target[i].any()]
    each = torch.stack([dice(logits[i][None, None], target[i][None, None].double()).squeeze() for i in with_target])
    torch.testing.assert_close(loss.bce, bce)
    torch.testing.assert_close(loss.dice, each.mean())
    for index, value in zip(with_target, each, strict=True):
        torch.testing.assert_close(loss.per_prompt_dice[index], 1.0 - value)


def test_no_dice_where_the_target_is_empty_or_the_prompt_is_padding() -> None:
    logits, target, valid = case()
    nan = segmentation_loss(logits, target, valid).per_prompt_dice.isnan()
    assert nan.nonzero().tolist() == [[0, 3], [1, 2]]


def test_only_empty_targets_give_no_dice_but_a_gradient() -> None:
    logits = torch.randn(1, 2, 4, 4, 4).requires_grad_()
    loss = segmentation_loss(logits, torch.zeros(1, 2, 4, 4, 4, dtype=torch.bool), torch.ones(1, 2, dtype=torch.bool))
    assert loss.dice == 0.0
    (loss.bce + loss.dice).backward()
    assert logits.grad is not None and (logits.grad > 0).all()


@pytest.mark.parametrize("value", [float("nan"), 1e4, -1e4])
def test_padding_changes_nothing_whatever_it_holds(value: float) -> None:
    logits, target, valid = case()
    expected = segmentation_loss(logits, target, valid)
    logits[0, 3], target[0, 3] = value, True
    changed = segmentation_loss(logits, target, valid)
    assert (changed.bce, changed.dice) == (expected.bce, expected.dice)


def test_padding_gets_no_gradient() -> None:
    logits, target, valid = case()
    logits.requires_grad_()
    presence = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    loss = segmentation_loss(logits, target, valid)
    (loss.bce + loss.dice + presence_loss(presence, target.sum((2, 3, 4)), valid)).backward()
    assert logits.grad is not None and presence.grad is not None
    assert (logits.grad[~valid] == 0).all() and (presence.grad[~valid] == 0).all()
    assert (logits.grad[valid] != 0).all() and (presence.grad[valid] != 0).all()


def test_a_perfect_answer_costs_nothing() -> None:
    _, target, valid = case()
    loss = segmentation_loss(target.double() * 200.0 - 100.0, target, valid)
    assert loss.bce < 1e-6
    assert loss.dice < 1e-6


def test_presence_against_torch_without_slivers() -> None:
    logits = torch.tensor([[0.3, -1.2, 2.0, 0.7], [1.0, -0.5, 0.1, 9.0]])
    counts = torch.tensor([[0, 500, 3, 0], [8, 7, 0, 900]])
    valid = torch.tensor([[True, True, True, True], [True, True, True, False]])
    asked, present = torch.tensor([0.3, -1.2, 0.7, 1.0, 0.1]), torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0])
    expected = F.binary_cross_entropy(asked.sigmoid(), present)
    torch.testing.assert_close(presence_loss(logits, counts, valid), expected)


def test_presence_of_slivers_only_is_not_asked() -> None:
    logits = torch.randn(1, 2, requires_grad=True)
    loss = presence_loss(logits, torch.tensor([[3, 5]]), torch.ones(1, 2, dtype=torch.bool))
    assert loss == 0.0
    loss.backward()
    assert logits.grad is not None and (logits.grad == 0).all()
