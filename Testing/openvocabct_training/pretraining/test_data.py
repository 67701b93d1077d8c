"""Views, measured reports, opposites, samples and the order in which they come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from openvocabct_training import cli
from openvocabct_training.data.augment import AugmentationConfig
from openvocabct_training.data.store import CaseStore
from openvocabct_training.pretraining.corpus import (
    CAPTIONS,
    REPORTS,
    captions_by_report,
    read_decompositions,
    read_reports,
)
from openvocabct_training.pretraining.dataset import BatchesOfStudies, StudyDataset, ViewConfig, collate, studies_of
from openvocabct_training.pretraining.describing import describe
from openvocabct_training.pretraining.network import OrganPool
from openvocabct_training.pretraining.opposites import is_normal, opposite
from openvocabct_training.pretraining.text import FrozenText, TrainableText, embed_reports
from openvocabct_training.pretraining.views import view_image, view_masks, view_of
from openvocabct_training.reports.rules import RulesBackend
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from Testing.openvocabct_training.pretraining.toy_corpus import TRAIN, VIEW
from Testing.openvocabct_training.toys import SHAPE, TEXT_DIM, HashEncoder

VOCABULARY = Vocabulary.load()


def test_views_cut_and_pad_about_the_middle() -> None:
    array = np.arange(5 * 6 * 4).reshape(5, 6, 4)
    assert np.array_equal(view_of(array, (3, 4, 2), 0), array[1:4, 1:5, 1:3])
    padded = view_of(array, (7, 6, 4), -1)
    assert np.array_equal(padded[1:6], array)
    assert (padded[[0, 6]] == -1).all()
    assert np.array_equal(view_of(array, (3, 4, 2), 0, (1, -1, 1)), array[2:5, 0:4, 2:4])
    assert (view_of(array, (3, 4, 2), -1, (9, 0, 0)) == -1).all()


def test_masks_of_organs_and_of_groups(corpus: CaseStore) -> None:
    record = corpus.records("train")[0]
    image = view_image(corpus, record, SHAPE)
    left, both, none = view_masks(corpus, record, ["left_parotid_gland", "parotid_glands", "lungs"], VOCABULARY, SHAPE)
    assert left is not None
    assert both is not None
    assert none is None
    assert image[left].mean() > 250  # the bright box of the phantom
    assert both.sum() > left.sum()
    assert np.argwhere(left)[:, 2].mean() < SHAPE[2] / 2 < np.argwhere(both & ~left)[:, 2].mean()


def test_measured_reports(corpus: CaseStore) -> None:
    text = describe(corpus, corpus.records("train")[0], SHAPE, VOCABULARY)
    assert "The left parotid gland is" in text
    assert "of very high attenuation" in text
    assert "The left parotid gland is larger than the right one." in text
    organs = {item.organ: item.text for item in RulesBackend().decompose(text).items}
    assert set(organs) == {"left_parotid_gland", "right_parotid_gland", "spinal_cord"}
    assert "lies in the middle third" in organs["spinal_cord"]


def test_describe_a_store(corpus: CaseStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "reports.jsonl"
    cli.main(["describe", str(corpus.root), "--view", "16", "16", "32", "--output", str(output)])
    rows = read_reports(output)
    assert capsys.readouterr().out == f"{len(rows)} reports\n"
    assert len(rows) == len(corpus.records())
    assert all(row.findings.startswith("FINDINGS:") and "IMPRESSION:" in row.text for row in rows)
    with pytest.raises(InputError, match=r"reports\.jsonl is missing"):
        read_reports(tmp_path / "nowhere" / REPORTS)
    cli.main(["describe", str(corpus.root), "--view", "16", "16", "32", "--output", str(output)])  # its own it replaces
    written = (corpus.root / REPORTS).read_bytes()
    with pytest.raises(SystemExit) as stopped:
        cli.main(["describe", str(corpus.root), "--view", "16", "16", "32"])
    assert stopped.value.code == 2
    assert "holds reports that somebody wrote" in capsys.readouterr().err
    assert (corpus.root / REPORTS).read_bytes() == written


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("No pleural effusion.", "There is pleural effusion."),
        ("No evidence of a stone.", "There is a stone."),
        ("There is a cyst in the liver.", "There is no cyst in the liver."),
        ("The heart is of normal size. Something.", "The heart is enlarged. Something."),
        ("The spleen is enlarged.", "The spleen is not enlarged."),
        ("The thyroid is not enlarged.", "The thyroid is enlarged."),
        ("The left parotid gland is small.", "The left parotid gland is large."),
        ("The right lung is seen.", "The left lung is seen."),
        ("Tortuous aorta.", None),
        ("No longer enlarged.", None),
        ("There is no longer an effusion.", None),
        ("No interval change in the left kidney.", None),
        ("The spleen is larger than normal.", None),
        ("The liver is not of normal size.", None),
    ],
)
def test_opposites(text: str, other: str | None) -> None:
    assert opposite(text) == other


def test_normal_captions() -> None:
    assert is_normal([("The liver is normal.", "present"), ("No lesion.", "absent")])
    assert not is_normal([("The liver is enlarged.", "present"), ("No lesion.", "absent")])
    assert not is_normal([("Liver of abnormal size", "present")])
    assert not is_normal([("Possible normal variant", "uncertain")])
    for text in (
        "The spleen is larger than normal.", "Heart size is above normal limits.", "The liver is not of normal size.",
        "The thyroid gland is not within normal limits.", "The lungs are not clear.", "No longer normal.",
        "There is a clear increase in the size of the nodule.",
    ):  # fmt: skip
        assert not is_normal([(text, "present")]), text
    for text in ("The aorta is within normal limits.", "The lungs are clear.", "The trachea is clear and patent."):
        assert is_normal([(text, "present")]), text
    assert not is_normal([])


def data(corpus: CaseStore, split: str, augmentation: AugmentationConfig | None) -> StudyDataset:
    rows = read_reports(corpus.root / REPORTS)
    captions = captions_by_report(rows, read_decompositions(corpus.root / CAPTIONS))
    studies = studies_of(corpus.records(split), rows, captions)
    return StudyDataset(corpus, studies, VOCABULARY, ViewConfig(VIEW, organs=3, shift=1), augmentation, seed=3)


def test_an_epoch_shows_every_study_once_in_an_order_of_its_own(corpus: CaseStore) -> None:
    dataset = data(corpus, "train", AugmentationConfig())
    orders = []
    for epoch in range(4):
        dataset.epoch = epoch
        orders.append([dataset[index].study for index in range(len(dataset))])
        assert sorted(orders[-1]) == sorted({study.name for study in dataset.studies})
    assert len(dataset) == TRAIN
    assert len({tuple(order) for order in orders}) > 1
    again, dataset.epoch = dataset[0], 3
    assert torch.equal(again.hu, dataset[0].hu)
    assert again.captions == dataset[0].captions


def test_samples(corpus: CaseStore) -> None:
    sample = data(corpus, "validation", None)[0]
    assert sample.hu.shape == VIEW
    assert sample.masks.shape == (3, *VIEW)
    organs = [caption.organ if caption else None for caption in sample.captions]
    assert organs == ["left_parotid_gland", "spinal_cord", "lungs"]
    assert sample.drawn.tolist() == [True, False, False]  # the cord is out of view, and nobody drew the lungs
    assert sample.captions[1] is not None
    assert sample.captions[1].normal
    assert "IMPRESSION" in sample.report
    batch = collate([sample, sample])
    assert batch.hu.shape == (2, *VIEW)
    assert batch.studies == [sample.study] * 2


def test_captions_of_other_reports_are_noticed(corpus: CaseStore) -> None:
    rows = read_reports(corpus.root / REPORTS)
    with pytest.raises(InputError, match="those of other reports"):
        captions_by_report(rows, {"0" * 64: next(iter(read_decompositions(corpus.root / CAPTIONS).values()))})


@pytest.mark.parametrize("line", ["{", '{"sha256": "x"}', '{"case": "a"}'])
def test_damaged_files_are_named(line: str, tmp_path: Path) -> None:
    for name, read in ((REPORTS, read_reports), (CAPTIONS, read_decompositions)):
        (tmp_path / name).write_text(line + "\n")
        with pytest.raises(InputError, match=f"line 1 of .*{name}"):
            read(tmp_path / name)


def test_batches_are_dealt_out_and_gone_on_with() -> None:
    alone = list(BatchesOfStudies(13, 4))
    assert alone == list(range(12))  # whole batches only
    parts = [list(BatchesOfStudies(13, 2, 2, rank)) for rank in (0, 1)]
    together = [sorted([*parts[0][b : b + 2], *parts[1][b : b + 2]]) for b in (0, 2, 4)]
    assert together == [alone[b : b + 4] for b in (0, 4, 8)]
    assert list(BatchesOfStudies(13, 4, done=2)) == alone[8:]
    assert len(BatchesOfStudies(13, 4, done=2)) == 12


def test_organs_are_pooled_by_their_masks_or_by_attention() -> None:
    torch.manual_seed(0)
    pool = OrganPool(text_dim=6, embedding_dim=4)
    voxels, masks = torch.randn(2, 4, 8, 8, 8), torch.rand(2, 3, 8, 8, 8) < 0.2
    drawn = torch.tensor([[True, False, True], [True, True, False]])
    names = torch.randn(2, 3, 6)
    pooled = pool(voxels, masks, drawn, names)
    for scan in range(2):
        for organ in range(3):
            if drawn[scan, organ]:
                wanted = voxels[scan][:, masks[scan, organ]].mean(1)
            else:
                blocks = torch.stack([
                    voxels[scan, :, a : a + 4, b : b + 4, c : c + 4].mean((1, 2, 3))
                    for a in (0, 4) for b in (0, 4) for c in (0, 4)
                ])  # fmt: skip
                weights = (blocks @ pool.query(names[scan, organ]) / 2.0).softmax(0)
                wanted = weights @ blocks
            assert torch.allclose(pooled[scan, organ], wanted, atol=1e-5)


def test_reports_are_means_of_sentences_and_each_is_encoded_once() -> None:
    encoder = HashEncoder()
    tower = FrozenText(encoder)
    rows = embed_reports(tower, ["One here. Two here.", "Two here.", ""])
    assert rows.shape == (3, TEXT_DIM)
    assert torch.allclose(rows.norm(dim=1), torch.ones(3), atol=1e-5)
    both = tower(["One here.", "Two here."]).mean(0)
    assert torch.allclose(rows[0], both / both.norm(), atol=1e-4)
    embed_reports(tower, ["One here."])
    assert sorted(encoder.encoded) == ["", "One here.", "Two here."]


def test_only_the_last_layers_of_a_text_encoder_learn(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "[PAD]": 1, "liver": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(tmp_path)
    sizes: dict[str, Any] = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=3, num_hidden_layers=2, **sizes)).save_pretrained(tmp_path)
    tower = TrainableText(tmp_path, layers=1)
    rows = tower(["liver", "liver liver spleen"])
    assert torch.allclose(rows.norm(dim=1), torch.ones(2), atol=1e-5)
    rows[0, 0].backward()
    learning = {name for name, weight in tower.named_parameters() if weight.requires_grad}
    assert learning
    assert all(name.startswith("encoder.encoder.layer.1.") for name in learning)
    with pytest.raises(InputError, match="no 3 layers"):
        TrainableText(tmp_path, layers=3)
