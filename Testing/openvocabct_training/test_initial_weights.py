from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from openvocabct_training.finetune import TextPromptedSegmentation
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.models.config import ArchitectureConfig, PreprocessingConfig
from Testing.openvocabct_training.toys import TEXT_DIM

ARCHITECTURE = ArchitectureConfig(size="tiny", embedding_dim=8, text_dim=TEXT_DIM, query_hidden_dim=16)


def module(
    weights: Path | None = None, partial: bool = False, architecture: ArchitectureConfig = ARCHITECTURE
) -> TextPromptedSegmentation:
    start = None if weights is None else str(weights)
    preprocessing = PreprocessingConfig(tile=(32, 32, 64))
    return TextPromptedSegmentation(architecture, preprocessing, initial_weights=start, partial_weights=partial)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.save({"state_dict": module().state_dict()}, tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


def test_a_checkpoint(checkpoint: Path) -> None:
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    started = module(checkpoint).state_dict()
    assert started.keys() == state.keys() and all(torch.equal(started[name], state[name]) for name in state)


def test_a_model_folder(tmp_path: Path) -> None:
    given = {name: weight.half().contiguous() for name, weight in module().model.state_dict().items()}
    save_file(given, tmp_path / "model.safetensors")
    started = module(tmp_path).model.state_dict()
    assert all(torch.equal(started[name], given[name].float()) for name in given)


def test_what_does_not_fit_is_named(checkpoint: Path, tmp_path: Path) -> None:
    wider = replace(ARCHITECTURE, embedding_dim=16)
    with pytest.raises(InputError, match=r"weights of other sizes \(model\."):
        module(checkpoint, architecture=wider)
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    torch.save({"state_dict": {**state, "model.other": torch.zeros(1)}}, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match=r"another network \(model.other\)"):
        module(tmp_path / "other.ckpt")
    with pytest.raises(InputError, match="there is no checkpoint"):
        module(tmp_path / "no.ckpt")
    (tmp_path / "text.ckpt").write_text("text")
    (tmp_path / "text.safetensors").write_text("text")
    for name in ("text.ckpt", "text.safetensors"):
        with pytest.raises(InputError, match="holds no weights that can be read"):
            module(tmp_path / name)


def test_a_published_backbone_is_taken_as_far_as_it_fits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # One input channel, as published, where this network has one for every window of HU.
    published = {name: torch.rand(weight.shape) for name, weight in module().model.backbone.state_dict().items()}
    first = "conv_blocks_context.0.0.conv1.weight"
    published[first] = published[first][:, :1].contiguous()
    published["conv_blocks_context.0.0.conv3.weight"] = torch.zeros(8, 1, 1, 1, 1)
    published["seg_outputs.0.weight"] = torch.zeros(3, 8, 1, 1, 1)
    path = tmp_path / "stunet.safetensors"
    save_file(published, path)
    with pytest.raises(InputError, match="partial_weights"):
        module(path)
    with caplog.at_level("INFO"):
        started = module(path, partial=True).model.backbone.state_dict()
    taken = [name for name in started if torch.equal(started[name], published[name])]
    assert set(started) - set(taken) == {first, "conv_blocks_context.0.0.conv3.weight"}
    assert f"took {len(taken)} of " in caplog.text
    assert f"of another size: model.backbone.{first}" in caplog.text
    assert "of no use here: seg_outputs.0.weight" in caplog.text
    assert "not there: " in caplog.text and "model.query_head.trunk.0.weight" in caplog.text


def test_queries_of_concepts_keep_their_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    theirs = replace(ARCHITECTURE, concepts=("aorta", "liver", "spleen"))
    network = module(architecture=theirs)
    torch.nn.init.normal_(network.model.concept_queries)
    queries = dict(zip(theirs.concepts, network.model.concept_queries.detach(), strict=True))
    torch.save(
        {"state_dict": network.state_dict(), "hyper_parameters": {"architecture": asdict(theirs)}}, tmp_path / "a.ckpt"
    )
    (tmp_path / "model").mkdir()
    whole = {name: weight.contiguous() for name, weight in network.model.state_dict().items()}
    save_file(whole, tmp_path / "model" / "model.safetensors")
    (tmp_path / "model" / "config.json").write_text(json.dumps({"architecture": asdict(theirs)}))
    for place in (tmp_path / "a.ckpt", tmp_path / "model"):
        for concepts in (("heart", "liver", "spleen"), ("spleen", "aorta", "liver"), ("aorta", "heart"), ()):
            ours = replace(ARCHITECTURE, concepts=concepts)
            with pytest.raises(InputError, match="has queries of other concepts"):
                module(place, architecture=ours)
            with caplog.at_level("INFO"):
                started = module(place, partial=True, architecture=ours).model.concept_queries
            for concept, query in zip(concepts, started, strict=True):
                assert torch.equal(query, queries.get(concept, torch.zeros_like(query))), concept
        same = module(place, architecture=theirs).model.concept_queries
        assert torch.equal(same, network.model.concept_queries)
    assert "without one there: heart" in caplog.text


def test_nothing_that_fits_is_an_error(tmp_path: Path) -> None:
    torch.save({"state_dict": {"other": torch.zeros(1)}}, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match="no weights of this network"):
        module(tmp_path / "other.ckpt", partial=True)
