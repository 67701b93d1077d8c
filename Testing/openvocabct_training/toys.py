"""Small stand-ins for the text encoder, the phrase book and the store."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from openvocabct_training.data.store import CaseRecord, CaseStore

TEXT_DIM = 16
SHAPE = (40, 44, 48)  # (S, A, R)
LEFT_HU, RIGHT_HU, TISSUE_HU = 300, 150, 40
ABSENT = ("left_kidney", "right_kidney", "liver", "spleen")


class HashEncoder:
    """Unit vectors from a hash of the text: different texts are far apart, the same text is always the same."""

    def __init__(self, dim: int = TEXT_DIM, fingerprint: str = "hash") -> None:
        self.dim, self.fingerprint = dim, fingerprint
        self.encoded: list[str] = []

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.encoded += texts
        digests = [hashlib.blake2b(text.encode(), digest_size=self.dim).digest() for text in texts]
        rows = np.stack([np.frombuffer(digest, np.uint8) for digest in digests]).astype(np.float32) - 127.5
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class OneHotPhrases:
    """A phrase book whose embeddings can be read back: one position for each concept, the last one for nonsense."""

    def __init__(self, concepts: Sequence[str]) -> None:
        self.concepts = [*concepts, "nonsense"]

    def name(self, concept: str) -> np.ndarray:
        return np.eye(len(self.concepts), dtype=np.float32)[self.concepts.index(concept)]

    def sample(self, concept: str, generator: np.random.Generator) -> np.ndarray:
        return self.name(concept)

    def nonsense(self, generator: np.random.Generator) -> np.ndarray:
        return self.name("nonsense")

    def read(self, text: np.ndarray, valid: np.ndarray) -> list[str]:
        """The concepts that the valid rows of a sample's ``text`` ask for."""
        return [self.concepts[index] for index in np.asarray(text)[np.asarray(valid)].argmax(1)]


def head_phantom() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A block of tissue with a bright box on the patient's left (low R) and a smaller, darker one on the right."""
    hu = np.full(SHAPE, -1000, np.int16)
    hu[:, 6:38, 6:42] = TISSUE_HU
    masks = {name: np.zeros(SHAPE, bool) for name in ("left_parotid_gland", "right_parotid_gland", "spinal_cord")}
    masks["left_parotid_gland"][10:22, 14:26, 9:19] = True
    masks["right_parotid_gland"][12:20, 16:24, 31:38] = True
    masks["spinal_cord"][:, 9:14, 22:27] = True
    hu[masks["left_parotid_gland"]] = LEFT_HU
    hu[masks["right_parotid_gland"]] = RIGHT_HU
    return hu, masks


def write_case(
    store: CaseStore, case: str, split: str = "train", symmetric: bool = True, leave_out: Sequence[str] = ()
) -> CaseRecord:
    """The head phantom under a name ``dataset/case``; ``leave_out`` is not annotated."""
    hu, masks = head_phantom()
    return store.write_case(
        hu,
        {concept: mask for concept, mask in masks.items() if concept not in leave_out},
        case=case,
        dataset=case.partition("/")[0],
        split=split,
        licence="none",
        spacing=(3.0, 3.0, 3.0),
        absent=ABSENT,
        symmetric=symmetric,
    )


def write_store(root: Path) -> CaseStore:
    """Two data sets, the second one without symmetric patients; some concepts are shown by training cases only."""
    store = CaseStore(root)
    hu, masks = head_phantom()
    abdomen = store.write_case(
        hu,
        {"liver": masks["left_parotid_gland"], "left_kidney": masks["right_parotid_gland"]},
        case="totalsegmentator/one",
        dataset="totalsegmentator",
        split="train",
        licence="none",
        spacing=(3.0, 3.0, 3.0),
        absent=("heart",),
        symmetric=False,
    )
    records = [
        write_case(store, "openkbp/a"),
        write_case(store, "openkbp/b", leave_out=("spinal_cord",)),
        write_case(store, "openkbp/v", split="validation"),
        abdomen,
    ]
    store.write_manifest(records)
    return store
