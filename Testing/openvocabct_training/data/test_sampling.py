from __future__ import annotations

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from openvocabct_training.data.augment import AugmentationConfig
from openvocabct_training.data.dataset import PatchDataset, Sample
from openvocabct_training.data.module import PatchDataModule
from openvocabct_training.data.sampling import (
    PatchSampler,
    PromptChooser,
    SamplingConfig,
    dataset_chances,
    place_in_epoch,
    sampled_records,
)
from openvocabct_training.data.store import CaseRecord, CaseStore
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from Testing.openvocabct_training.toys import LEFT_HU, RIGHT_HU, HashEncoder, OneHotPhrases

LEFT, RIGHT = "left_parotid_gland", "right_parotid_gland"
CONCEPTS = (LEFT, RIGHT, "spinal_cord", "liver", "spleen", "left_kidney", "right_kidney")
SAMPLING = SamplingConfig(patch=(32, 32, 32), positives=4, negatives=2, text_noise=0.0)
STILL = AugmentationConfig(
    spatial_probability=0.0, anisotropy_probability=0.0, noise_hu=0.0, shift_hu=0.0, contrast=(1.0, 1.0)
)


def record(dataset: str = "a", present: tuple[str, ...] = (), absent: tuple[str, ...] = ()) -> CaseRecord:
    return CaseRecord(
        f"{dataset}/1", dataset, "train", "", (8, 8, 8), (3.0, 3.0, 3.0), dict.fromkeys(present, 9), absent, True, ""
    )


def chooser(trained: tuple[str, ...] = CONCEPTS, **changes: object) -> PromptChooser:
    return PromptChooser(frozenset(trained), Vocabulary.load(), replace(SAMPLING, **changes))  # type: ignore[arg-type]


def drawn(store: CaseStore, count: int = 40, **changes: object) -> list[tuple[Sample, list[str]]]:
    """Samples of a symmetric patient, and what each was asked."""
    case = next(record for record in store.records("train") if record.case == "openkbp/a")
    sampling = replace(SAMPLING, **changes)  # type: ignore[arg-type]
    trained = [c for c in (*case.present, *case.absent) if c not in sampling.exclude_concepts]
    phrases = OneHotPhrases(CONCEPTS)
    data = PatchDataset(store, "train", trained, phrases, Vocabulary.load(), sampling, STILL, 0, 0, 1)  # type: ignore[arg-type]
    samples = [data.draw(case, np.random.default_rng(seed)) for seed in range(count)]
    return [(sample, phrases.read(sample.text.numpy(), sample.valid.numpy())) for sample in samples]


# Data sets


def test_automatic_weights_are_one_over_the_root_of_a_data_sets_size_for_each_case() -> None:
    records = [record("big")] * 100 + [record("small")]
    chances = dataset_chances(SamplingConfig(dataset_weights="auto"), records)
    assert chances["big"] / chances["small"] == pytest.approx(10.0)
    assert chances["big"] / 100 / chances["small"] == pytest.approx(1 / np.sqrt(100))
    assert sampled_records(records, SamplingConfig(dataset_weights="auto")) == records


def test_weights_that_are_named_are_kept() -> None:
    assert dataset_chances(SamplingConfig(dataset_weights={"small": 0.5}), [record("big")]) == {"small": 0.5}


def test_validation_cases_are_sampled_as_training_cases_are() -> None:
    auto = SamplingConfig(dataset_weights="auto")
    training = [record("a"), record("b")]
    assert sampled_records([record("a"), record("c")], auto, training) == [record("a")]


# Pairs


def test_pairs_are_drawn_together() -> None:
    case = record(present=(LEFT, RIGHT, "spinal_cord", "liver", "spleen", "left_kidney", "right_kidney"))
    together = {}
    for probability in (0.0, 1.0):
        choose = chooser(pair_probability=probability, positives=3)
        chosen = [choose.choose(case, False, np.random.default_rng(seed))[0] for seed in range(200)]
        assert all(len(set(positives)) == 3 for positives in chosen)
        together[probability] = np.mean([RIGHT in positives for positives in chosen if LEFT in positives])
    assert together[0.0] < 0.5
    assert together[1.0] > 0.75  # the rest is cut off where the left one comes last


def test_a_missing_other_side_is_asked_first() -> None:
    case = record(present=("left_kidney",), absent=("liver", "spleen", "spinal_cord", "right_kidney"))
    for mirrored in (False, True):
        choose = chooser(pair_probability=1.0, negatives=1)
        negatives = {tuple(choose.choose(case, mirrored, np.random.default_rng(seed))[1]) for seed in range(20)}
        assert negatives == {("right_kidney",)}


