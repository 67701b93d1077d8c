"""Embeddings of reports and captions: a frozen text encoder with a memory, or one whose last layers learn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.reports import split_sentences
from OpenVocabCTLib.text.encoder import HuggingFaceTextEncoder, TextEncoder, default_encoder_folder

MAX_TOKENS = 128


class FrozenText(nn.Module):
    """Embeds with a frozen encoder; every text is encoded once in a run.

    Args:
        encoder: the text encoder; the default one if None.
    """

    def __init__(self, encoder: TextEncoder | None = None) -> None:
        super().__init__()
        self.encoder = HuggingFaceTextEncoder.default() if encoder is None else encoder
        self._known: dict[str, np.ndarray] = {}

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Texts -> (N, text_dim) unit length, on the CPU."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            # Half precision: half a million sentences of a large data set fit into memory.
            self._known.update(zip(new, self.encoder.encode(new).astype(np.float16), strict=True))
        rows = np.stack([self._known[text] for text in texts]).astype(np.float32)
        return F.normalize(torch.from_numpy(rows), dim=1)


class TrainableText(nn.Module):
    """A ``transformers`` encoder whose last layers are trained.

    Args:
        folder: an encoder directory; the default encoder's if None.
        layers: how many of its last layers learn; embeddings and earlier layers stay as they are.

    Raises:
        InputError: it has no list of layers, or fewer.
    """

    def __init__(self, folder: Path | None, layers: int) -> None:
        super().__init__()
        from transformers import AutoModel, AutoTokenizer

        place = default_encoder_folder() if folder is None else folder
        self.tokenizer: Any = AutoTokenizer.from_pretrained(place, local_files_only=True)
        self.encoder: Any = AutoModel.from_pretrained(place, local_files_only=True, use_safetensors=True)
        stack = getattr(getattr(self.encoder, "encoder", None), "layer", None)
        if stack is None or not 1 <= layers <= len(stack):
            raise InputError(
                f"the text encoder has no {layers} layers to unfreeze", "set model.text_layers to 0, or choose another"
            )
        self.encoder.requires_grad_(False)
        for layer in stack[-layers:]:
            layer.requires_grad_(True)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Texts -> (N, text_dim) unit length."""
        batch = self.tokenizer(list(texts), padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        batch = batch.to(self.encoder.device)
        states = self.encoder(**batch).last_hidden_state
        weights = batch["attention_mask"].unsqueeze(-1).to(states.dtype)
        return F.normalize((states * weights).sum(1) / weights.sum(1).clamp(min=1.0), dim=1)


def embed_reports(tower: nn.Module, reports: Sequence[str]) -> Tensor:
    """Texts of any length -> (N, text_dim) unit length: the mean over their sentences, each encoded whole.

    Encoders read 128 to 512 tokens, so the end of a report would be lost if it were encoded at once.
    """
    sentences = [[sentence.text for sentence in split_sentences(report)] or [report] for report in reports]
    flat = [sentence for each in sentences for sentence in each]
    unique = list(dict.fromkeys(flat))
    rows = tower(unique)
    place = {sentence: index for index, sentence in enumerate(unique)}
    return F.normalize(torch.stack([rows[[place[one] for one in each]].mean(0) for each in sentences]), dim=1)
