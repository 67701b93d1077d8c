from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.tensorboard import SummaryWriter

from openvocabct_training import cli
from openvocabct_training.evaluation.curves import curves, read_scalars, running_mean
from OpenVocabCTLib.errors import InputError

VALUE = "train/dice_loss"


def write_log(run: Path, values: dict[int, float], version: int = 0, name: str = VALUE) -> Path:
    """TensorBoard logs as a run of `fit` has them."""
    with SummaryWriter(str(run / "logs" / f"version_{version}")) as writer:
        for step, value in values.items():
            writer.add_scalar(name, value, step)
    return run


def test_a_resumed_run_has_one_value_for_every_step(tmp_path: Path) -> None:
    run = write_log(tmp_path / "cnn", {0: 1.0, 5: 0.8, 10: 0.75})
    write_log(run, {10: 0.5, 15: 0.25}, version=1)
    steps, values = read_scalars(run, VALUE)
    assert steps.tolist() == [0, 5, 10, 15]
    assert values.tolist() == [1.0, pytest.approx(0.8), 0.5, 0.25]


@given(
    st.lists(st.integers(0, 500), min_size=1, max_size=40, unique=True).map(sorted),
    st.integers(1, 80),
)
def test_the_running_mean_is_that_of_the_last_steps(steps: list[int], span: int) -> None:
    values = np.random.default_rng(len(steps)).random(len(steps))
    shown, means = running_mean(np.array(steps), values, span)
    expected = {
        step: np.mean([value for other, value in zip(steps, values, strict=True) if step - span < other <= step])
        for step in steps
        if step >= min(span - 1, steps[-1])
    }
    assert shown.tolist() == list(expected)
    assert np.allclose(means, list(expected.values()))


def test_the_command_draws_every_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [write_log(tmp_path / name, {step: 1.0 / (step + 1) for step in range(100)}) for name in ("ours", "cnn")]
    picture = tmp_path / "curves.png"
    cli.main(["curves", *map(str, runs), "--output", str(picture), "--span", "10"])
    assert capsys.readouterr().out.strip() == str(picture)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_drawn_is_named(tmp_path: Path) -> None:
    run = write_log(tmp_path / "cnn", {0: 1.0}, name="train/loss")
    (tmp_path / "empty").mkdir()
    picture = tmp_path / "curves.png"
    with pytest.raises(InputError, match="nothing to draw"):
        curves([], picture)
    with pytest.raises(InputError, match="mean of 0 steps"):
        curves([run], picture, span=0)
    with pytest.raises(InputError, match="empty holds no TensorBoard logs"):
        curves([tmp_path / "empty"], picture)
    with pytest.raises(InputError, match="cnn did not log 'train/dice_loss': choose one of train/loss"):
        curves([run], picture)
    assert not picture.exists()
