"""Comparing classes piece by piece gives what comparing them all at once gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.inference.embedding import VoxelEmbedding
from OpenVocabCTLib.inference.tables import classes
from OpenVocabCTLib.inference.tables.classes import Contest
from OpenVocabCTLib.inference.tables.preprocessing import NetworkGrid
from OpenVocabCTLib.models.class_table import ClassTable

SHAPE, CLASSES, CHANNELS = (7, 6, 5), 6, 4


@pytest.fixture(params=[1 << 24, 100], ids=["at once", "in pieces"])
def example(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[VoxelEmbedding, ClassTable]:
    monkeypatch.setattr(classes, "_CHUNK_NUMBERS", request.param)
    torch.manual_seed(2)
    geometry = Geometry(SHAPE, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    everything = (slice(0, 7), slice(0, 6), slice(0, 5))
    grid = NetworkGrid(geometry, SHAPE, (1.0, 1.0, 1.0), np.eye(4), None, everything)
    values = torch.randn(CHANNELS, *SHAPE).half()
    embedding = VoxelEmbedding(values, (0, 0, 0), grid, torch.zeros(0, 1), torch.zeros(0, 3), (8, 8, 8), 0.0)
    vectors = torch.randn(CLASSES, CHANNELS)
    vectors[4] = 0.0  # never the best
    biases = torch.zeros(CLASSES)
    biases[4] = -50.0
    return embedding, ClassTable(vectors, biases)


def all_scores(embedding: VoxelEmbedding, table: ClassTable) -> torch.Tensor:
    return torch.einsum("ce,edhw->cdhw", table.vectors, embedding.values.float()) + table.biases[:, None, None, None]


def test_winners(example: tuple[VoxelEmbedding, ClassTable]) -> None:
    best, expected = classes.winners(*example), all_scores(*example)
    assert np.array_equal(best.labels, expected.argmax(0).numpy())
    assert best.boxes[0] is None and best.boxes[4] is None and best.probability[4] == 0.0
    for index in (1, 2, 3, 5):
        where = np.argwhere(best.labels == index)
        assert [(part.start, part.stop - 1) for part in best.boxes[index] or ()] == [
            (low, high) for low, high in zip(where.min(0), where.max(0), strict=True)
        ]
        top = expected[index].masked_fill(torch.from_numpy(best.labels != index), -torch.inf).argmax()
        probability = expected.flatten(1)[:, top].softmax(0)[index].item()
        assert best.probability[index] == pytest.approx(probability, rel=1e-3)


def test_masks_and_probabilities(example: tuple[VoxelEmbedding, ClassTable]) -> None:
    embedding, table = example
    best, expected = classes.winners(embedding, table), all_scores(embedding, table)
    for index in (1, 2, 3, 5):
        box = best.boxes[index]
        assert box is not None
        rows = classes.rivals(best, box, index)
        mask = classes.native_mask(embedding, Contest(0, classes.of_classes(table, rows)), box)
        assert np.array_equal(mask.full(), best.labels == index)
        contest = Contest(index, table, lead=0.0)
        probability = expected.softmax(0)[index]
        assert np.allclose(classes.native_probability(embedding, contest), probability.numpy(), atol=1e-4)
        assert torch.equal(classes.working_margin(embedding, contest) > 0, probability > 0.5)


def test_scores_of_all_classes_are_never_there_at_once(
    example: tuple[VoxelEmbedding, ClassTable], monkeypatch: pytest.MonkeyPatch
) -> None:
    embedding, table = example
    sizes, scores = [], classes.scores

    def seen(values: torch.Tensor, of: ClassTable) -> torch.Tensor:
        sizes.append(values.shape[1] * len(of))
        return scores(values, of)

    monkeypatch.setattr(classes, "scores", seen)
    classes.winners(embedding, table)
    classes.working_margin(embedding, Contest(1, table))
    classes.native_probability(embedding, Contest(1, table))
    # One piece, or the slices on both sides of a native one.
    most = 5 * SHAPE[1] * SHAPE[2] * CLASSES
    everything = int(np.prod(SHAPE)) * CLASSES
    in_pieces = everything > classes._CHUNK_NUMBERS
    assert max(sizes) <= most < everything if in_pieces else max(sizes) == everything
