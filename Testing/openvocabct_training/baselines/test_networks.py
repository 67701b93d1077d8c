from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from openvocabct_training.baselines.click_heads import CLICK_HEADS, ClickHeadName, ClickQueryHead
from openvocabct_training.baselines.training import choose_rows
from openvocabct_training.baselines.universal_model import TEMPLATE, DynamicHead, UniversalModelSegmentation
from openvocabct_training.clicks import centre_most_voxel
from openvocabct_training.losses import PRIOR_LOGIT
from OpenVocabCTLib.errors import InputError
from Testing.openvocabct_training.baselines.tiny_baselines import (
    ALL,
    CONCEPTS,
    PREPROCESSING,
    dyn_unet,
    one_sample,
    universal,
    visual,
)
from Testing.openvocabct_training.toys import TEXT_DIM, HashEncoder


@pytest.mark.parametrize("name", ALL)
def test_one_step(name: str) -> None:
    torch.manual_seed(0)
    module, sample = ALL[name](), one_sample()
    step = module._step(sample)
    step.loss.backward()
    assert step.loss.isfinite() and step.logits.shape == sample.target.shape
    # What no row is about, and padding, is not asked; both parotids are.
    assert step.asked.tolist() == [[True, True, False, False]]
    assert step.per_prompt_dice.isnan().tolist() == [[False, False, True, True]]
    # A distributed run waits for every gradient.
    without = [key for key, weight in module.named_parameters() if weight.requires_grad and weight.grad is None]
    assert without == []


@pytest.mark.parametrize("name", ["cnn", "vit", "universal", "visual"])
def test_nothing_is_likely_before_anything_is_learned(name: str) -> None:
    torch.manual_seed(0)
    module, sample = ALL[name](), one_sample()
    with torch.no_grad():
        for logits in module.answers(sample):
            # Only what has a row: a hundredth of the patch, give or take what random weights say.
            assert float(logits[:, :2].mean()) == pytest.approx(PRIOR_LOGIT, abs=0.7)


@pytest.mark.parametrize("name", ["cnn", "visual"])
def test_what_is_not_annotated_has_no_say(name: str) -> None:
    torch.manual_seed(0)
    module, sample = ALL[name](), one_sample()
    changed = sample.target.clone()
    changed[:, 3] = True
    if name == "cnn":
        changed[:, 2] = True
    with torch.no_grad():
        losses = [float(module._step(one).loss) for one in (sample, sample._replace(target=changed))]
    assert losses[0] == losses[1]


def test_a_patch_without_anything_to_click_on_gives_no_loss_but_gradients() -> None:
    module, sample = visual(), one_sample()
    step = module._step(sample._replace(target=torch.zeros_like(sample.target)))
    step.loss.backward()
    assert step.loss == 0.0
    assert all(weight.grad is not None for weight in module.parameters() if weight.requires_grad)


def test_further_outputs_are_supervised_in_training_only() -> None:
    module, sample = dyn_unet(), one_sample()
    with torch.no_grad():
        assert len(module.answers(sample)) == 3
        assert len(module.eval().answers(sample)) == 1


def test_rows_are_chosen_for_every_patch() -> None:
    logits = torch.arange(6.0).reshape(2, 3, 1, 1, 1)
    chosen = choose_rows(logits, torch.tensor([[2, -1], [1, 1]]))
    assert chosen.flatten(1).tolist() == [[2.0, 0.0], [4.0, 4.0]]


def test_a_closed_vocabulary_needs_concepts() -> None:
    with pytest.raises(InputError, match="closed vocabulary has no concepts"):
        UniversalModelSegmentation(PREPROCESSING, ())
    with pytest.raises(InputError, match="no network size 'XXL'"):
        UniversalModelSegmentation(PREPROCESSING, CONCEPTS, size="XXL")


# CLIP-Driven Universal Model


def test_dynamic_heads_are_three_convolutions_of_their_own() -> None:
    torch.manual_seed(0)
    head = DynamicHead(5, 6, TEXT_DIM, hidden=7, width=3)
    features, bottleneck, text = torch.randn(2, 5, 2, 3, 4), torch.randn(2, 6, 2, 2, 1), torch.randn(2, 4, TEXT_DIM)
    logits = head(features, bottleneck, text)
    for patch in range(2):
        pooled = head.pooled(F.adaptive_avg_pool3d(bottleneck[patch], 1).flatten())
        for one in range(4):
            joined = torch.cat((head.text(text[patch, one] * TEXT_DIM**0.5), pooled))
            w1, b1, w2, b2, w3, b3 = head.controller(joined).split((9, 3, 9, 3, 3, 1))
            x = head.reduce(features[patch : patch + 1])
            x = F.conv3d(x, w1.reshape(3, 3, 1, 1, 1), b1).relu()
            x = F.conv3d(x, w2.reshape(3, 3, 1, 1, 1), b2).relu()
            x = F.conv3d(x, w3.reshape(1, 3, 1, 1, 1), b3)
            torch.testing.assert_close(logits[patch, one], x[0, 0], rtol=1e-4, atol=1e-5)


