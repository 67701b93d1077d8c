"""The image pass where memory is short, and what need not be computed at all."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
import torch

from OpenVocabCTLib.errors import ResourceError
from OpenVocabCTLib.inference import judging
from OpenVocabCTLib.inference.image_pass import encode_volume
from OpenVocabCTLib.inference.tiling import Index3, smaller_tile
from OpenVocabCTLib.inference.towers import TileFeatures
from OpenVocabCTLib.models.config import PreprocessingConfig
from OpenVocabCTLib.models.heads import Queries
from Testing.openvocabct_lib.inference import phantoms, small_model

VOLUME = phantoms.volume_on(phantoms.all_axis_geometries()[0])
PREPROCESSING = PreprocessingConfig(spacing_mm=2.0, tile=(96, 96, 96))


class SmallMemory:
    """A tower that runs out of memory with tiles of more than so many voxels; HU and leftness are its channels."""

    name, channels, stride = "small memory", 2, 32

    def __init__(self, voxels: int, error: type[Exception] = MemoryError) -> None:
        self.voxels, self.error = voxels, error
        self.tiles: list[Index3] = []

    def __call__(self, hu: torch.Tensor, leftness: torch.Tensor) -> TileFeatures:
        self.tiles.append((hu.shape[0], hu.shape[1], hu.shape[2]))
        if hu.numel() > self.voxels:
            raise self.error("CUDA out of memory. Tried to allocate 3 GiB")
        return TileFeatures(torch.stack((hu, leftness)), torch.zeros(1))


@pytest.mark.parametrize("error", [MemoryError, RuntimeError])
def test_smaller_tiles_take_over_and_it_is_said(error: type[Exception], caplog: pytest.LogCaptureFixture) -> None:
    expected = encode_volume(VOLUME, SmallMemory(10**9), PREPROCESSING)
    tower = SmallMemory(64 * 64 * 64, error)
    with caplog.at_level(logging.WARNING):
        embedding = encode_volume(VOLUME, tower, PREPROCESSING)
    assert expected.notes == ()
    assert "memory was short" in embedding.notes[0]
    assert "it goes on with" in caplog.text
    assert embedding.tile == (64, 64, 64)
    torch.testing.assert_close(embedding.values, expected.values, rtol=1e-3, atol=1.0)


def test_where_no_tile_is_small_enough_it_is_an_error() -> None:
    with pytest.raises(ResourceError, match="out of memory"):
        encode_volume(VOLUME, SmallMemory(1000), PREPROCESSING)


def test_other_errors_are_not_taken_for_it() -> None:
    class Broken(SmallMemory):
        def __call__(self, hu: torch.Tensor, leftness: torch.Tensor) -> TileFeatures:
            self.tiles.append((1, 1, 1))
            raise RuntimeError("shapes do not fit")

    tower = Broken(1)
    with pytest.raises(RuntimeError, match="shapes"):
        encode_volume(VOLUME, tower, PREPROCESSING)
    assert len(tower.tiles) == 1


@pytest.mark.parametrize(
    ("tile", "smaller"),
    [((64, 96, 128), (64, 96, 64)), ((64, 96, 64), (64, 64, 64)), ((64, 64, 64), None), ((160, 64, 64), (64, 64, 64))],
)
def test_smaller_tiles_are_multiples_of_the_stride(tile: Index3, smaller: Index3 | None) -> None:
    assert smaller_tile(tile, 32) == smaller


def test_no_logits_are_computed_for_what_is_not_in_the_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    study_logits = judging.study_logits

    def counted(embedding: object, queries: Queries) -> torch.Tensor:
        asked.append(len(queries.voxel))
        return study_logits(embedding, queries)

    study = small_model.window_segmenter().encode(VOLUME)
    study.segment(["spleen"])  # looks for landmarks, once, to say where the scan ends
    monkeypatch.setattr(judging, "study_logits", counted)
    (spleen,) = study.segment(["spleen"])
    assert not spleen.found
    assert asked == []
    assert study.segment(["spleen", "liver"])["liver"].found
    assert asked == [1]
    assert study.probabilities("spleen").max() < 0.5
    assert asked == [1, 1]


def test_known_prompts_need_no_text_encoder() -> None:
    program = (
        "import sys\n"
        "from OpenVocabCTLib.inference.segmenter import Segmenter\n"
        "from OpenVocabCTLib.inference.questions import _wording\n"
        "segmenter = Segmenter.from_pretrained(device='cpu', backend='torch')\n"
        "questions = segmenter.questions\n"
        "known = [questions.vocabulary.get(one) for one in sorted(questions.answered)]\n"
        "segmenter.queries([_wording(concept) for concept in known])\n"
        "assert len(known) >= 10 and 'transformers' not in sys.modules\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
