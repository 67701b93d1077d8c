from __future__ import annotations

import errno
import hashlib
import json
from dataclasses import asdict, replace
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


def test_a_manifest_of_an_earlier_version_names_no_patient(
    tmp_path: Path, image: np.ndarray, masks: dict[str, np.ndarray]
) -> None:
    store = CaseStore(tmp_path)
    record = store.write_case(image, masks, patient="somebody", **DESCRIPTION)
    assert record.patient == "somebody"
    row = asdict(record)
    assert CaseRecord.from_json(json.dumps(row)) == record
    del row["patient"]
    assert CaseRecord.from_json(json.dumps(row)) == replace(record, patient="set/one")


@pytest.mark.parametrize("line", ["", "{", "[]", '{"case": "set/one"}', '{"unknown": 1}'])
def test_a_damaged_manifest_names_the_line(tmp_path: Path, line: str) -> None:
    good = json.dumps(asdict(CaseRecord("a/b", "a", "train", "", (1, 1, 1), (1.0, 1.0, 1.0), {}, (), False, "")))
    (tmp_path / MANIFEST).write_text(f"{good}\n{line}\n{good}\n")
    with pytest.raises(InputError, match=r"line 2 of .*manifest\.jsonl is no case"):
        CaseStore(tmp_path).records()


@pytest.mark.parametrize(
    "case", ["one", "set/", "/one", "set/..", "../set/one", "set/a/b", ".hidden/one", "set/.one", "set/a\\b"]
)
def test_names_that_lead_elsewhere_are_refused(
    tmp_path: Path, image: np.ndarray, masks: dict[str, np.ndarray], case: str
) -> None:
    with pytest.raises(InputError, match="is no name of a case"):
        CaseStore(tmp_path / "store").write_case(image, masks, **{**DESCRIPTION, "case": case})
    assert list(tmp_path.iterdir()) == []


def test_a_case_is_finished_only_if_it_was_made_from_the_same(
    tmp_path: Path, image: np.ndarray, masks: dict[str, np.ndarray]
) -> None:
    store = CaseStore(tmp_path)
    record = store.write_case(image, masks, source="this", absent=("brain",), **DESCRIPTION)
    assert store.finished("set/one", "this") == record
    assert store.finished("set/one", "that") is None
    assert store.finished("set/two", "this") is None
    (tmp_path / "set" / "one" / "image.b2nd").unlink()
    assert store.finished("set/one", "this") is None


def test_a_case_that_cannot_be_written_leaves_the_older_one(
    tmp_path: Path, image: np.ndarray, masks: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = CaseStore(tmp_path)
    record = store.write_case(image, masks, **DESCRIPTION)
    really = Path.rename

    def fail_on_the_new_one(self: Path, target: Path) -> Path:
        if target == tmp_path / "set" / "one" and (self / "image.b2nd").stat().st_size != size:
            raise OSError(errno.EIO, "input/output error")
        return really(self, target)

    size = (tmp_path / "set" / "one" / "image.b2nd").stat().st_size
    monkeypatch.setattr(Path, "rename", fail_on_the_new_one)
    with pytest.raises(InputError, match="cannot be written"):
        store.write_case(image[:20], {"liver": masks["liver"][:20]}, **DESCRIPTION)
    np.testing.assert_array_equal(store.image(record)[:], image)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_file_that_is_gone_is_named(tmp_path: Path, image: np.ndarray, masks: dict[str, np.ndarray]) -> None:
    store = CaseStore(tmp_path)
    record = store.write_case(image, masks, **DESCRIPTION)
    (tmp_path / "set" / "one" / "labels.b2nd").unlink()
    with pytest.raises(InputError, match=r"labels\.b2nd is missing: run `openvocabct-train prepare` again"):
        store.labels(record)


def test_a_store_that_was_never_prepared(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no training store in .*: run `openvocabct-train prepare"):
        CaseStore(tmp_path / "nothing").records()
