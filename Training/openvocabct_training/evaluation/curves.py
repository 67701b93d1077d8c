"""Learning curves of several runs in one picture, from their TensorBoard logs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from openvocabct_training.evaluation.plots import write_curves
from OpenVocabCTLib.errors import InputError


def curves(runs: Sequence[Path], output: Path, value: str = "train/dice_loss", span: int = 50) -> None:
    """Draw one line for each run.

    Args:
        runs: run folders; the name of a folder is that of its line, or all of its path if two have the same.
        output: PNG file to write.
        value: a value that all runs logged.
        span: of the running mean, in steps; one step of one patch says little.

    Raises:
        InputError: a folder holds no logs, a run did not log the value, the span is no number of steps, or the output
            cannot be written.
        ResourceError: the disk is full.
    """
    if not runs:
        raise InputError("there is nothing to draw", "give run folders of `openvocabct-train fit`")
    if span < 1:
        raise InputError(f"a mean of {span} steps is none", "give a span of 1 or more")
    names = [run.name for run in runs]
    told_apart = [run.name if names.count(run.name) == 1 else str(run) for run in runs]
    lines = {name: running_mean(*read_scalars(run, value), span) for name, run in zip(told_apart, runs, strict=True)}
    write_curves(lines, f"{value}, mean of {span} steps", output)


def read_scalars(run: Path, value: str) -> tuple[np.ndarray, np.ndarray]:
    """(n,) steps in order and (n,) values below a run folder; where a run was resumed, a step's last value counts.

    Raises:
        InputError: there are no logs, or the value is not in them.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folders = sorted({file.parent for file in run.rglob("events.out.tfevents.*")})
    if not folders:
        raise InputError(f"{run} holds no TensorBoard logs", "give the folder of a run of `openvocabct-train fit`")
    found: dict[int, tuple[float, float]] = {}
    names: set[str] = set()
    for folder in folders:
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
        names |= set(events.Tags()["scalars"])
        for event in events.Scalars(value) if value in events.Tags()["scalars"] else ():
            found[event.step] = max(found.get(event.step, (-np.inf, 0.0)), (event.wall_time, event.value))
    if not found:
        raise InputError(f"{run} did not log {value!r}", f"choose one of {', '.join(sorted(names))}")
    steps = np.array(sorted(found))
    return steps, np.array([found[step][1] for step in steps])


def running_mean(steps: np.ndarray, values: np.ndarray, span: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the last ``span`` steps, at every step that has so many behind it; at the last one if none has.

    Args:
        steps: (n,) in ascending order.
        values: (n,).
        span: in steps, 1 or more.
    """
    firsts = np.searchsorted(steps, steps - span, side="right")
    totals = np.concatenate(([0.0], np.cumsum(values)))
    means = (totals[1:] - totals[firsts]) / (np.arange(len(steps)) + 1 - firsts)
    shown = steps >= min(span - 1, steps[-1])
    return steps[shown], means[shown]
