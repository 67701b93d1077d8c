from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from OpenVocabCTLib.commands.doctor import check_text_encoder
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


def encoder_folder(folder: Path, without: tuple[str, ...] = ()) -> Path:
    """The default encoder with links for files, some of them missing."""
    folder.mkdir()
    for path in default_encoder_folder().iterdir():
        if path.is_file() and path.name not in without:
            (folder / path.name).symlink_to(path)
    return folder


@pytest.mark.parametrize("missing", [("config.json",), ("tokenizer.json", "vocab.txt")])
def test_a_folder_without_tokenizer_or_configuration_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...]
) -> None:
    folder = encoder_folder(tmp_path / "encoder", missing)
    with pytest.raises(ModelError, match=missing[0]):
        HuggingFaceTextEncoder(folder, DEFAULT_SHA256)
    monkeypatch.setattr("OpenVocabCTLib.text.encoder.default_encoder_folder", lambda: folder)
    check = check_text_encoder()
    assert check.status == "fail" and missing[0] in check.detail


@pytest.mark.parametrize("words", [6, 40000])
def test_a_tokenizer_of_another_network_is_refused(tmp_path: Path, words: int) -> None:
    folder = encoder_folder(tmp_path / "encoder", ("tokenizer.json", "vocab.txt"))
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])}
    vocabulary |= {f"w{number}": number for number in range(5, words)}
    tokenizer = json.loads((default_encoder_folder() / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["model"]["vocab"], tokenizer["added_tokens"] = vocabulary, []
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    with pytest.raises(ModelError, match="its tokenizer has"):
        HuggingFaceTextEncoder(folder).encode(["liver"])


def test_a_damaged_tokenizer_is_a_model_error(tmp_path: Path) -> None:
    folder = encoder_folder(tmp_path / "encoder", ("tokenizer.json", "vocab.txt"))
    (folder / "tokenizer.json").write_text('{"version": "1.0", ', encoding="utf-8")
    with pytest.raises(ModelError, match="the text encoder cannot be read"):
        HuggingFaceTextEncoder(folder).encode(["liver"])


_OLD_TORCH = """
import importlib.metadata, sys
real = importlib.metadata.version
importlib.metadata.version = lambda name: "2.5.1" if name == "torch" else real(name)
import torch
torch.__version__ = "2.5.1"
"""


def with_old_torch(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", _OLD_TORCH + program], capture_output=True, text=True, check=False)


def test_a_torch_that_transformers_does_not_take_is_a_model_error() -> None:
    program = """
from OpenVocabCTLib.commands.doctor import check_text_encoder
from OpenVocabCTLib.errors import ModelError
from OpenVocabCTLib.text.encoder import HuggingFaceTextEncoder
try:
    HuggingFaceTextEncoder.default().encode(["liver"])
except ModelError as error:
    print(error, "|", check_text_encoder().status)
"""
    result = with_old_torch(program)
    assert "the text encoder cannot be read (" in result.stdout and result.stdout.endswith("| fail\n"), result.stderr
    assert "PyTorch" in result.stdout


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


@pytest.mark.parametrize(
    ("rows", "metadata"),
    [
        (np.zeros((1, 4)), None),
        (np.zeros((1, 4)), {"texts": "liver"}),
        (np.zeros((1, 4)), {"texts": "liver\nspleen", "fingerprint": ""}),
        (np.zeros(4), {"texts": "a\nb\nc\nd", "fingerprint": ""}),
        (np.full((1, 4), np.nan), {"texts": "liver", "fingerprint": ""}),
    ],
)
def test_a_malformed_bank_is_a_model_error(tmp_path: Path, rows: np.ndarray, metadata: dict[str, str] | None) -> None:
    save_file({"embeddings": rows.astype(np.float16)}, tmp_path / "bank.safetensors", metadata=metadata)
    with pytest.raises(ModelError, match=r"cannot read bank\.safetensors"):
        EmbeddingBank.read(tmp_path / "bank.safetensors")
