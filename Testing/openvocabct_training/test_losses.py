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
    loss = segmentation_loss(logits, target, valid, background_share=0.02)
    dice_of = DiceLoss(sigmoid=True, smooth_nr=1.0, smooth_dr=1.0, reduction="none")
    bce, dice = [], []
    for b in range(2):
        asked = [p for p in range(4) if valid[b, p]]
        shares = [float(target[b, p].double().mean()) + 0.02 for p in asked]
        means = [F.binary_cross_entropy(logits[b, p].sigmoid(), target[b, p].double()) for p in asked]
        bce.append(torch.stack([mean / share for mean, share in zip(means, shares, strict=True)]).mean())
        each = {
            p: dice_of(logits[b, p][None, None], target[b, p][None, None].double()).squeeze()
            for p in asked
            if target[b, p].any()
        }
        dice.append(torch.stack(list(each.values())).mean())
        for p, value in each.items():
            torch.testing.assert_close(loss.per_prompt_dice[b, p], 1.0 - value)
    torch.testing.assert_close(loss.bce, torch.stack(bce).mean())
    torch.testing.assert_close(loss.dice, torch.stack(dice).mean())


def test_every_patch_has_the_same_say() -> None:
    logits, target, valid = case()
    target[1, :3] = False
    valid[1] = torch.tensor([True, False, True, False])  # one patch with two prompts and no structure
    counts = target.sum((2, 3, 4))
    presence = torch.randn(2, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    together = segmentation_loss(logits, target, valid)
    apart = [segmentation_loss(logits[i : i + 1], target[i : i + 1], valid[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(together.bce, (apart[0].bce + apart[1].bce) / 2)
    torch.testing.assert_close(together.dice, (apart[0].dice + apart[1].dice) / 2)
    each = [presence_loss(presence[i : i + 1], counts[i : i + 1], valid[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(presence_loss(presence, counts, valid), (each[0] + each[1]) / 2)


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
    each = F.binary_cross_entropy(asked.sigmoid(), present, reduction="none")
    expected = (each[:3].mean() + each[3:].mean()) / 2
    torch.testing.assert_close(presence_loss(logits, counts, valid), expected)


def test_presence_of_slivers_only_is_not_asked() -> None:
    logits = torch.randn(1, 2, requires_grad=True)
    loss = presence_loss(logits, torch.tensor([[3, 5]]), torch.ones(1, 2, dtype=torch.bool))
    assert loss == 0.0
    loss.backward()
    assert logits.grad is not None and (logits.grad == 0).all()
