"""Embeddings computed once: known phrases need no text encoder at all, other texts are encoded once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from OpenVocabCTLib.errors import ModelError
from OpenVocabCTLib.text.encoder import HuggingFaceTextEncoder, TextEncoder


class EmbeddingBank:
    """Texts and their unit-length embeddings, with an encoder for what it does not hold.

    Args:
        embeddings: text -> (dim,) unit vector.
        encoder: called for texts that are not in the bank; ``None`` builds the default one when first needed.
        fingerprint: of the encoder that made ``embeddings``; an encoder with another one is refused.
    """

    def __init__(
        self, embeddings: dict[str, np.ndarray], encoder: TextEncoder | None = None, fingerprint: str = ""
    ) -> None:
        self._embeddings = dict(embeddings)
        self._encoder = encoder
        self.fingerprint = fingerprint

    @classmethod
    def build(cls, texts: Iterable[str], encoder: TextEncoder) -> EmbeddingBank:
        """Encode ``texts`` now."""
        unique = list(dict.fromkeys(texts))
        rows = encoder.encode(unique)
        return cls(dict(zip(unique, rows, strict=True)), encoder, encoder.fingerprint)

    @classmethod
    def read(cls, path: Path, encoder: TextEncoder | None = None) -> EmbeddingBank:
        """Read a bank written by ``write``.

        Raises:
            ModelError: the file cannot be read, or lacks something.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as stored:
                metadata = stored.metadata() or {}
                rows = stored.get_tensor("embeddings").astype(np.float32)
            texts, fingerprint = metadata["texts"].split("\n"), metadata["fingerprint"]
            if rows.ndim != 2 or len(rows) != len(texts) or not np.isfinite(rows).all():
                raise ValueError("the embeddings are not those of the texts")
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            raise ModelError(f"cannot read {path.name}", "install the model again") from error
        return cls(dict(zip(texts, rows, strict=True)), encoder, fingerprint)

    def write(self, path: Path) -> None:
        """Write all embeddings in half precision with their texts and the encoder's fingerprint."""
        from safetensors.numpy import save_file

        rows = np.stack(list(self._embeddings.values())).astype(np.float16)
        save_file(
            {"embeddings": rows},
            path,
            metadata={"texts": "\n".join(self._embeddings), "fingerprint": self.fingerprint},
        )

    @property
    def encoder(self) -> TextEncoder:
        """The encoder for unknown texts, made at first use.

        Raises:
            ModelError: its weights are not those that made the bank.
        """
        if self._encoder is None:
            self._encoder = HuggingFaceTextEncoder.default()
        if self.fingerprint and self._encoder.fingerprint != self.fingerprint:
            raise ModelError("the text encoder differs from the one this model was trained with", "install the same")
        return self._encoder

    def __contains__(self, text: str) -> bool:
        return text in self._embeddings

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Texts -> (len(texts), dim) float32; texts seen before cost nothing."""
        missing = [text for text in dict.fromkeys(texts) if text not in self._embeddings]
        if missing:
            self._embeddings.update(zip(missing, self.encoder.encode(missing), strict=True))
        return np.stack([self._embeddings[text] for text in texts])
