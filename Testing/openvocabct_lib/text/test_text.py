from __future__ import annotations

import shutil
import socket
from pathlib import Path

import numpy as np
import pytest

from OpenVocabCTLib.errors import ModelError
from OpenVocabCTLib.text.bank import EmbeddingBank
from OpenVocabCTLib.text.encoder import DEFAULT_SHA256, HuggingFaceTextEncoder, default_encoder_folder


class Counting:
    fingerprint = "counting"

    def __init__(self) -> None:
        self.seen: list[str] = []

    def encode(self, texts: list[str]) -> np.ndarray:
        self.seen += texts
        return np.eye(4, dtype=np.float32)[[len(text) % 4 for text in texts]]


@pytest.fixture(scope="module")
def encoder() -> HuggingFaceTextEncoder:
    return HuggingFaceTextEncoder.default()


def test_the_packaged_encoder_is_the_expected_one(encoder: HuggingFaceTextEncoder) -> None:
    assert encoder.fingerprint == DEFAULT_SHA256


def test_embeddings_are_unit_length_and_do_not_depend_on_the_batch(encoder: HuggingFaceTextEncoder) -> None:
    texts = ["left kidney", "spinal cord", "the quick brown fox jumps over a rather lazy dog"]
    together = encoder.encode(texts)
    assert together.shape == (3, 384)
    assert np.allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-5)
    assert np.allclose(together[0], encoder.encode(texts[:1])[0], atol=1e-5)


def test_mean_pooling_agrees_with_the_package_that_published_the_encoder(encoder: HuggingFaceTextEncoder) -> None:
    from sentence_transformers import SentenceTransformer

    texts = ["left parotid gland", "segment the urinary bladder"]
    reference = SentenceTransformer(str(default_encoder_folder()), device="cpu").encode(
        texts, normalize_embeddings=True
    )
    assert np.allclose(encoder.encode(texts), reference, atol=1e-4)


def test_no_text_gives_no_rows(encoder: HuggingFaceTextEncoder) -> None:
    assert encoder.encode([]).shape == (0, 384)


def test_encoding_needs_no_network(encoder: HuggingFaceTextEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a network connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    HuggingFaceTextEncoder.default().encode(["liver"])


def test_changed_weights_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(default_encoder_folder(), folder)
    with (folder / "model.safetensors").open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x7f")
    with pytest.raises(ModelError, match="sha256"):
        HuggingFaceTextEncoder(folder, DEFAULT_SHA256)


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        HuggingFaceTextEncoder(tmp_path)


def test_known_texts_are_not_encoded_again() -> None:
    counting = Counting()
    bank = EmbeddingBank.build(["liver", "spleen"], counting)
    bank.embed(["liver", "aorta", "aorta", "spleen"])
    bank.embed(["aorta"])
    assert counting.seen == ["liver", "spleen", "aorta"]


def test_bank_round_trip(tmp_path: Path) -> None:
    bank = EmbeddingBank.build(["liver", "the spleen, left", "ß"], Counting())
    bank.write(tmp_path / "bank.safetensors")
    again = EmbeddingBank.read(tmp_path / "bank.safetensors", Counting())
    assert again.fingerprint == "counting"
    assert np.allclose(again.embed(["ß", "liver"]), bank.embed(["ß", "liver"]), atol=1e-3)


def test_a_bank_of_another_encoder_is_refused(tmp_path: Path) -> None:
    EmbeddingBank.build(["liver"], Counting()).write(tmp_path / "bank.safetensors")
    other = Counting()
    other.fingerprint = "other"  # type: ignore[misc]
    bank = EmbeddingBank.read(tmp_path / "bank.safetensors", other)
    bank.embed(["liver"])
    with pytest.raises(ModelError, match="encoder"):
        bank.embed(["aorta"])


def test_a_damaged_bank_is_named(tmp_path: Path) -> None:
    (tmp_path / "bank.safetensors").write_bytes(b"not a bank")
    with pytest.raises(ModelError, match=r"bank\.safetensors"):
        EmbeddingBank.read(tmp_path / "bank.safetensors")
