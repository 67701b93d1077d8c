from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from openvocabct_training.data.adapters import ADAPTERS, LabelMap, RawCase
from openvocabct_training.data.prepare import prepare, prepare_case, ruled_out
from openvocabct_training.data.store import MANIFEST, CaseStore
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from Testing.openvocabct_training import raw_data

LEFT_HU, RIGHT_HU = 700, 300
SPACING = (2.1, 2.6, 3.1)


def patient() -> tuple[sitk.Image, sitk.Image]:
    """CT and labels in LPS order: bone of 700 HU on the left (value 1), of 300 HU on the right (2), a speck (3)."""
    hu = np.full((24, 40, 50), -1000, np.int16)  # (K, J, I) = (S, P, L)
    hu[:, 5:35, 5:45] = -100
    hu[:, 8:32, 8:42] = 40
    labels = np.zeros(hu.shape, np.uint8)
    labels[5:12, 10:20, 30:40] = 1
    labels[8:12, 12:18, 12:18] = 2
    hu[labels == 1], hu[labels == 2] = LEFT_HU, RIGHT_HU
    labels[20, 20, 25] = 3
    images = sitk.GetImageFromArray(hu), sitk.GetImageFromArray(labels)
    for image in images:
        image.SetSpacing(SPACING)
        image.SetOrigin((-50.0, -30.0, 100.0))
    return images


def write(folder: Path, change: Callable[[sitk.Image], sitk.Image] = lambda image: image) -> RawCase:
    folder.mkdir(parents=True, exist_ok=True)
    for image, name in zip(patient(), ("ct.nii.gz", "labels.nii.gz"), strict=True):
        sitk.WriteImage(change(image), str(folder / name))
    values = {"left_femur": (1,), "right_femur": (2,), "appendix": (3,), "femurs": (1, 2), "heart": (4,)}
    return RawCase(
        case="one",
        dataset="toy",
        split="train",
        licence="MIT",
        ct=folder / "ct.nii.gz",
        labels=LabelMap(folder / "labels.nii.gz", values),
        absent=("appendix", "spleen"),
        rules_out=("head",),
    )


@pytest.fixture
def vocabulary() -> Vocabulary:
    return Vocabulary.load()


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "LAS", "RPI", "SAR", "PIR"])
def test_left_stays_left(tmp_path: Path, vocabulary: Vocabulary, orientation: str) -> None:
    case = write(tmp_path / "raw", lambda image: sitk.DICOMOrient(image, orientation))
    store = CaseStore(tmp_path / "store")
    record = prepare_case(case, store, vocabulary, 3.0)
    reference = CaseStore(tmp_path / "reference")
    expected = prepare_case(write(tmp_path / "lps"), reference, vocabulary, 3.0)
    assert record.shape == expected.shape
    assert record.present == expected.present
    np.testing.assert_allclose(store.image(record)[:], reference.image(expected)[:], atol=1)
    np.testing.assert_array_equal(store.labels(record)[:], reference.labels(expected)[:])
    labels = dict(zip(record.present, store.labels(record)[:].astype(bool), strict=True))
    hu = store.image(record)[:]
    for concept, value in (("left_femur", LEFT_HU), ("right_femur", RIGHT_HU)):
        assert hu[labels[concept]].max() == value
    middle = record.shape[2] / 2
    assert np.nonzero(labels["left_femur"])[2].max() < middle < np.nonzero(labels["right_femur"])[2].min()
    # Index 0 grows towards the head, index 1 towards the front.
    s, a, _ = (positions.mean() for positions in np.nonzero(labels["left_femur"]))
    assert s < record.shape[0] / 2 < record.shape[1]
    assert a > record.shape[1] / 2


