from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import blosc2
import numpy as np
import pytest

from openvocabct_training.data.store import MANIFEST, CaseRecord, CaseStore
from OpenVocabCTLib.errors import InputError

DESCRIPTION = {
    "case": "set/one",
    "dataset": "set",
    "split": "train",
    "licence": "MIT",
    "spacing": (3.0, 2.99, 3.01),
    "symmetric": False,
}


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(-1024, 3071, (30, 40, 50)).astype(np.int16)


@pytest.fixture
def masks() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(1)
    masks = {name: generator.random((30, 40, 50)) < chance for name, chance in (("spleen", 0.3), ("liver", 0.6))}
    return masks | {"heart": np.zeros((30, 40, 50), bool)}


def test_round_trip(tmp_path: Path, image: np.ndarray, masks: dict[str, np.ndarray]) -> None:
    store = CaseStore(tmp_path)
    record = store.write_case(image, masks, absent=("brain",), **DESCRIPTION)
    assert record.shape == (30, 40, 50)
    assert record.present == {"spleen": masks["spleen"].sum(), "liver": masks["liver"].sum()}
    stored = store.image(record)
    assert stored.dtype == np.int16
    np.testing.assert_array_equal(stored[:], image)
    labels = store.labels(record)[:]
    assert labels.dtype == np.uint8
    for plane, concept in zip(labels, record.present, strict=True):
        np.testing.assert_array_equal(plane, masks[concept])


def test_an_empty_mask_is_absent_and_what_is_present_is_not(
    tmp_path: Path, image: np.ndarray, masks: dict[str, np.ndarray]
) -> None:
    record = CaseStore(tmp_path).write_case(image, masks, absent=("brain", "liver"), **DESCRIPTION)
    assert record.absent == ("brain", "heart")
    nothing = CaseStore(tmp_path).write_case(image, {"heart": masks["heart"]}, **DESCRIPTION)
    assert (nothing.present, nothing.absent) == ({}, ("heart",))
    assert CaseStore(tmp_path).labels(nothing).shape == (0, 30, 40, 50)


def test_parts_are_read_without_the_rest(tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    image = generator.integers(-1024, 3071, (64, 200, 200)).astype(np.int16)
    masks = {"liver": generator.random(image.shape) < 0.5, "spleen": generator.random(image.shape) < 0.5}
    store = CaseStore(tmp_path)
    record = store.write_case(image, masks, **DESCRIPTION)
    block = (slice(5, 9), slice(100, 117), slice(3, 50))
    np.testing.assert_array_equal(store.image(record)[block], image[block])
    np.testing.assert_array_equal(store.labels(record)[(1, *block)], masks["spleen"][block])
    # What is decompressed at once: a part of the image, and of one label only.
    assert np.prod(store.image(record).blocks) <= image.size / 4
    assert store.labels(record).blocks[0] == 1


def test_files_are_compressed_and_replaced(tmp_path: Path, image: np.ndarray, masks: dict[str, np.ndarray]) -> None:
    store = CaseStore(tmp_path)
    store.write_case(image, masks, **DESCRIPTION)
    record = store.write_case(image[:20], {"liver": masks["liver"][:20]}, **DESCRIPTION)
    assert store.image(record).shape == (20, 40, 50)
    assert store.labels(record).shape == (1, 20, 40, 50)
    assert store.image(record).schunk.cparams.codec == blosc2.Codec.ZSTD
    assert (tmp_path / "set" / "one" / "labels.b2nd").stat().st_size < 20 * 40 * 50


def test_manifest_round_trip(tmp_path: Path, image: np.ndarray, masks: dict[str, np.ndarray]) -> None:
    store = CaseStore(tmp_path)
    record = store.write_case(image, masks, absent=("brain",), **DESCRIPTION)
    other = replace(record, case="set/two", split="validation")
    store.write_manifest([record, other])
    assert store.records() == [record, other]
    assert store.records("train") == [record]
    assert store.records("validation") == [other]
    assert [path.name for path in tmp_path.glob("manifest*")] == [MANIFEST]
    lines = (tmp_path / MANIFEST).read_text().splitlines()
    assert [json.loads(line)["case"] for line in lines] == ["set/one", "set/two"]
    assert CaseRecord.from_json(lines[0]) == record
    store.write_manifest([other])
    assert store.records() == [other]


def test_order_of_labels_survives_the_manifest(tmp_path: Path, image: np.ndarray) -> None:
    masks = {name: image > index * 100 for index, name in enumerate(("spleen", "aorta", "liver"))}
    store = CaseStore(tmp_path)
    store.write_manifest([store.write_case(image, masks, **DESCRIPTION)])
    assert list(store.records()[0].present) == ["spleen", "aorta", "liver"]


def test_hash_is_that_of_the_voxels(tmp_path: Path, image: np.ndarray, masks: dict[str, np.ndarray]) -> None:
    store = CaseStore(tmp_path)
    record = store.write_case(image, masks, **DESCRIPTION)
    stored = store.image(record)[:].tobytes() + store.labels(record)[:].tobytes()
    assert record.sha256 == hashlib.sha256(stored).hexdigest()
    changed = image.copy()
    changed[-1, -1, -1] += 1
    assert store.write_case(changed, masks, **DESCRIPTION).sha256 != record.sha256
    flipped = masks | {"liver": masks["liver"] ^ (np.arange(50) == 49)}
    assert store.write_case(image, flipped, **DESCRIPTION).sha256 != record.sha256
    assert store.write_case(image, masks, **DESCRIPTION).sha256 == record.sha256


def test_a_store_that_was_never_prepared(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no training store in .*: run `openvocabct-train prepare"):
        CaseStore(tmp_path / "nothing").records()
