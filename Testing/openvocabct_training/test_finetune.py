from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from openvocabct_training.data.dataset import Sample
from openvocabct_training.data.store import CaseStore
from openvocabct_training.finetune import TextPromptedSegmentation
from openvocabct_training.losses import PRIOR_LOGIT, SegmentationLoss, segmentation_loss
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.models.config import ArchitectureConfig, PreprocessingConfig
from Testing.openvocabct_training.tiny_run import SAMPLES_PER_EPOCH, train
from Testing.openvocabct_training.toys import TEXT_DIM, HashEncoder, head_phantom

ARCHITECTURE = ArchitectureConfig(
    size="tiny", embedding_dim=8, text_dim=TEXT_DIM, query_hidden_dim=16, concepts=("left", "right")
)


def module(**options: Any) -> TextPromptedSegmentation:
    torch.manual_seed(0)
    return TextPromptedSegmentation(ARCHITECTURE, PreprocessingConfig(tile=(32, 32, 64)), **options)


def one_sample(padding: int = 1) -> Sample:
    """A patch of the head phantom asked for both parotids, for something absent, and nothing more."""
    hu, masks = head_phantom()
    window = (slice(0, 32), slice(6, 38))
    image = torch.full((1, 32, 32, 64), -1024.0)
    image[0, ..., :48] = torch.from_numpy(hu[window].astype("float32"))
    target = torch.zeros(1, 3 + padding, 32, 32, 64, dtype=torch.bool)
    for index, concept in enumerate(("left_parotid_gland", "right_parotid_gland")):
        target[0, index, ..., :48] = torch.from_numpy(masks[concept][window])
    text = torch.from_numpy(HashEncoder().encode(["left", "right", "absent", *["padding"] * padding]))[None]
    side = torch.tensor([[1.0, -1.0, 0.0, *[0.0] * padding]])
    left = torch.linspace(1.0, -1.0, 64).expand(1, 32, 32, 64)
    valid = torch.tensor([[True] * 3 + [False] * padding])
    concept = torch.tensor([[0, 1, -1, *[-1] * padding]])
    return Sample(image, text, target, valid, side, left, concept)


# One step


def test_nothing_is_likely_before_anything_is_learned() -> None:
    step = module()._step(one_sample(0))
    assert float(step.logits.mean()) == pytest.approx(PRIOR_LOGIT, abs=0.7)


