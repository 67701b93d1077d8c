from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from openvocabct_training.data.augment import AugmentationConfig
from openvocabct_training.data.dataset import PatchDataset, Sample
from openvocabct_training.data.module import PHRASES_FILE, PatchDataModule
from openvocabct_training.data.sampling import (
    SamplingConfig,
    count_concepts,
    sampled_records,
)
from openvocabct_training.data.store import CaseRecord, CaseStore
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.inference.grid import AIR_HU
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from Testing.openvocabct_training.toys import (
    LEFT_HU,
    RIGHT_HU,
    SHAPE,
    TEXT_DIM,
    TISSUE_HU,
    HashEncoder,
    OneHotPhrases,
    head_phantom,
    write_case,
)

SAMPLING = SamplingConfig(
    patch=(32, 32, 32),
    dataset_weights={"openkbp": 3.0, "totalsegmentator": 1.0},
    positives=4,
    negatives=2,
    text_noise=0.0,
)
# Moves patients, but leaves their HU alone.
MOVED = AugmentationConfig(anisotropy_probability=0.0, noise_hu=0.0, shift_hu=0.0, contrast=(1.0, 1.0))
STILL = replace(MOVED, spatial_probability=0.0)
DEFORMED = replace(MOVED, elastic_mm=4.0, elastic_probability=1.0)
PAROTIDS = ("left_parotid_gland", "right_parotid_gland")
CONCEPTS = (*PAROTIDS, "spinal_cord", "liver", "spleen", "left_kidney", "right_kidney", "heart")
TRAINED = (*PAROTIDS, "spinal_cord", "liver", "left_kidney")


def dataset(store: CaseStore, augmentation: AugmentationConfig | None = STILL, **changes: Any) -> PatchDataset:
    sampling = changes.pop("sampling", SAMPLING)
    options: dict[str, Any] = {"split": "train", "trained": TRAINED, "seed": 0, "epoch": 0, "length": 8, **changes}
    return PatchDataset(
        store=store,
        phrases=OneHotPhrases(CONCEPTS),  # type: ignore[arg-type]
        vocabulary=Vocabulary.load(),
        sampling=sampling,
        augmentation=augmentation,
        **options,
    )


def record_of(store: CaseStore, case: str) -> CaseRecord:
    (record,) = [record for record in store.records() if record.case == case]
    return record


def asked(sample: Sample) -> dict[str, torch.Tensor]:
    """Concept -> target of every prompt of a sample."""
    names = OneHotPhrases(CONCEPTS).read(sample.text.numpy(), sample.valid.numpy())
    return dict(zip(names, sample.target[sample.valid], strict=True))


def draws(data: PatchDataset, record: CaseRecord, number: int = 30) -> Iterator[Sample]:
    return (data.draw(record, np.random.default_rng([1, index])) for index in range(number))


def centre_of(mask: torch.Tensor) -> float:
    return float(mask.nonzero()[:, 2].float().mean())


# Reproducibility


