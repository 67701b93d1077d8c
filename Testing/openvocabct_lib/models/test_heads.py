from __future__ import annotations

import math

import torch

from OpenVocabCTLib.models.heads import Queries, QueryHead, VoxelProjection, presence_logits, voxel_logits


def random_queries(prompts: int, dim: int) -> Queries:
    return Queries(torch.randn(prompts, dim), torch.randn(prompts), torch.randn(prompts, dim), torch.randn(prompts))


def test_voxel_logits_are_the_scaled_inner_product() -> None:
    embedding, queries = torch.randn(2, 8, 3, 4, 5), random_queries(6, 8)
    logits = voxel_logits(embedding, queries)
    assert logits.shape == (2, 6, 3, 4, 5)
    by_hand = (embedding[1, :, 2, 3, 4] * queries.voxel[5]).sum() / math.sqrt(8) + queries.voxel_bias[5]
    assert torch.allclose(logits[1, 5, 2, 3, 4], by_hand, atol=1e-5)


def test_prompts_do_not_influence_each_other() -> None:
    head = QueryHead(16, 32, 8).eval()
    text = torch.nn.functional.normalize(torch.randn(5, 16), dim=1)
    side = torch.tensor([0.0, 1.0, -1.0, 1.0, 0.0])
    together, alone = head(text, side), head(text[3:4], side[3:4])
    for many, single in zip(together, alone, strict=True):
        assert torch.allclose(many[3], single[0], atol=1e-6)


def test_presence_logits_have_one_row_a_token() -> None:
    assert presence_logits(torch.randn(7, 8), random_queries(3, 8)).shape == (7, 3)


def test_blending_embeddings_equals_blending_logits() -> None:
    """Late fusion: a convex blend commutes with the head (bias included)."""
    first, second, queries = torch.randn(8, 4, 4, 4), torch.randn(8, 4, 4, 4), random_queries(3, 8)
    weight = torch.rand(4, 4, 4)
    of_blend = voxel_logits(weight * first + (1 - weight) * second, queries)
    blend_of = weight * voxel_logits(first, queries) + (1 - weight) * voxel_logits(second, queries)
    assert torch.allclose(of_blend, blend_of, rtol=1e-4, atol=1e-5)


def test_the_last_image_side_operation_is_linear() -> None:
    projection = VoxelProjection(4, 8)
    hidden_a, hidden_b = torch.randn(1, 8, 2, 2, 2), torch.randn(1, 8, 2, 2, 2)
    linear = projection.linear
    assert linear.bias is None
    assert torch.allclose(linear(hidden_a + 2 * hidden_b), linear(hidden_a) + 2 * linear(hidden_b), atol=1e-5)


def test_the_side_parts_queries_that_the_text_encoder_cannot_part() -> None:
    head = QueryHead(16, 32, 8).eval()
    text = torch.nn.functional.normalize(torch.randn(1, 16), dim=1).expand(3, 16)
    left, right, none = head(text, torch.tensor([1.0, -1.0, 0.0])).voxel
    assert torch.allclose((left + right) / 2, none, atol=1e-5)
    assert left[-1] > 1.0  # the patient's left raises the logit of what is asked for on the left
    assert right[-1] == -left[-1]
    assert none[-1] == 0.0