def test_loss_falls_on_one_sample() -> None:
    network, sample = module(), one_sample(0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        step = network._step(sample)
        step.loss.backward()
        optimizer.step()
        losses.append(step.loss.item())
    assert losses[-1] < 0.4 * losses[0]
    assert step.per_prompt_dice.isnan().tolist() == [[False, False, True]]
    assert step.logits.shape == sample.target.shape and step.asked.all()


def test_every_parameter_is_trained() -> None:
    network = module()
    network._step(one_sample()).loss.backward()
    still = [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    # Instance normalisation takes away the constant that the convolution before it adds.
    assert [name for name in still if not name.endswith(("conv1.bias", "conv2.bias"))] == []


def test_padding_prompts_have_no_say() -> None:
    network = module()
    gradients = []
    for padding in (0, 2):
        network.zero_grad()
        sample = one_sample(padding)
        text = sample.text.clone().requires_grad_()
        network._step(sample._replace(text=text)).loss.backward()
        assert text.grad is not None
        assert (text.grad[~sample.valid] == 0).all() and (text.grad[sample.valid] != 0).any()
        gradients.append([weight.grad.clone() for weight in network.parameters() if weight.grad is not None])
    for alone, padded in zip(*gradients, strict=True):
        # Concept queries are scaled by 100, and so is the rounding of their gradients.
        torch.testing.assert_close(alone, padded, rtol=1e-3, atol=1e-4)


def test_a_structure_is_as_large_on_every_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    targets: list[Tensor] = []

    def remember(logits: Tensor, target: Tensor, *rest: Tensor) -> SegmentationLoss:
        targets.append(target)
        return segmentation_loss(logits, target, *rest)

    monkeypatch.setattr("openvocabct_training.finetune.segmentation_loss", remember)
    module()._step(one_sample())
    full, *coarse = (target.float() for target in targets)
    assert [target.shape[-1] for target in coarse] == [32, 16]
    for target in coarse:
        torch.testing.assert_close(target.mean((2, 3, 4)), full.mean((2, 3, 4)))


def test_patches_of_a_batch_are_asked_their_own_prompts() -> None:
    network = module()
    first = one_sample(0)
    second = Sample(
        first.hu.flip(-1),
        first.text.flip(1),
        first.target.flip(-1, 1),
        first.valid,
        first.side.flip(1),
        -first.leftness.flip(-1),
        first.concept.flip(1),
    )
    both = Sample(*(torch.cat(parts) for parts in zip(first, second, strict=True)))
    with torch.no_grad():
        apart = [network._step(sample) for sample in (first, second)]
        together = network._step(both)
    mean_bce = (apart[0].parts["bce"] + apart[1].parts["bce"]) / 2
    # Convolutions of two patches round in another way than those of one.
    torch.testing.assert_close(together.parts["bce"], mean_bce, rtol=1e-4, atol=1e-5)
    expected = torch.cat([step.per_prompt_dice for step in apart])
    torch.testing.assert_close(together.per_prompt_dice, expected, equal_nan=True, rtol=1e-4, atol=1e-5)


def test_the_side_decides_what_is_asked() -> None:
    network, sample = module(), one_sample(0)
    with torch.no_grad():
        steps = [network._step(sample._replace(side=side)) for side in (sample.side, -sample.side, 0 * sample.side)]
    losses = [float(step.parts["bce"]) for step in steps]
    assert len({round(loss, 5) for loss in losses}) == 3


def test_heads_and_losses_stay_in_fp32_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    from openvocabct_training import finetune

    seen: list[tuple[torch.dtype, torch.dtype]] = []

    def spy(embedding: Tensor, queries: Any) -> Tensor:
        logits = torch.einsum("pe,...edhw->...pdhw", queries.voxel, embedding)
        seen.append((queries.voxel.dtype, logits.dtype))
        return logits

    monkeypatch.setattr(finetune, "voxel_logits", spy)
    network = module()
    convolved: list[torch.dtype] = []
    network.model.backbone.conv_blocks_context[0].register_forward_hook(
        lambda _, __, features: convolved.append(features.dtype)
    )
    with torch.autocast("cpu", torch.bfloat16):
        step = network._step(one_sample())
    assert set(convolved) == {torch.bfloat16}
    assert step.loss.dtype == torch.float32
    assert set(seen) == {(torch.float32, torch.float32)} and len(seen) == 3


def test_convolutions_are_channels_last() -> None:
    weights = [weight for weight in module().model.backbone.parameters() if weight.dim() == 5 and weight.shape[2] == 3]
    assert weights and all(weight.is_contiguous(memory_format=torch.channels_last_3d) for weight in weights)


def test_wrong_sizes_are_named() -> None:
    with pytest.raises(InputError, match="no network size 'XXL'"):
        TextPromptedSegmentation(ArchitectureConfig(size="XXL"), PreprocessingConfig())
    with pytest.raises(InputError, match="at most 4"):
        module(deep_supervision=(0.5,) * 5)


# Runs


def checkpoint(folder: Path, epoch: int) -> dict[str, Any]:
    (path,) = folder.glob(f"epoch={epoch}-*.ckpt")
    loaded: dict[str, Any] = torch.load(path, weights_only=True)
    return loaded


def test_a_resumed_run_is_bit_identical(
    store: CaseStore, finished_run: Path, tmp_path: Path, encoder: HashEncoder
) -> None:
    (after_one_epoch,) = finished_run.glob("epoch=0-*.ckpt")
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(after_one_epoch, tmp_path / "checkpoints" / "last.ckpt")
    folder = train(store, tmp_path, "--ckpt_path", "last")
    (path,) = folder.glob(f"epoch=*-step={2 * SAMPLES_PER_EPOCH}.ckpt")
    resumed = torch.load(path, weights_only=True)
    expected = checkpoint(finished_run, 1)
    assert resumed["global_step"] == expected["global_step"] == 2 * SAMPLES_PER_EPOCH
    for part in ("state_dict", "current_model_state"):
        assert resumed[part].keys() == expected[part].keys()
        for name, tensor in expected[part].items():
            assert torch.equal(resumed[part][name], tensor), (part, name)
    states = (run["optimizer_states"][0]["state"].values() for run in (resumed, expected))
    for one, other in zip(*states, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in ("exp_avg", "exp_avg_sq", "step"))
    assert resumed["lr_schedulers"] == expected["lr_schedulers"]


def test_every_epoch_changes_the_weights_and_their_average(finished_run: Path) -> None:
    name = "model.projection.linear.weight"
    early, late = (checkpoint(finished_run, epoch) for epoch in (0, 1))
    for part in ("state_dict", "current_model_state"):
        assert not torch.equal(early[part][name], late[part][name])
    assert not torch.equal(late["state_dict"][name], late["current_model_state"][name])


def test_a_module_made_in_python_can_be_resumed_too(tmp_path: Path) -> None:
    path = tmp_path / "python.ckpt"
    torch.save({"hyper_parameters": dict(module().hparams)}, path)
    assert torch.load(path, weights_only=True)["hyper_parameters"]["architecture"] == ARCHITECTURE


def test_learning_rate_warms_up_and_falls_to_zero(store: CaseStore) -> None:
    class FakeTrainer:
        estimated_stepping_batches = 50

    network = module(learning_rate=1e-2, warmup_steps=10)
    network.trainer = FakeTrainer()  # type: ignore[assignment]
    configured = network.configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(51):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(1e-3)
    assert max(rates) == rates[9] == pytest.approx(1e-2)
    assert rates[50] == pytest.approx(0.0, abs=1e-9)
    assert all(later <= earlier for earlier, later in pairwise(rates[10:]))
