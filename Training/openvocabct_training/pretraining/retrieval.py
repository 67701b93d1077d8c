"""Retrieval: does an image find its text among all texts, and a text its image?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

RANKS = (1, 5, 10)


def recall_at(similarity: Tensor, right: Tensor, ranks: Sequence[int] = RANKS) -> dict[int, float]:
    """Share of queries that have a right answer among their k most similar candidates.

    Args:
        similarity: (Q, C) of queries and candidates; of equal ones the wrong count first.
        right: (Q, C) bool, which candidates are right; queries without any are left out.
        ranks: the k.

    Returns:
        k -> share; NaN where no query has a right answer.
    """
    asked = right.any(1)
    if not asked.any():
        return dict.fromkeys(ranks, math.nan)
    similarity, right = similarity[asked].float(), right[asked]
    best = similarity.masked_fill(~right, -torch.inf).amax(1, keepdim=True)
    before = ((similarity >= best) & ~right).sum(1)
    return {k: float((before < k).float().mean()) for k in ranks}


def chance_at(right: Tensor, ranks: Sequence[int] = RANKS) -> dict[int, float]:
    """What ``recall_at`` is expected to give for random similarities: 1 - C(C-p, k) / C(C, k), p right of C.

    Args:
        right: (Q, C) bool.
        ranks: the k.
    """
    count = right.shape[1]
    positives = [int(row) for row in right.sum(1) if row > 0]
    if not positives:
        return dict.fromkeys(ranks, math.nan)
    return {
        k: sum(1.0 - math.comb(count - p, min(k, count)) / math.comb(count, min(k, count)) for p in positives)
        / len(positives)
        for k in ranks
    }


def retrieval(image: Tensor, text: Tensor, words: Tensor, prefix: str) -> dict[str, float]:
    """R@k both ways, with what chance would give.

    Args:
        image: (N, D) unit length.
        text: (N, D) unit length, those of the images.
        words: (N,) int64, equal for equal texts: any of them is right.
        prefix: of the names in the result.
    """
    similarity, right = image @ text.T, words[:, None] == words[None, :]
    chance = chance_at(right)
    result: dict[str, float] = {}
    for direction, scores in (("image_to_text", similarity), ("text_to_image", similarity.T)):
        for k, share in recall_at(scores, right).items():
            result[f"{prefix}/{direction}/R@{k}"] = share
    result |= {f"{prefix}/chance/R@{k}": share for k, share in chance.items()}
    return result
