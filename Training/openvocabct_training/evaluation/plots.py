"""Plots of an evaluation, drawn without a display."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from openvocabct_training.evaluation.suites.accuracy import METRICS, concepts_of, table
from OpenVocabCTLib.output.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LABELS = {
    "dice": "Dice",
    "dice_in_extent": "Dice in the drawn slices",
    "nsd": "normalised surface Dice",
    "hd95_mm": "95 % Hausdorff distance (mm)",
}
_DPI = 120
_COLOURS = ("#c2571a", "#3b7dd8", "#4a9b5e", "#8a5fb5", "#7a7a7a", "#c9a227")


def write_box_plots(records: Sequence[dict[str, Any]], path: Path) -> None:
    """Write a PNG with one box per structure for each metric; whiskers span 1.5 interquartile ranges.

    Raises:
        InputError: the folder cannot be written.
        ResourceError: the disk is full.
    """
    concepts = concepts_of(records)
    figure = _figure(max(6.0, 2.0 + 0.6 * len(concepts)), 3.2 * len(METRICS))
    for row, metric in enumerate(METRICS):
        axes = figure.add_subplot(len(METRICS), 1, row + 1)
        values = table(records, metric, concepts)
        columns = [[float(value) for value in column if value == value] for column in values.T]
        positions = [n for n, column in enumerate(columns) if column]
        if positions:
            axes.boxplot([columns[n] for n in positions], positions=positions, widths=0.6, showmeans=True)
        axes.set_xlim(-0.6, len(concepts) - 0.4)
        last = row == len(METRICS) - 1
        axes.set_xticks(
            range(len(concepts)),
            [concept.replace("_", " ") if last else "" for concept in concepts],
            rotation=30,
            ha="right",
        )
        axes.set_ylabel(_LABELS[metric])
        axes.grid(axis="y", alpha=0.3)
        if metric != "hd95_mm":
            axes.set_ylim(-0.02, 1.02)
    _save(figure, path)


def suite_bars(summary: dict[str, Any]) -> dict[str, float]:
    """Return the headline of every suite in a summary, each between 0 and 1 with 1 the best."""
    bars: dict[str, float | None] = {
        "Dice": summary.get("mean_dice_over_organs"),
        "NSD": summary.get("mean_nsd_over_organs"),
    }
    if "synonyms" in summary:
        bars |= {
            f"{kind}s: Dice kept" if kind != "latin" else "Latin: Dice kept": share
            for kind, share in _kept(summary["synonyms"]["concepts"]).items()
        }
    if "negatives" in summary:
        for category in ("absent", "out_of_view", "wrong_side", "nonsense"):
            rate = summary["negatives"][category]["rate"]
            bars[f"{category.replace('_', ' ')}: not invented"] = None if rate is None else 1 - rate
        bars["presence AUROC"] = summary["negatives"]["presence_auroc"]
    if "laterality" in summary:
        rate = summary["laterality"]["swap_rate"]
        bars["sides: not swapped"] = None if rate is None else 1 - rate
    for perturbation, entry in summary.get("robustness", {}).items():
        bars[f"Dice, {perturbation} changed"] = entry["mean_dice"]
    return {name: value for name, value in bars.items() if value is not None}


def _kept(concepts: Mapping[str, Any]) -> dict[str, float]:
    """Kind of wording -> mean share of the Dice of the name that its wordings have, where the name has any."""
    shares: dict[str, list[float]] = {}
    for entry in concepts.values():
        for wording in entry["wordings"].values() if entry["dice_of_the_name"] > 0 else ():
            share = min(wording["mean_dice"] / entry["dice_of_the_name"], 1.0)
            shares.setdefault(wording["kind"], []).append(share)
    return {kind: fmean(each) for kind, each in sorted(shares.items())}


def write_suite_bars(summary: dict[str, Any], path: Path) -> None:
    """Write a PNG with one bar per headline figure of the suites; nothing is written where there is none.

    Raises:
        InputError: the folder cannot be written.
        ResourceError: the disk is full.
    """
    bars = suite_bars(summary)
    if not bars:
        return
    figure = _figure(8.0, 1.0 + 0.34 * len(bars))
    axes = figure.add_subplot()
    places = list(range(len(bars)))[::-1]
    axes.barh(places, list(bars.values()), color="#3b7dd8")
    for place, value in zip(places, bars.values(), strict=True):
        axes.text(max(value, 0.0) + 0.01, place, f"{value:.3f}", va="center", size=8)
    axes.set_yticks(places, list(bars))
    axes.set_xlim(0, 1.12)
    axes.grid(axis="x", alpha=0.3)
    _save(figure, path)


def write_reliability(curves: Mapping[str, Sequence[tuple[float, float, int]]], path: Path) -> None:
    """Write a reliability diagram: how often what is said with some probability is so; on the line it is as often.

    Args:
        curves: legend -> mean probability, share that is so, and number of samples of every bin.
        path: PNG file.

    Raises:
        InputError: the folder cannot be written.
        ResourceError: the disk is full.
    """
    figure = _figure(5.2, 6.2)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot((0, 1), (0, 1), color="#888888", linestyle="--", linewidth=1)
    for place, (name, bins) in enumerate(curves.items()):
        means, shares, counts = zip(*bins, strict=True)
        colour = _COLOURS[place % len(_COLOURS)]
        # A bin of one sample says 0 or 1 and little else: the area of a mark is its number of samples.
        above.plot(means, shares, color=colour, linewidth=1, alpha=0.4)
        above.scatter(means, shares, [12 + 4 * count for count in counts], color=colour, alpha=0.8, label=name)
        offset = (place - (len(curves) - 1) / 2) * 0.03
        below.bar([mean + offset for mean in means], counts, width=0.03, color=colour)
    above.set_ylabel("share of structures that are in the scan")
    above.set_ylim(-0.02, 1.02)
    figure.legend(loc="outside upper center", fontsize=9, ncols=2, markerscale=0.5)
    above.grid(alpha=0.3)
    below.set_yscale("log")
    below.set_ylabel("questions")
    below.set_xlabel("probability of presence")
    below.set_xlim(-0.02, 1.02)
    _save(figure, path)


def write_system_boxes(dice: Mapping[str, Mapping[str, Sequence[float]]], path: Path) -> None:
    """Write a PNG with one box of Dice for every system, side by side for every structure; triangles are means.

    Args:
        dice: system -> structure -> Dice of every patient; all systems have the same structures.
        path: PNG file.

    Raises:
        InputError: the folder cannot be written.
        ResourceError: the disk is full.
    """
    structures = list(next(iter(dice.values())))
    figure = _figure(2.0 + 0.25 * len(structures) * (len(dice) + 1), 4.2)
    axes = figure.add_subplot()
    width = 0.8 / len(dice)
    shown = []
    for place, values in enumerate(dice.values()):
        boxes = axes.boxplot(
            [list(values[structure]) for structure in structures],
            positions=[n + (place - (len(dice) - 1) / 2) * width for n in range(len(structures))],
            widths=0.8 * width, showmeans=True, patch_artist=True, manage_ticks=False,
            boxprops={"facecolor": _COLOURS[place % len(_COLOURS)], "alpha": 0.6},
            medianprops={"color": "black"}, flierprops={"markersize": 2},
            meanprops={"markersize": 3, "markerfacecolor": "white", "markeredgecolor": "black"},
        )  # fmt: skip
        shown += boxes["boxes"][:1]
    axes.set_xticks(range(len(structures)), list(structures), rotation=20, ha="right")
    axes.set_xlim(-0.6, len(structures) - 0.4)
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel(_LABELS["dice"])
    axes.grid(axis="y", alpha=0.3)
    figure.legend(shown, list(dice), loc="outside upper center", ncols=3, fontsize=9)
    _save(figure, path)


def write_curves(lines: Mapping[str, tuple[np.ndarray, np.ndarray]], label: str, path: Path) -> None:
    """Write a PNG with one line of a value against the step for every run.

    Args:
        lines: legend -> (n,) steps and (n,) values.
        label: of the value.
        path: PNG file.

    Raises:
        InputError: the folder cannot be written.
        ResourceError: the disk is full.
    """
    figure = _figure(7.0, 4.2)
    axes = figure.add_subplot()
    for place, (name, (steps, values)) in enumerate(lines.items()):
        axes.plot(steps, values, color=_COLOURS[place % len(_COLOURS)], linewidth=1.4, label=name)
    axes.set_xlabel("step")
    axes.set_ylabel(label)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=3, fontsize=9)
    _save(figure, path)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> None:
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    with replacing(path) as temporary:
        temporary.write_bytes(picture.getvalue())
