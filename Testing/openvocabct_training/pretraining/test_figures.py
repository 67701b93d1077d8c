"""Retrieval and zero-shot figures against slow or independent references."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torchmetrics.functional.classification import binary_auroc

from openvocabct_training.pretraining.retrieval import chance_at, recall_at, retrieval
from openvocabct_training.pretraining.validation import organ_figures
from openvocabct_training.pretraining.zero_shot import (
    CT_RATE_LABELS,
    auroc,
    label_table,
    probabilities,
    sentences,
    zero_shot,
)


def test_recall() -> None:
    similarity = torch.tensor([[0.9, 0.1, 0.2], [0.8, 0.3, 0.9], [0.5, 0.5, 0.5]])
    assert recall_at(similarity, torch.eye(3, dtype=torch.bool), (1, 2, 3)) == pytest.approx(
        {1: 1 / 3, 2: 1 / 3, 3: 1.0}
    )
    # Where all look alike, nothing is found: ties count against.
    assert recall_at(torch.zeros(4, 4), torch.eye(4, dtype=torch.bool), (1,)) == {1: 0.0}
    assert math.isnan(recall_at(similarity, torch.zeros(3, 3, dtype=torch.bool), (1,))[1])


def test_chance_is_the_mean_over_all_orders() -> None:
    right = torch.tensor([[True, True, False, False], [False, True, False, False]])
    found = chance_at(right, (1, 2, 4))
    for k in (1, 2, 4):
        orders = list(itertools.permutations(range(4)))
        means = [sum(bool(row[list(order[:k])].any()) for order in orders) / len(orders) for row in right]
        assert found[k] == pytest.approx(sum(means) / 2)


def test_equal_texts_are_all_right() -> None:
    image = F.normalize(torch.randn(4, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    words = torch.tensor([5, 5, 6, 7])
    text = image[[1, 0, 2, 3]]  # the first two are exchanged, and say the same
    figures = retrieval(image, text, words, "x")
    assert figures["x/image_to_text/R@1"] == figures["x/text_to_image/R@1"] == 1.0
    assert figures["x/chance/R@1"] == pytest.approx((0.5 + 0.5 + 0.25 + 0.25) / 4)


def test_organs_among_their_like() -> None:
    """Features that tell organs apart and patients not: easy among all captions, chance among the same organ."""
    patients, organs = 6, 2
    image = torch.eye(organs).repeat(patients, 1)
    noise = 1e-3 * torch.randn(len(image), organs, generator=torch.Generator().manual_seed(0))
    places = torch.arange(organs).repeat(patients)
    valid = torch.ones(len(image), dtype=torch.bool)
    figures = organ_figures(image + noise, image, valid, torch.arange(len(image)), places)
    assert figures["same_organ/chance/R@1"] == pytest.approx(1 / patients)
    assert figures["organ/chance/R@1"] == pytest.approx(1 / len(image))
    assert figures["organ/image_to_text/R@10"] == 1.0  # its own organ's captions come first
    assert figures["same_organ/image_to_text/R@1"] == 0.0  # which of them is its own it cannot tell
    assert organ_figures(image, image, ~valid, places, places) == {}


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_auroc_is_that_of_torchmetrics(rows: list[tuple[int, bool]]) -> None:
    scores = torch.tensor([score / 5 for score, _ in rows])
    truth = torch.tensor([float(true) for _, true in rows])
    if len(set(truth.tolist())) < 2:
        assert math.isnan(auroc(scores, truth))
    else:
        assert auroc(scores, truth) == pytest.approx(float(binary_auroc(scores, truth.long())), abs=1e-5)


def test_the_protocol_of_ct_rate() -> None:
    assert len(CT_RATE_LABELS) == len(set(CT_RATE_LABELS)) == 18
    assert sentences("Emphysema") == ("Emphysema is present.", "Emphysema is not present.")
    text = F.normalize(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), dim=-1)
    image = F.normalize(torch.tensor([[1.0, 0.2], [0.2, 1.0]]), dim=-1)
    scores = probabilities(image, text, torch.tensor(5.0))
    assert scores.shape == (2, 1)
    assert scores[0] > 0.5 > scores[1]
    truth = label_table([{"Emphysema": 1}, {"Emphysema": 0}, {}], ("Emphysema", "Atelectasis"))
    assert truth.shape == (3, 2)
    assert truth[2].isnan().all()
    figures = zero_shot(torch.cat((scores, scores[:1])).expand(3, 2), truth, ("Emphysema", "Atelectasis"))
    assert figures == {"zero_shot/Emphysema": 1.0, "zero_shot/mean_auroc": 1.0}