def test_all_classes_at_once_are_the_classes_one_by_one() -> None:
    torch.manual_seed(0)
    module, sample = universal().eval(), one_sample((2, 0, 1))
    with torch.no_grad():
        everything = module.class_logits(module.image(sample.hu, sample.leftness))
        asked = module.answers(sample)[0]
    torch.testing.assert_close(asked[:, :3], everything[:, [2, 0, 1]], rtol=1e-4, atol=1e-5)


def test_class_names_are_embedded_once(encoder: HashEncoder) -> None:
    module = UniversalModelSegmentation(PREPROCESSING, CONCEPTS, size="tiny", text_dim=TEXT_DIM)
    for _ in range(2):
        module.setup("fit")
    assert encoder.encoded[0] == TEMPLATE.format("left parotid gland") and len(encoder.encoded) == len(CONCEPTS)
    assert module.class_text.shape == (len(CONCEPTS), TEXT_DIM)


# Clicks


def test_a_click_asks_with_the_feature_where_it_is_and_the_distance_in_millimetres() -> None:
    torch.manual_seed(0)
    head = ClickQueryHead(5, (2.0, 3.0, 4.0), width=6)
    features, clicks = torch.randn(1, 5, 4, 6, 8), torch.tensor([[1, 2, 3], [3, 0, 7]])
    logits = head(features, clicks)
    for click, answer in zip(clicks.tolist(), logits, strict=True):
        said = head.query(features[0, :, *click])
        for voxel in ((0, 0, 0), (1, 2, 3), (3, 5, 7)):
            embedded = head.embed.weight[:, :, 0, 0, 0] @ features[0, :, *voxel] + head.embed.bias
            away_mm = math.dist(*((i * 2.0, j * 3.0, k * 4.0) for i, j, k in (click, voxel)))
            expected = said[:6] @ embedded - F.softplus(said[6]) * away_mm / 100.0 + said[7]
            assert float(answer[voxel]) == pytest.approx(float(expected), abs=1e-4)


def test_the_click_says_which_of_two_alike_structures() -> None:
    torch.manual_seed(0)
    head = ClickQueryHead(2, (10.0, 10.0, 10.0))
    masks = torch.zeros(2, 6, 6, 20, dtype=torch.bool)
    masks[0, 2:5, 2:5, 2:5] = masks[1, 2:5, 2:5, 14:17] = True
    features, clicks = torch.stack((masks.any(0), ~masks.any(0))).float()[None], torch.tensor([[3, 3, 3], [3, 3, 15]])
    optimiser = torch.optim.Adam(head.parameters(), 1e-2)
    for _ in range(150):
        optimiser.zero_grad()
        F.binary_cross_entropy_with_logits(head(features, clicks), masks.float()).backward()
        optimiser.step()
    assert torch.equal(head(features, clicks) > 0, masks)
    assert torch.equal(head(features, clicks.flip(0)) > 0, masks.flip(0))


@pytest.mark.parametrize("head", CLICK_HEADS)
def test_every_head_takes_a_step(head: ClickHeadName) -> None:
    torch.manual_seed(0)
    module = visual(head=head)
    step = module._step(one_sample())
    step.loss.backward()
    assert step.loss.isfinite()
    assert all(weight.grad is not None for weight in module.parameters() if weight.requires_grad)


def test_an_unknown_head_is_named() -> None:
    with pytest.raises(InputError, match="no head 'box'"):
        visual(head="box")


def test_the_centre_of_a_ball() -> None:
    index = np.stack(np.meshgrid(*(np.arange(side) for side in (20, 30, 40)), indexing="ij"), -1)
    ball = (((index - (8, 15, 27)) * (2.0, 1.0, 1.0)) ** 2).sum(-1) < 49
    ball[1:3, 1:3, 1:3] = True
    assert centre_most_voxel(ball, (2.0, 1.0, 1.0)) == (8, 15, 27)


def test_distances_are_in_millimetres() -> None:
    mask = np.zeros((1, 9, 40), bool)
    mask[0, :, :9] = True  # a square of voxels, and a longer bar that is thin
    mask[0, 3:6, 9:] = True
    first = centre_most_voxel(mask, (1000.0, 1.0, 1.0))
    assert (first[1], first[2]) == (4, 4)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_the_click_is_inside(seed: int) -> None:
    generator = np.random.default_rng(seed)
    mask = generator.random((4, 5, 6)) < 0.2
    mask[tuple(generator.integers((4, 5, 6)))] = True
    assert mask[centre_most_voxel(mask, (3.0, 1.0, 2.0))]


def test_training_clicks_are_in_the_structure_and_the_same_again() -> None:
    module, sample = visual(), one_sample()
    mask = sample.target[0, 0]
    clicks = [module._choose_click(mask) for _ in range(2)]
    assert clicks[0] == clicks[1] and mask[clicks[0]]
    module.eval()
    assert module._choose_click(mask) == centre_most_voxel(mask.numpy(), (3.0, 3.0, 3.0))
