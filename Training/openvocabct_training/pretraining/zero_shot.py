"""Zero-shot abnormalities in the protocol of CT-RATE: every label is a pair of sentences, of which the scan likes one.

After CT-CLIP (Hamamci et al. 2024, arXiv:2403.17834): 18 labels, the probability of "... is present." against "... is
not present." by a softmax of the two similarities, and the area under the ROC curve of each label and their mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

CT_RATE_LABELS = (
    "Medical material", "Arterial wall calcification", "Cardiomegaly", "Pericardial effusion",
    "Coronary artery wall calcification", "Hiatal hernia", "Lymphadenopathy", "Emphysema", "Atelectasis",
    "Lung nodule", "Lung opacity", "Pulmonary fibrotic sequela", "Pleural effusion", "Mosaic attenuation pattern",
    "Peribronchial thickening", "Consolidation", "Bronchiectasis", "Interlobular septal thickening",
)  # fmt: skip


def sentences(label: str) -> tuple[str, str]:
    """The two statements about a label."""
    return f"{label} is present.", f"{label} is not present."


def probabilities(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    """(N, L) probability that each label is present.

    Args:
        image: (N, D) unit length.
        text: (L, 2, D) unit length: present, not present.
        scale: of the similarities.
    """
    return (scale * torch.einsum("nd,lsd->nls", image, text)).softmax(2)[..., 0]


def auroc(scores: Tensor, truth: Tensor) -> float:
    """Area under the ROC curve: chance that a positive scores above a negative, ties counted half; NaN without either.

    Args:
        scores: (N,).
        truth: (N,) 1, 0, or NaN where nothing is known.
    """
    positive, negative = scores[truth == 1], scores[truth == 0]
    if len(positive) == 0 or len(negative) == 0:
        return math.nan
    order = torch.cat((positive, negative)).double()
    _, place, counts = torch.unique(order, return_inverse=True, return_counts=True)
    # Mean rank of equal scores (Mann-Whitney).
    ranks = (counts.cumsum(0).double() - (counts.double() - 1) / 2.0)[place]
    n = len(positive)
    return float((ranks[:n].sum() - n * (n + 1) / 2.0) / (n * len(negative)))


def label_table(labels: Sequence[Mapping[str, int]], names: Sequence[str] = CT_RATE_LABELS) -> Tensor:
    """(N, L) 1, 0, or NaN where nothing is known."""
    return torch.tensor([[float(row.get(name, math.nan)) for name in names] for row in labels]).reshape(-1, len(names))


def zero_shot(scores: Tensor, truth: Tensor, names: Sequence[str] = CT_RATE_LABELS) -> dict[str, float]:
    """AUROC of every label that has positives and negatives, and their mean.

    Args:
        scores: (N, L).
        truth: (N, L), see ``label_table``.
        names: of the labels.
    """
    each = {name: auroc(scores[:, column], truth[:, column]) for column, name in enumerate(names)}
    known = {name: value for name, value in each.items() if not math.isnan(value)}
    if not known:
        return {}
    named = {f"zero_shot/{name}": value for name, value in known.items()}
    return {"zero_shot/mean_auroc": sum(known.values()) / len(known), **named}