def same(first: Sample, second: Sample) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_sample_depends_on_seed_epoch_and_index_only(store: CaseStore) -> None:
    augmentation = AugmentationConfig()
    first, second = dataset(store, augmentation), dataset(store, augmentation)
    forwards = [first[index] for index in range(6)]
    backwards = [second[index] for index in reversed(range(6))][::-1]
    assert all(same(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert not same(forwards[0], forwards[1])
    assert not same(forwards[0], dataset(store, augmentation, epoch=1)[0])
    assert not same(forwards[0], dataset(store, augmentation, seed=1)[0])


def test_length_and_shapes(store: CaseStore) -> None:
    data = dataset(store, length=5)
    assert len(data) == 5
    sample = data[0]
    assert sample.hu.shape == (32, 32, 32) and sample.hu.dtype == torch.float32
    assert sample.text.shape == (7, len(CONCEPTS) + 1)  # four positives, two negatives, nonsense
    assert sample.target.shape == (7, 32, 32, 32) and sample.target.dtype == torch.bool
    assert sample.valid.shape == (7,) and sample.valid.dtype == torch.bool
    assert sample.side.shape == (7,) and sample.side.dtype == torch.float32


# Which prompts


def test_only_what_is_annotated_is_asked(store: CaseStore) -> None:
    data = dataset(store, sampling=replace(SAMPLING, nonsense_probability=0.0))
    vocabulary = Vocabulary.load()
    for name in ("openkbp/a", "openkbp/b", "totalsegmentator/one"):
        record = record_of(store, name)
        known = {*record.present, *record.absent}
        if record.symmetric:
            known |= {vocabulary.get(concept).mirror for concept in known}
        seen = {concept for sample in draws(data, record) for concept in asked(sample)}
        assert seen <= known
    assert "spinal_cord" not in record_of(store, "openkbp/b").present
    assert not any("spinal_cord" in asked(sample) for sample in draws(data, record_of(store, "openkbp/b")))


def test_negatives_are_known_to_be_absent_and_shown_by_some_training_case(store: CaseStore) -> None:
    data = dataset(store, None, sampling=replace(SAMPLING, nonsense_probability=0.0))
    record = record_of(store, "openkbp/a")
    seen = Counter(concept for sample in draws(data, record) for concept in asked(sample))
    # "spleen" and "right_kidney" are absent too, but no case shows them; "heart" is not known to be absent.
    assert set(seen) == {*PAROTIDS, "spinal_cord", "liver", "left_kidney"}
    for sample in draws(data, record):
        targets = asked(sample)
        assert not targets["liver"].any() and not targets["left_kidney"].any()


def test_no_more_prompts_than_configured(store: CaseStore) -> None:
    sampling = replace(SAMPLING, positives=2, negatives=1, nonsense_probability=0.0)
    record = record_of(store, "openkbp/a")
    for sample in draws(dataset(store, None, sampling=sampling), record, 20):
        names = set(asked(sample))
        assert len(names & set(record.present)) == 2
        assert len(names & set(record.absent)) == 1
        assert sample.valid.tolist() == [True, True, True, False]


def test_padding_is_empty_and_at_the_end(store: CaseStore) -> None:
    for sample in draws(dataset(store), record_of(store, "openkbp/b"), 20):
        count = int(sample.valid.sum())
        assert sample.valid.tolist() == [True] * count + [False] * (7 - count)
        assert not sample.target[count:].any()


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_nonsense_has_no_target(store: CaseStore, probability: float) -> None:
    data = dataset(store, sampling=replace(SAMPLING, nonsense_probability=probability))
    for sample in draws(data, record_of(store, "openkbp/a"), 20):
        targets = asked(sample)
        assert ("nonsense" in targets) == bool(probability)
        assert not bool(targets.get("nonsense", torch.zeros(1)).any())


def test_as_many_positives_as_can_be_packed(tmp_path: Path) -> None:
    hu, masks = head_phantom()
    concepts = [concept.id for concept in Vocabulary.load()][:30]
    store = CaseStore(tmp_path)
    record = store.write_case(
        hu, dict.fromkeys(concepts, masks["spinal_cord"]), case="a/a", dataset="a", split="train", licence="",
        spacing=(3.0, 3.0, 3.0), symmetric=False,
    )  # fmt: skip
    store.write_manifest([record])
    data = PatchDataset(
        store, "train", concepts, OneHotPhrases(concepts), Vocabulary.load(),  # type: ignore[arg-type]
        replace(SAMPLING, positives=24, dataset_weights={"a": 1.0}), MOVED, 0, 0, 1,
    )  # fmt: skip
    sample = data[0]
    assert int(sample.valid.sum()) >= 24
    assert all(torch.equal(target, sample.target[0]) for target in sample.target[:24])


def test_words_are_blurred_in_training_only(store: CaseStore) -> None:
    sampling = replace(SAMPLING, text_noise=0.1)
    record = record_of(store, "openkbp/a")
    for augmentation, expected in ((STILL, 0.1), (None, 0.0)):
        samples = list(draws(dataset(store, augmentation, sampling=sampling), record, 30))
        noise = [float((row - row.round()).norm()) for sample in samples for row in sample.text[sample.valid]]
        assert np.mean(noise) == pytest.approx(expected, rel=0.2)


# Where patches are


def test_unaugmented_patches_hold_the_voxels_as_they_are(store: CaseStore) -> None:
    values = torch.tensor([AIR_HU, -1000.0, TISSUE_HU, RIGHT_HU, LEFT_HU])
    for sample in draws(dataset(store, None), record_of(store, "openkbp/a"), 20):
        assert (sample.hu[..., None] - values).abs().min(-1).values.max() < 0.1


def test_labels_lie_on_their_structures(store: CaseStore) -> None:
    for augmentation in (None, STILL, MOVED, DEFORMED):
        data = dataset(store, augmentation)
        for sample in draws(data, record_of(store, "totalsegmentator/one"), 20):
            targets = asked(sample)
            for concept, value in (("liver", LEFT_HU), ("left_kidney", RIGHT_HU)):
                # A sliver at the border of a rotated or deformed patch is all edge.
                if targets[concept].sum() > 250:
                    assert sample.hu[targets[concept]].median() == pytest.approx(value, abs=1.0)
                # And nothing of the structure is left out.
                assert not (sample.hu[~targets[concept]] - value).abs().lt(1.0).float().mean() > 0.002


def test_foreground_patches_show_a_structure(store: CaseStore) -> None:
    sampling = replace(SAMPLING, foreground_probability=1.0)
    record = record_of(store, "totalsegmentator/one")
    assert all(sample.target.any() for sample in draws(dataset(store, None, sampling=sampling), record, 40))


def test_patches_larger_than_the_scan_are_filled_with_air(store: CaseStore) -> None:
    data = dataset(store, None, sampling=replace(SAMPLING, patch=(64, 64, 64), foreground_probability=0.0))
    sample = data.draw(record_of(store, "openkbp/a"), np.random.default_rng(0))
    inside = (sample.hu > AIR_HU + 0.1).sum()
    assert inside <= np.prod(SHAPE)
    assert (sample.hu < AIR_HU + 0.1).sum() >= 64**3 - np.prod(SHAPE)


# Mirroring


def test_mirroring_swaps_the_words_exactly_when_it_flips_the_voxels(store: CaseStore) -> None:
    record = record_of(store, "openkbp/a")
    flipped = []
    for augmentation in (STILL, MOVED, DEFORMED):
        for sample in draws(dataset(store, augmentation), record):
            targets = asked(sample)
            left, right = (targets[concept] for concept in PAROTIDS)
            if not (left.sum() > 250 and right.sum() > 250):
                continue
            # Whatever happened to the patient, what is called left lies on the left ...
            assert centre_of(left) < centre_of(right)
            # ... and the words are swapped if and only if the voxels are: 300 HU marks the gland that was on the left.
            brightness = [float(sample.hu[mask].max()) for mask in (left, right)]
            assert sorted(brightness) == pytest.approx([RIGHT_HU, LEFT_HU], abs=1.0)
            flipped.append(brightness[0] < brightness[1])
    assert len(flipped) > 10
    assert 0.2 < np.mean(flipped) < 0.8


def test_every_prompt_says_its_side(store: CaseStore) -> None:
    record, vocabulary = record_of(store, "openkbp/a"), Vocabulary.load()
    seen = set()
    for augmentation in (None, MOVED):
        for sample in draws(dataset(store, augmentation), record):
            for concept, side in zip(asked(sample), sample.side[sample.valid].tolist(), strict=True):
                if concept == "nonsense":
                    assert side in (-1.0, 0.0, 1.0)
                else:
                    assert side == vocabulary.get(concept).side.sign
                    seen.add((concept.partition("_")[0], side))
            assert not sample.side[~sample.valid].any()
    # Also where the words were swapped: the right kidney is only asked of mirrored patients.
    assert {("left", 1.0), ("right", -1.0), ("spinal", 0.0), ("liver", 0.0)} <= seen


def test_known_concepts_say_their_row_in_the_network(store: CaseStore) -> None:
    rows = ("liver", "right_parotid_gland", "left_parotid_gland")
    record, seen = record_of(store, "openkbp/a"), set()
    for augmentation in (None, MOVED):
        for sample in draws(dataset(store, augmentation, concepts=rows), record):
            for concept, row in zip(asked(sample), sample.concept[sample.valid].tolist(), strict=True):
                assert row == (rows.index(concept) if concept in rows else -1)
                seen.add(row)
            assert (sample.concept[~sample.valid] == -1).all()
    assert seen == {-1, 0, 1, 2}


def test_leftness_is_that_of_the_whole_scan(store: CaseStore) -> None:
    record = record_of(store, "openkbp/a")
    data = dataset(store, None)
    for seed in range(10):
        sample = data.draw(record, np.random.default_rng(seed))
        assert sample.leftness.shape == sample.hu.shape
        assert torch.equal(sample.leftness, sample.leftness[:1, :1].expand(32, 32, 32))
        # The body reaches from 6 to 41 along R, so its middle is where left parts from right.
        line, tissue = sample.leftness[0, 0], (sample.hu > -300).any(0).any(0)
        if tissue.any() and not tissue.all():
            edge = int(tissue.float().argmax()) if not tissue[0] else int(tissue.nonzero().max())
            assert abs(float(line[edge])) == 1.0
        steps = line.diff()
        assert ((steps == 0) | torch.isclose(steps, torch.tensor(-0.1))).sum() >= 29  # 3 mm of 30, but at the ends


def test_leftness_follows_rotated_and_mirrored_patients(store: CaseStore) -> None:
    for augmentation in (STILL, MOVED, DEFORMED):
        for sample in draws(dataset(store, augmentation), record_of(store, "openkbp/a")):
            targets = asked(sample)
            for concept, sign in zip(PAROTIDS, (1.0, -1.0), strict=True):
                if targets[concept].any():
                    assert sample.leftness[targets[concept]].mean() * sign > 0.3
            assert sample.leftness.abs().max() <= 1.0


def test_mirroring_swaps_the_words_of_absent_structures_too(store: CaseStore) -> None:
    seen = {concept for sample in draws(dataset(store), record_of(store, "openkbp/a")) for concept in asked(sample)}
    assert {"left_kidney", "right_kidney"} <= seen


@pytest.mark.parametrize("augmentation", [STILL, None])
def test_no_mirroring_of_asymmetric_patients_nor_in_validation(
    tmp_path: Path, augmentation: AugmentationConfig | None
) -> None:
    store = CaseStore(tmp_path)
    record = write_case(store, "openkbp/a", symmetric=augmentation is None)
    store.write_manifest([record])
    for sample in draws(dataset(store, augmentation), record):
        targets = asked(sample)
        for concept, value in zip(PAROTIDS, (LEFT_HU, RIGHT_HU), strict=True):
            if targets[concept].any():
                assert sample.hu[targets[concept]].median() == pytest.approx(value, abs=1.0)
        assert "right_kidney" not in targets


# Which cases


def test_data_sets_are_drawn_by_their_weights(store: CaseStore) -> None:
    data = dataset(store, None, sampling=replace(SAMPLING, patch=(8, 8, 8)))
    # The parotids are asked for in every case of one data set, and in none of the other.
    drawn = [PAROTIDS[0] in asked(data[index]) for index in range(80)]
    assert np.mean(drawn) == pytest.approx(0.75, abs=0.12)


def test_data_sets_without_weight_are_not_used(store: CaseStore) -> None:
    sampling = replace(SAMPLING, dataset_weights={"openkbp": 1.0, "totalsegmentator": 0.0})
    assert set(dataset(store, sampling=sampling).by_dataset) == {"openkbp"}
    assert {record.dataset for record in sampled_records(store.records(), sampling)} == {"openkbp"}


def test_splits_are_kept_apart(store: CaseStore) -> None:
    used = {
        split: {record.case for records in dataset(store, split=split).by_dataset.values() for record in records}
        for split in ("train", "validation")
    }
    assert used == {"train": {"openkbp/a", "openkbp/b", "totalsegmentator/one"}, "validation": {"openkbp/v"}}


def test_cases_that_answer_nothing_are_not_used(store: CaseStore) -> None:
    data = dataset(store, trained=("liver",))
    assert {record.case for records in data.by_dataset.values() for record in records} == {
        "openkbp/a",
        "openkbp/b",
        "totalsegmentator/one",
    }
    assert {concept for sample in draws(data, record_of(store, "openkbp/a"), 5) for concept in asked(sample)} <= {
        "liver",
        "nonsense",
    }
    with pytest.raises(InputError, match="no train case"):
        dataset(store, trained=("heart_valve",))


def test_no_case_at_all(store: CaseStore) -> None:
    with pytest.raises(InputError, match="no validation case"):
        dataset(store, split="validation", sampling=replace(SAMPLING, dataset_weights={"totalsegmentator": 1.0}))


def test_concepts_are_counted_by_case(store: CaseStore) -> None:
    assert count_concepts(store.records("train")) == {
        "left_kidney": 1,
        "left_parotid_gland": 2,
        "liver": 1,
        "right_parotid_gland": 2,
        "spinal_cord": 1,
    }


# The data module


def data_module(store: CaseStore, **changes: Any) -> PatchDataModule:
    options = {"batch_size": 2, "samples_per_epoch": 4, "validation_samples": 3, **changes}
    return PatchDataModule(str(store.root), SAMPLING, STILL, **options)


def on_trainer(module: PatchDataModule, epoch: int, reload: int = 1) -> PatchDataModule:
    module.trainer = SimpleNamespace(  # type: ignore[assignment]
        global_step=2 * epoch, accumulate_grad_batches=1, world_size=1, reload_dataloaders_every_n_epochs=reload
    )
    return module


def test_loaders_give_batches(store: CaseStore, encoder: HashEncoder) -> None:
    module = data_module(store)
    module.prepare_data()
    assert (store.root / PHRASES_FILE).is_file()
    module.setup("fit")
    batches = list(module.train_dataloader())
    assert [batch.hu.shape[0] for batch in batches] == [2, 2]
    assert batches[0].text.shape == (2, 7, TEXT_DIM)
    assert batches[0].target.shape == (2, 7, 32, 32, 32)
    assert [batch.hu.shape[0] for batch in module.val_dataloader()] == [2, 1]


def test_only_phrases_that_can_be_asked_are_embedded(tmp_path: Path, store: CaseStore, encoder: HashEncoder) -> None:
    own = CaseStore(tmp_path)
    own.write_manifest(store.records())
    data_module(own).prepare_data()
    texts = set(encoder.encoded)
    assert {"left parotid gland", "liver", "right kidney"} <= texts  # the right kidney is a mirrored left one
    assert not {"spleen", "heart", "femur"} & texts


def test_every_epoch_has_its_patches_and_validation_is_always_the_same(store: CaseStore, encoder: HashEncoder) -> None:
    module = data_module(store)
    module.setup("fit")
    first, again, second = ([batch.hu for batch in on_trainer(module, epoch).train_dataloader()] for epoch in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], second[0])
    validation = [[batch.hu for batch in on_trainer(module, epoch).val_dataloader()] for epoch in (0, 5)]
    assert all(torch.equal(a, b) for a, b in zip(*validation, strict=True))


def test_a_trainer_that_would_repeat_an_epoch_is_refused(store: CaseStore, encoder: HashEncoder) -> None:
    module = data_module(store)
    module.setup("fit")
    with pytest.raises(InputError, match="reload_dataloaders_every_n_epochs to 1"):
        on_trainer(module, 0, reload=0).train_dataloader()


def test_validation_asks_for_what_training_shows(store: CaseStore, encoder: HashEncoder) -> None:
    module = data_module(store, validation_samples=6)
    module.setup("fit")
    embeddings = encoder.encode(["liver", "left kidney", "spleen", "right kidney"])
    rows = torch.cat([batch.text[batch.valid] for batch in module.val_dataloader()]).numpy()
    near = [np.abs(rows - embedding).max(1).min() < 2e-3 for embedding in embeddings]
    assert near == [True, True, False, False]


def test_checkpoints_say_what_was_trained(store: CaseStore) -> None:
    state = data_module(store).state_dict()
    assert state["trained_concepts"] == count_concepts(store.records("train"))
    assert state["manifest_sha256"] == hashlib.sha256((store.root / "manifest.jsonl").read_bytes()).hexdigest()
    sampling = replace(SAMPLING, dataset_weights={"openkbp": 1.0})
    module = PatchDataModule(str(store.root), sampling, STILL)
    assert set(module.state_dict()["trained_concepts"]) == {*PAROTIDS, "spinal_cord"}


def test_a_run_that_goes_on_with_other_data_says_so(store: CaseStore, caplog: pytest.LogCaptureFixture) -> None:
    module = data_module(store)
    module.load_state_dict(module.state_dict())
    module.load_state_dict({})  # an older checkpoint
    assert not caplog.records
    module.load_state_dict({"manifest_sha256": "0" * 64})
    assert "has changed since this run began" in caplog.text
