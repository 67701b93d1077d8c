"""A Segmenter with a tiny network, for tests of everything around the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from OpenVocabCTLib.inference.devices import choose_compute
from OpenVocabCTLib.inference.questions import QuestionMaker, Wording
from OpenVocabCTLib.inference.segmenter import Segmenter
from OpenVocabCTLib.models.config import ArchitectureConfig, DecisionConfig, ModelConfig, PreprocessingConfig
from OpenVocabCTLib.models.heads import Queries
from OpenVocabCTLib.models.openvocab import ImageFeatures, OpenVocabCT
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from OpenVocabCTLib.text.bank import EmbeddingBank

TEXT_DIM = 16
CONFIG = ModelConfig(
    ArchitectureConfig(size="tiny", embedding_dim=8, text_dim=TEXT_DIM, query_hidden_dim=16),
    PreprocessingConfig(spacing_mm=3.0, tile=(64, 32, 32), tile_overlap=0.5),
)
TRAINED = {"left_kidney": 40, "right_kidney": 40, "liver": 40, "spleen": 1}


class HashEncoder:
    """Unit vectors that depend on the letters of a text; counts its calls."""

    fingerprint = "hash"

    def __init__(self) -> None:
        self.calls = 0

    def encode(self, texts: list[str]) -> np.ndarray:
        self.calls += 1
        rows = [np.random.default_rng(list(text.encode())).normal(size=TEXT_DIM) for text in texts]
        return np.stack([row / np.linalg.norm(row) for row in rows]).astype(np.float32)


class WindowModel(OpenVocabCT):
    """Not learned: two channels are HU / 100 and -|HU - 300| / 100, so that masks are known exactly.

    Left kidney: HU > 500; right kidney: 200 < HU < 400; liver: HU > -500; spleen: never.
    """

    def __init__(self) -> None:
        super().__init__(CONFIG.architecture, CONFIG.preprocessing)
        self.calls = 0
        self.eval()

    def encode_image(self, hu: torch.Tensor, leftness: torch.Tensor) -> ImageFeatures:
        self.calls += 1
        values = torch.zeros(hu.shape[0], self.embedding_channels, *hu.shape[1:])
        values[:, 0] = hu / 100.0
        values[:, 1] = -(hu / 100.0 - 3.0).abs()
        values[:, -1] = leftness
        token = torch.zeros(hu.shape[0], 8)
        token[:, 0] = hu.flatten(1).amax(1) / 100.0
        return ImageFeatures(values, token, [])


class WindowSegmenter(Segmenter):
    """Answers known concepts by HU thresholds through the ordinary late-fusion path."""

    # Name -> channel and the value that it must exceed.
    LIMITS: ClassVar = {"left kidney": (0, 5.0), "right kidney": (1, -1.0), "liver": (0, -5.0), "spleen": (0, 50.0)}

    def queries(self, wordings: Sequence[Wording]) -> Queries:
        direction, presence = torch.zeros(len(wordings), 9), torch.zeros(len(wordings), 8)
        limits = torch.zeros(len(wordings))
        for row, wording in enumerate(wordings):
            channel, limits[row] = self.LIMITS.get(wording.text, (0, 0.0))
            direction[row, channel] = 9**0.5
            presence[row, 0] = 8**0.5
        return Queries(direction, -limits, presence, -limits)


def question_maker(encoder: HashEncoder | None = None, similarity: float = 0.6) -> QuestionMaker:
    vocabulary = Vocabulary.load()
    texts = [phrase for name in TRAINED for phrase in vocabulary.phrases(vocabulary.get(name))]
    bank = EmbeddingBank.build(texts, encoder or HashEncoder())
    return QuestionMaker(vocabulary, bank, TRAINED, DecisionConfig(text_similarity=similarity))


def random_segmenter(overlap: float = 0.5) -> Segmenter:
    """Random weights, fp32."""
    torch.manual_seed(0)
    config = ModelConfig(CONFIG.architecture, PreprocessingConfig(tile=(64, 32, 32), tile_overlap=overlap))
    model = OpenVocabCT(config.architecture, config.preprocessing).eval()
    return Segmenter(model, config, question_maker(), choose_compute("cpu", "fp32"), fingerprint="random")


def window_segmenter() -> WindowSegmenter:
    return WindowSegmenter(WindowModel(), CONFIG, question_maker(), choose_compute("cpu", "fp32"), fingerprint="window")
