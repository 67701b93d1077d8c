"""RESULTS.md, results.json and results.png from what the benchmarks measured."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from OpenVocabCTLib.output.atomic import replacing

LARGE = [600, 512, 512]
STAGES = (
    *("import", "load model", "read", "hash", "orient and resample", "crop", "tiles", "blend", "query", "head"),
    *("threshold", "upsample to the native mask", "all prompts, first time", "write"),
)


@dataclass(frozen=True)
class Target:
    """One line of the numbers to reach.

    Attributes:
        what: in words.
        reach: what it should be.
        measured: what it is, with its unit.
        reached: whether it is; None where it was not measured.
        otherwise: why it is not, said only then.
    """

    what: str
    reach: str
    measured: str
    reached: bool | None
    otherwise: str = ""


# Why a number is not reached, where it is not.
_SECOND = (
    "The image pass of a generated CT takes one to three seconds only, so that 2% of it are 20 to 60 ms; a prompt "
    "costs what the surface of its structure and the voxels of its box in the CT cost, and those of a body are tens of "
    "millions."
)
_HUNDRED = (
    "100 prompts are 100 masks on the CT's own grid and 100 means of HU, whose cost grows with the CT's voxels, "
    "whereas the image pass works at a coarser spacing and on the body only: the quicker that pass is, the larger is "
    "the share of the prompts."
)
_OTHER_PLACES = (
    "Instance normalisation makes the network's output depend on which voxels share a tile, so tiles at other places "
    "find other borders, of thin structures above all; with the same tiles the results agree (next line)."
)


def targets(results: dict[str, Any]) -> list[Target]:
    """Return the numbers to reach, and what they are."""
    prompts, windows = results["prompts"]["results"], results["sliding_window"]["results"]
    second = max(row["second_to_first_median"] for row in prompts)
    hundred = max(row["hundred_to_one"] for row in prompts)
    different = max(1 + (row["different_s"] - row["prompts_s"]["1"]) / row["first_answer_s"] for row in prompts)
    faster = min(row["usual_tile"]["faster"] for row in windows)
    names = ("same_tile", "plain", "half")
    monai, plain, half = (min(row[name]["mean_dice"] for row in windows) for name in names)
    large = [row["peak_mb"] / 1000 for row in results["stages"] if row["voxels"] == LARGE]
    worker = results["worker"]
    further = sorted(worker["further_s"].values())
    batch = results["batch"]
    growth = batch["growth_mb_per_100_cases"]
    slower = (
        f"Both sides run the same network, on this CPU {min(row['plain']['faster'] for row in windows):.1f}x faster "
        "through OpenVINO than in PyTorch; the rest of the factor is fewer tiles, of which a small CT has few to save."
    )
    pass_s = results["stages"][0]["stages"]["tiles"]["wall_s"]
    start = (
        f"The image pass alone takes {pass_s:.1f} s of it on this machine; the rest is importing PyTorch, reading and "
        "compiling the network, and the first prompt."
    )
    return [
        Target(
            "a new prompt on an encoded CT, against its first answer (median)",
            "≤ 2%",
            f"{second:.1%}",
            second <= 0.02,
            _SECOND,
        ),
        Target(
            "100 prompts against 1, first answer; those that the model answers, repeated",
            "≤ 1.3x",
            f"{hundred:.2f}x",
            hundred <= 1.3,
            _HUNDRED,
        ),
        Target(
            "100 different prompts, all looked for and shown, against 1, first answer",
            "≤ 1.3x",
            f"{different:.2f}x",
            different <= 1.3,
            _HUNDRED,
        ),
        Target(
            "image pass against MONAI's sliding window, fp32 eager, usual tile",
            "≥ 6x",
            f"{faster:.1f}x",
            faster >= 6,
            slower,
        ),
        Target(
            "mean Dice between the two, same tile at other places",
            "≥ 0.995",
            f"{monai:.4f}",
            monai >= 0.995,
            _OTHER_PLACES,
        ),
        Target("mean Dice with the plain fp32 path, same tiles", "≥ 0.995", f"{plain:.4f}", plain >= 0.995),
        Target("mean Dice, embedding kept in fp16 against fp32", "≥ 0.995", f"{half:.4f}", half >= 0.995),
        Target(
            "peak memory, 512x512x600 int16, volume included",
            "≤ 4 GB",
            f"{large[0]:.2f} GB" if large else "not measured",
            large[0] <= 4 if large else None,
        ),
        Target(
            "worker start to first answer, sample CT",
            "≤ 10 s",
            f"{worker['first_answer_s']:.1f} s",
            worker["first_answer_s"] <= 10,
            start,
        ),
        Target("second prompt through HTTP (worst)", "≤ 0.3 s", f"{further[-1]:.2f} s", further[-1] <= 0.3),
        Target("import of OpenVocabCTLib", "≤ 0.3 s", f"{results['import_s']:.3f} s", results["import_s"] <= 0.3),
        Target(
            f"batch of {batch['cases']}: growth of memory per 100 CTs",
            "≤ 25 MB",
            f"{growth:+.1f} MB",
            growth <= 25 and batch["done"] == batch["cases"],
        ),
    ]


def write_report(results: dict[str, Any], folder: Path) -> str:
    """Write the three files and return the text of RESULTS.md."""
    text = markdown(results)
    with replacing(folder / "results.json") as path:
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    with replacing(folder / "results.png") as path:
        plot(results, path)
    with replacing(folder / "RESULTS.md") as path:
        path.write_text(text, encoding="utf-8")
    return text


def markdown(results: dict[str, Any]) -> str:
    """RESULTS.md: written by a program, so that no figure is copied by hand."""
    machine = results["machine"]
    versions = ", ".join(f"{name} {machine[name]}" for name in ("torch", "openvino", "monai", "numpy") if machine[name])
    parts = [
        "# Benchmarks",
        "Written by `make bench`. Ratios are from one run on one machine; seconds are of that machine.",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['system']}, "
        f"Python {machine['python']}, {versions}. Load before the run: {machine['load_before']}; all of it took "
        f"{results.get('seconds', 0) / 60:.0f} min.",
    ]
    if results["quick"]:
        parts.append("**A quick run with small sizes: these figures only show that everything works.**")
    marks = {True: "yes", False: "**no**", None: "-"}
    rows = [(one.what, one.reach, one.measured, marks[one.reached]) for one in targets(results)]
    parts += ["## Numbers to reach", _table(("what", "reach", "measured", "reached"), rows)]
    unreached = [f"- {one.what}: {one.otherwise}" for one in targets(results) if one.reached is False and one.otherwise]
    if unreached:
        parts += ["What is not reached, and why:", "\n".join(unreached)]
    parts += ["![Seconds of each stage, and what more prompts cost](results.png)"]
    parts += [
        "## Stages",
        "Wall seconds / CPU seconds / peak memory in MB while it ran. One prompt where no number is said.",
    ]
    parts.append(_stage_table(results["stages"]))
    parts += [
        "## Prompts",
        "The 10 and 100 prompts are the structures that the model answers, over and over; the 100 different ones are "
        "structures of the vocabulary, all of which it is made to look for and to show.",
        _prompt_table(results["prompts"]["results"]),
    ]
    parts += ["## A decoder pass for every prompt, as peers do it", _decoder_table(results["sliding_window"])]
    parts += ["## Against MONAI's sliding window", _window_table(results["sliding_window"]["results"])]
    parts += ["## GPU", _gpu(results["gpu"])]
    return "\n\n".join(parts) + "\n"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _stage_table(columns: Sequence[dict[str, Any]]) -> str:
    rows = []
    for stage in STAGES:
        cells = []
        for column in columns:
            row = column["stages"].get(stage)
            peak = "" if row is None or "peak_mb" not in row else f" / {row['peak_mb']:.0f}"
            cells.append("-" if row is None else f"{row['wall_s']:.2f} / {row['cpu_s']:.2f}{peak}")
        rows.append((stage, *cells))
    rows.append(("tiles", *(f"{one['tiles']} of {_by(one['tile'])}" for one in columns)))
    rows.append(("peak memory of the process", *(f"{one['peak_mb']:.0f}" for one in columns)))
    return _table(("stage", *(f"{one['ct']} ({_by(one['voxels'][::-1])})" for one in columns)), rows)


def _prompt_table(rows: Sequence[dict[str, Any]]) -> str:
    numbers = list(rows[0]["prompts_s"])
    header = (
        "CT",
        "first answer",
        *(f"{number} prompt{'s' * (number != '1')}" for number in numbers),
        "100 different prompts",
        "second question, median",
    )
    return _table(
        header,
        [
            (
                row["ct"],
                f"{row['first_answer_s']:.2f} s",
                *(f"{row['prompts_s'][number]:.2f} s" for number in numbers),
                f"{row['different_s']:.2f} s",
                f"{row['second_to_first_median']:.1%} of the first answer",
            )
            for row in rows
        ],
    )


def _decoder_table(report: dict[str, Any]) -> str:
    rows = report["per_prompt_decoder"]
    return _table(
        ("prompts, one tile", "decoder pass for every prompt", "one voxel embedding for all", "faster"),
        [
            (
                f"{number} (extrapolated)" if number == "100" else number,
                f"{row['per_prompt_s']:.2f} s",
                f"{row['ours_s']:.2f} s",
                f"{row['faster']:.1f}x",
            )
            for number, row in rows.items()
        ],
    )


def _window_table(rows: Sequence[dict[str, Any]]) -> str:
    cells = []
    for row in rows:
        ours = f"{row['ours_s']:.2f} s ({row['tiles']} tiles of {_by(row['tile'])}, {row['tower']})"
        for name in ("usual_tile", "same_tile", "plain"):
            one = row[name]
            other = (
                f"plain torch fp32, the same tiles: {one['seconds']:.2f} s"
                if name == "plain"
                else f"MONAI, tiles of {_by(one['tile'])}: {one['monai_s']:.2f} s"
            )
            dice = ", ".join(f"{prompt} {value:.4f}" for prompt, value in one["dice"].items())
            cells.append((row["ct"], ours, other, f"{one['faster']:.1f}x", f"{one['mean_dice']:.4f}", dice))
    table = _table(("CT", "ours", "reference", "faster", "mean Dice", "Dice by prompt"), cells)
    return (
        "The network normalises over space: what it finds depends on size and place of its tiles, and those of MONAI "
        f"lie elsewhere. That ours computes the same is shown by the same tiles in plain torch.\n\n{table}"
    )


def _by(sides: Sequence[int]) -> str:
    return "x".join(map(str, sides))


def _gpu(result: dict[str, Any] | None) -> str:
    if result is None:
        return (
            "Not run: this machine has no GPU. The way through one (tiles sent ahead through page-locked memory, "
            "several at once as its memory allows, gathered on it or in main memory) has been tested with the CPU in "
            "its place only; neither its speed nor its streams have been tried on a device. CUDA graphs and "
            "`torch.compile` are not used, because it could not be measured whether they pay. "
            "`python -m Testing.benchmarks.gpu` measures it where there is a GPU."
        )
    rows = [
        (
            f"512x512x600 at 1.5 mm, STU-Net {row['size']}",
            f"{row['seconds']:.1f} s, {row['tiles']} tiles, {row['tflops']:.1f} of {row['peak_tflops']:.1f} TFLOP/s "
            f"({row['use']:.0%})",
        )
        for row in result["large_ct"]
    ]
    rows += [
        ("mean Dice with CPU fp32, sample CT", f"{result['agreement']['mean_dice']:.4f}"),
        ("head", f"{result['head']['gb_s']:.0f} GB/s"),
    ]
    return f"{result['device']}, {result['format']}.\n\n{_table(('what', 'measured'), rows)}"


def plot(results: dict[str, Any], path: Path) -> None:
    """Draw the seconds of the stages, stacked by CT, and the seconds of more prompts."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
    names = [_by(one["voxels"][::-1]) for one in results["stages"]]
    bottom = [0.0] * len(names)
    for number, stage in enumerate(STAGES):
        seconds = [one["stages"].get(stage, {}).get("wall_s", 0.0) for one in results["stages"]]
        if max(seconds) >= 0.02 * max(
            sum(row["wall_s"] for row in one["stages"].values()) for one in results["stages"]
        ):
            left.bar(names, seconds, bottom=bottom, label=stage, color=matplotlib.colormaps["tab20"](number))
            bottom = [low + more for low, more in zip(bottom, seconds, strict=True)]
    left.set_ylabel("seconds (stages below 2% left out)")
    left.legend(fontsize="small")
    for row in results["prompts"]["results"]:
        pass_seconds = row["first_answer_s"] - row["prompts_s"][next(iter(row["prompts_s"]))]
        numbers = [int(number) for number in row["prompts_s"]]
        right.plot(numbers, [pass_seconds + seconds for seconds in row["prompts_s"].values()], "o-", label=row["ct"])
    right.set(xscale="log", xlabel="prompts", ylabel="seconds to all first answers", ylim=(0, None))
    right.legend(fontsize="small")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