def test_volumes_and_voxels(tmp_path: Path, vocabulary: Vocabulary) -> None:
    record = prepare_case(write(tmp_path / "raw"), CaseStore(tmp_path / "store"), vocabulary, 3.0)
    assert record.spacing == pytest.approx((3.0, 3.0, 3.0), rel=0.03)
    assert np.multiply(record.shape, record.spacing) == pytest.approx((74.4, 104.0, 105.0))
    voxel_ml = np.prod(record.spacing) / 1000
    assert record.present["left_femur"] * voxel_ml == pytest.approx(700 * np.prod(SPACING) / 1000, rel=0.1)


def test_what_is_known_about_a_case(tmp_path: Path, vocabulary: Vocabulary) -> None:
    record = prepare_case(write(tmp_path / "raw"), CaseStore(tmp_path / "store"), vocabulary, 3.0)
    assert (record.case, record.dataset, record.split, record.licence) == ("toy/one", "toy", "train", "MIT")
    assert {"left_femur", "right_femur", "femurs", "body", "bones"} <= set(record.present)
    assert {"spleen", "heart", "left_lung", "right_lung", "brainstem"} <= set(record.absent)
    assert not set(record.present) & set(record.absent)


def test_a_structure_lost_in_resampling_is_not_called_absent(tmp_path: Path, vocabulary: Vocabulary) -> None:
    record = prepare_case(write(tmp_path / "raw"), CaseStore(tmp_path / "store"), vocabulary, 6.0)
    assert "appendix" not in record.present
    assert "appendix" not in record.absent


def test_a_readers_label_wins_over_physics(tmp_path: Path, vocabulary: Vocabulary) -> None:
    case = write(tmp_path / "raw")
    assert case.labels is not None
    read = RawCase(**{**vars(case), "labels": LabelMap(case.labels.path, {"bones": (1,)})})
    store = CaseStore(tmp_path / "store")
    record = prepare_case(read, store, vocabulary, 3.0)
    assert record.present["bones"] == prepare_case(case, store, vocabulary, 3.0).present["left_femur"]


def test_concepts_of_other_regions_are_ruled_out(vocabulary: Vocabulary) -> None:
    outside = set(ruled_out(vocabulary, ("abdomen", "pelvis")))
    assert {"liver", "left_kidney", "urinary_bladder", "colon"} <= outside
    assert not {"aorta", "spinal_cord", "body", "left_lung"} & outside
    assert ruled_out(vocabulary, ()) == ()


def test_prepare_writes_every_data_set(tmp_path: Path) -> None:
    raw_data.write_everything(tmp_path / "raw")
    store = CaseStore(tmp_path / "store")
    records = prepare(tmp_path / "raw", store, 3.0)
    assert store.records() == records
    assert len(records) == 23
    assert {record.dataset for record in records} == set(ADAPTERS)
    assert len({record.case for record in records}) == 23
    for record in records:
        assert store.image(record).shape == record.shape
        assert store.labels(record).shape == (len(record.present), *record.shape)


def test_a_wrong_folder_writes_nothing(tmp_path: Path) -> None:
    store = CaseStore(tmp_path / "store")
    with pytest.raises(InputError, match="is missing"):
        prepare(tmp_path, store, 3.0)
    raw_data.write_everything(tmp_path / "raw")
    with pytest.raises(InputError, match="--spacing 3"):
        prepare(tmp_path / "raw", store, 0.0)
    assert not store.root.exists()


def test_an_interrupted_run_leaves_no_manifest(tmp_path: Path) -> None:
    good = write(tmp_path / "raw")
    (tmp_path / "bad.nii.gz").write_bytes(b"")

    def adapter(root: Path) -> Iterator[RawCase]:
        yield good
        yield RawCase(**{**vars(good), "case": "two", "ct": root / "bad.nii.gz"})

    store = CaseStore(tmp_path / "store")
    with pytest.raises(InputError, match=r"bad\.nii\.gz is empty"):
        prepare(tmp_path, store, 3.0, {"toy": adapter})
    assert not (store.root / MANIFEST).exists()
