from __future__ import annotations

from pathlib import Path

import pytest
import torch

from openvocabct_training.data.sampling import SamplingConfig
from openvocabct_training.data.store import CaseStore
from openvocabct_training.export import export_checkpoint, load_checkpoint
from openvocabct_training.refit import read_sampling, refit
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.inference.segmenter import Segmenter
from OpenVocabCTLib.models.heads import voxel_logits
from OpenVocabCTLib.models.openvocab import CONCEPT_SCALE, OpenVocabCT
from Testing.openvocabct_training.tiny_run import PATCH, configuration, write_configuration
from Testing.openvocabct_training.toys import HashEncoder, head_phantom

SAMPLING = SamplingConfig(patch=(32, 32, 64), dataset_weights={"openkbp": 1.0}, nonsense_probability=0.0)
QUERIES = "concept_queries"


@pytest.fixture
def refitted(finished_run: Path, store: CaseStore, tmp_path: Path, encoder: HashEncoder) -> Path:
    output = tmp_path / "new" / "refitted.ckpt"
    refit(finished_run / "last.ckpt", store.root, output, SAMPLING, patches=3, epochs=6, learning_rate=2e-2)
    return output


def loss(checkpoint: Path) -> float:
    """BCE of the spinal cord in the toy patient."""
    network = load_checkpoint(checkpoint)
    model = OpenVocabCT(network.config.architecture, network.config.preprocessing).eval()
    model.load_state_dict(dict(network.weights))
    hu, masks = head_phantom()
    image = torch.full((1, 64, 64, 64), -1024.0)
    image[0, :40, :44, :48] = torch.from_numpy(hu).float()
    target = torch.zeros(1, 64, 64, 64)
    target[0, :40, :44, :48] = torch.from_numpy(masks["spinal_cord"]).float()
    with torch.no_grad():
        embedding = model.encode_image(image, torch.zeros_like(image)).embedding
        text = torch.from_numpy(HashEncoder().encode(["spinal cord"]))
        row = torch.tensor([model.concept_index("spinal_cord")])
        logits = voxel_logits(embedding, model.encode_text(text, torch.zeros(1), row))
    return float(torch.nn.functional.binary_cross_entropy_with_logits(logits[0], target))


def test_only_the_queries_of_known_concepts_change(finished_run: Path, refitted: Path) -> None:
    before, after = load_checkpoint(finished_run / "last.ckpt"), load_checkpoint(refitted)
    assert before.config == after.config
    assert before.concepts == after.concepts
    changed = [name for name in before.weights if not torch.equal(before.weights[name], after.weights[name])]
    assert changed == [QUERIES]


def test_only_named_concepts_get_their_new_query(
    finished_run: Path, refitted: Path, store: CaseStore, tmp_path: Path, encoder: HashEncoder
) -> None:
    some, last = tmp_path / "some.ckpt", finished_run / "last.ckpt"
    only = ["spinal_cord"]
    refit(last, store.root, some, SAMPLING, patches=3, epochs=6, learning_rate=2e-2, only=only)
    before, after, every = (load_checkpoint(path) for path in (last, some, refitted))
    row = before.config.architecture.concepts.index("spinal_cord")
    expected = before.weights[QUERIES].clone()
    expected[row] = every.weights[QUERIES][row]
    assert not torch.equal(expected, before.weights[QUERIES])
    assert torch.equal(after.weights[QUERIES], expected)


def test_what_cannot_be_refitted(finished_run: Path, store: CaseStore, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no query for 'liver_segment_2'"):
        refit(finished_run / "last.ckpt", store.root, tmp_path / "x.ckpt", SAMPLING, only=["liver_segment_2"])
    copy = tmp_path / "last.ckpt"
    copy.write_bytes((finished_run / "last.ckpt").read_bytes())
    with pytest.raises(InputError, match="would be replaced"):
        refit(copy, store.root, tmp_path / "." / "last.ckpt", SAMPLING)
    assert copy.read_bytes() == (finished_run / "last.ckpt").read_bytes()
    with pytest.raises(InputError, match="0 patches are none"):
        refit(finished_run / "last.ckpt", store.root, tmp_path / "x.ckpt", SAMPLING, patches=0)


def test_the_queries_answer_better(finished_run: Path, store: CaseStore, tmp_path: Path, encoder: HashEncoder) -> None:
    content = torch.load(finished_run / "last.ckpt", weights_only=True)
    row = load_checkpoint(finished_run / "last.ckpt").config.architecture.concepts.index("spinal_cord")
    content["state_dict"][f"model.{QUERIES}"][row, -1] += 4.0 / CONCEPT_SCALE  # finds cord almost everywhere
    spoiled, mended = tmp_path / "spoiled.ckpt", tmp_path / "mended.ckpt"
    torch.save(content, spoiled)
    refit(spoiled, store.root, mended, SAMPLING, patches=3, epochs=6, learning_rate=2e-2)
    assert loss(mended) < 0.5 * loss(spoiled)


def test_the_result_can_be_exported(refitted: Path, store: CaseStore, tmp_path: Path) -> None:
    export_checkpoint(refitted, store.root, tmp_path / "toy", "toy", "1", encoder=HashEncoder())
    exported = Segmenter.from_pretrained(tmp_path / "toy", device="cpu").model.state_dict()[QUERIES]
    torch.testing.assert_close(exported, load_checkpoint(refitted).weights[QUERIES], rtol=1e-3, atol=1e-6)


def test_sampling_of_a_run_with_every_structure_asked(store: CaseStore, tmp_path: Path) -> None:
    path = write_configuration(tmp_path / "config.yaml", configuration(store, tmp_path, 2))
    sampling = read_sampling(path)
    assert sampling.patch == tuple(PATCH)
    assert sampling.nonsense_probability == 0.0
    assert sampling.positives > 3
    with pytest.raises(InputError, match=r"cannot read data.sampling"):
        read_sampling(tmp_path / "no.yaml")