def test_the_other_side_of_a_pair_is_a_negative_of_the_same_patch(store: CaseStore) -> None:
    seen = 0
    for sample, names in drawn(store, pair_probability=1.0):
        if LEFT in names and RIGHT in names:
            left, right = (sample.target[names.index(name)] for name in (LEFT, RIGHT))
            assert not (left & right).any()
            seen += bool(left.any() and right.any())
    assert seen > 3


# Held-out concepts


def test_an_excluded_concept_is_never_asked(store: CaseStore) -> None:
    for excluded in ("spinal_cord", "liver"):  # one that the case shows, one that it is known not to show
        asked = Counter(name for _, names in drawn(store, exclude_concepts=(excluded,)) for name in names)
        assert excluded not in asked
        assert {LEFT, RIGHT} <= set(asked)


def test_an_excluded_side_is_not_asked_of_mirrored_patients_either(store: CaseStore) -> None:
    brightness = Counter[float]()
    for sample, names in drawn(store, 80, exclude_concepts=(LEFT,), negatives=1):
        assert LEFT not in names
        if RIGHT in names and (mask := sample.target[names.index(RIGHT)]).sum() > 50:
            brightness[round(float(sample.hu[mask].median()))] += 1
    # What is the right gland of a mirrored patient was on the left: it is asked about, under its new name.
    assert set(brightness) == {LEFT_HU, RIGHT_HU}


def test_a_patch_that_has_nothing_else_to_ask_is_asked_nonsense(store: CaseStore) -> None:
    others = tuple(concept for concept in CONCEPTS if concept != RIGHT)
    for sample, names in drawn(store, 20, exclude_concepts=others, nonsense_probability=0.0):
        assert names in ([RIGHT], ["nonsense"])
        assert sample.valid.sum() == 1


def test_an_excluded_concept_is_not_called_trained_nor_worded(store: CaseStore, encoder: HashEncoder) -> None:
    for excluded, worded in (("spinal_cord", False), (LEFT, True)):
        sampling = replace(SAMPLING, dataset_weights="auto", exclude_concepts=(excluded,))
        module = PatchDataModule(str(store.root), sampling, STILL)
        assert excluded not in module.trained_concepts()
        book = module._phrase_book()
        with pytest.raises(KeyError):
            book.name(excluded)
        if worded:
            assert book.name(RIGHT) is not None


# Indices of an epoch


@given(st.integers(1, 40), st.integers(1, 4), st.integers(1, 3), st.integers(0, 12))
def test_processes_together_draw_what_one_would(length: int, processes: int, batch: int, steps_done: int) -> None:
    alone = [index % length for index in range(-(-length // processes) * processes)]
    done = steps_done * batch
    shares = [list(PatchSampler(range(length), processes, rank, done)) for rank in range(processes)]
    assert len({len(share) for share in shares}) == 1
    taken = [index for step in zip(*shares, strict=True) for index in step]
    assert taken == alone[done * processes :]
    assert len(PatchSampler(range(length), processes, 0, done)) == -(-length // processes)


@given(st.integers(1, 30), st.integers(1, 8), st.integers(1, 6))
def test_every_epoch_is_gone_through_whole_and_ends(batches: int, accumulated: int, epochs: int) -> None:
    """As Lightning steps: after every ``accumulated`` batches of an epoch, and after its last one."""
    steps = 0
    for epoch in range(epochs):
        for batch in range(batches):
            if batch % accumulated == 0:
                assert place_in_epoch(steps, batches, accumulated) == (epoch, batch)
            if (batch + 1) % accumulated == 0 or batch + 1 == batches:
                steps += 1
    assert place_in_epoch(steps, batches, accumulated) == (epochs, 0)


@pytest.mark.parametrize("steps", [0, 2, 4, 6])
def test_only_an_unfinished_epoch_is_gone_on_with(store: CaseStore, encoder: HashEncoder, steps: int) -> None:
    module = PatchDataModule(str(store.root), replace(SAMPLING, dataset_weights="auto"), STILL, 1, 4)
    module.setup("fit")
    first = [batch.hu for batch in module.train_dataloader()]
    module.trainer = SimpleNamespace(  # type: ignore[assignment]
        global_step=steps,
        accumulate_grad_batches=1,
        world_size=1,
        reload_dataloaders_every_n_epochs=1,
        lightning_module=None,
    )
    rest = [batch.hu for batch in module.train_dataloader()]
    assert len(rest) == 4 - steps % 4
    of_the_first = [torch.equal(one, other) for one, other in zip(rest, first[steps % 4 :], strict=True)]
    assert all(of_the_first) if steps < 4 else not all(of_the_first)
