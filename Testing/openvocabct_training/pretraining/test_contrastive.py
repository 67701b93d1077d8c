from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import multiprocessing
from torch.nn import functional as F

from openvocabct_training.pretraining.contrastive import MAX_SCALE, ContrastiveLoss, Pairs, info_nce, siglip, truth
from Testing.openvocabct_training.pretraining.toy_pairs import gradients, result, toy_pairs, unit

SCALE, BIAS, NORMAL = torch.tensor(3.0), torch.tensor(-1.5), 0.4


def plain(count: int) -> Pairs:
    """CLIP's pairs: every text is true of its own image only."""
    nothing = torch.zeros(count, dtype=torch.bool)
    return Pairs(
        unit(count, 5, seed=1), unit(count, 5, seed=2), ~nothing, torch.arange(count), torch.full((count,), -1),
        torch.zeros(count, 5, dtype=torch.double), nothing,
    )  # fmt: skip


def slow_truth(pairs: Pairs, i: int, j: int) -> float:
    if not (pairs.valid[i] and pairs.valid[j]):
        return 0.0
    if i == j or pairs.words[i] == pairs.words[j]:
        return 1.0
    return NORMAL if pairs.normal[i] == pairs.normal[j] != -1 else 0.0


def dot(one: torch.Tensor, other: torch.Tensor) -> float:
    return sum(float(a) * float(b) for a, b in zip(one, other, strict=True))


def slow_info_nce(pairs: Pairs) -> float:
    rows = [i for i in range(len(pairs.image)) if pairs.valid[i]]
    total = 0.0
    for direction in ("to_text", "to_image"):
        for i in rows:
            ends = {j: (i, j) if direction == "to_text" else (j, i) for j in rows}
            logits = {j: 3.0 * dot(pairs.image[a], pairs.text[b]) for j, (a, b) in ends.items()}
            below = sum(math.exp(value) for value in logits.values())
            if direction == "to_text" and pairs.opposed[i]:
                below += math.exp(3.0 * dot(pairs.image[i], pairs.opposite[i]))
            weights = {j: slow_truth(pairs, i, j) for j in rows}
            share = sum(weights.values())
            total -= 0.5 * sum(w / share * (logits[j] - math.log(below)) for j, w in weights.items()) / len(rows)
    return total


def slow_siglip(pairs: Pairs) -> float:
    rows = [i for i in range(len(pairs.image)) if pairs.valid[i]]

    def log_sigmoid(value: float) -> float:
        return -math.log(1.0 + math.exp(-value))

    total = 0.0
    for i in rows:
        for j in rows:
            logit, true = 3.0 * dot(pairs.image[i], pairs.text[j]) - 1.5, slow_truth(pairs, i, j)
            total -= true * log_sigmoid(logit) + (1 - true) * log_sigmoid(-logit)
        if pairs.opposed[i]:
            total -= log_sigmoid(-(3.0 * dot(pairs.image[i], pairs.opposite[i]) - 1.5))
    return total / len(rows)


def test_losses_are_those_of_the_slow_reference() -> None:
    pairs = toy_pairs()
    assert float(info_nce(pairs, SCALE, NORMAL)) == pytest.approx(slow_info_nce(pairs), rel=1e-6)
    assert float(siglip(pairs, SCALE, BIAS, NORMAL)) == pytest.approx(slow_siglip(pairs), rel=1e-6)


def test_without_soft_positives_it_is_clips_cross_entropy() -> None:
    pairs = plain(5)
    logits, labels = SCALE * pairs.image @ pairs.text.T, torch.arange(5)
    clip = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
    assert float(info_nce(pairs, SCALE)) == pytest.approx(float(clip), rel=1e-6)


def test_truth() -> None:
    weights = truth(toy_pairs(), NORMAL)
    assert weights[0, 3] == weights[3, 0] == 1.0  # the same words
    assert weights[1, 4] == pytest.approx(NORMAL)  # both normal
    assert weights[5].sum() == weights[:, 5].sum() == 0.0  # padding
    assert weights[0, 1] == 0.0


def test_an_opposite_statement_costs_what_it_resembles() -> None:
    pairs = plain(4)
    like, unlike = pairs.image.clone(), -pairs.image
    opposed = torch.ones(4, dtype=torch.bool)
    for loss in (lambda p: info_nce(p, SCALE), lambda p: siglip(p, SCALE, BIAS)):
        near, far = (loss(pairs._replace(opposite=one, opposed=opposed)) for one in (like, unlike))
        assert near > far > loss(pairs)


def test_nothing_valid_is_no_loss_and_has_a_gradient() -> None:
    pairs = toy_pairs()
    image = pairs.image.clone().requires_grad_(True)
    empty = pairs._replace(image=image, valid=torch.zeros(6, dtype=torch.bool))
    for loss in (info_nce(empty, SCALE), siglip(empty, SCALE, BIAS)):
        assert float(loss.detach()) == 0.0
        loss.backward()
    assert image.grad is not None
    assert torch.isfinite(image.grad).all()


def test_the_scale_is_learned_and_clamped() -> None:
    loss = ContrastiveLoss("infonce").double()
    assert float(loss.scale.detach()) == pytest.approx(1 / 0.07)
    loss(toy_pairs()).backward()
    assert loss.log_scale.grad is not None
    assert loss.log_scale.grad != 0
    with torch.no_grad():
        loss.log_scale.fill_(20.0)
    assert float(loss.scale.detach()) == pytest.approx(MAX_SCALE)


def test_two_processes_do_what_one_does_with_all_scans(tmp_path: Path) -> None:
    """Also in chunks: gradients are those of the whole batch, whether it is cut up, or dealt out and cut up."""
    outputs = {}
    for name, processes, chunk in (("alone", 1, 0), ("chunks", 1, 1), ("together", 2, 1)):
        output = tmp_path / f"{name}.pt"
        arguments = (processes, chunk, str(tmp_path / f"meeting_{name}"), str(output))
        if processes == 1:
            threads = torch.get_num_threads()
            gradients(0, *arguments)
            torch.set_num_threads(threads)
        else:
            multiprocessing.spawn(gradients, arguments, nprocs=processes)
        outputs[name] = result(output)
    alone = outputs["alone"]
    assert len(alone["gradients"]) > 20
    # Biases before a normalisation have no true gradient, only noise: what counts is the size of the others.
    largest = max(float(gradient.abs().max()) for gradient in alone["gradients"].values())
    for other in (outputs["chunks"], outputs["together"]):
        assert other["loss"] == pytest.approx(alone["loss"], rel=1e-5)
        assert other["gradients"].keys() == alone["gradients"].keys()
        for name, gradient in alone["gradients"].items():
            assert float((other["gradients"][name] - gradient).abs().max()) < 1e-3 * largest, name
