"""The figures as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

NOT_KNOWN = "-"


def markdown(result: dict[str, Any]) -> str:
    """Return the page for one evaluation: a table of the structures and one of the suites.

    Args:
        result: what the JSON file holds.
    """
    summary = result["summary"]
    scans = f"{result['dataset']} {result['split']}".strip()
    parts = [f"# {result['system']}: {summary['patients']} patients of {scans}"]
    if "accuracy" in summary:
        parts.append(table(_STRUCTURE_HEAD, _structure_rows(summary)))
        parts.append(
            "Means over patients with their 95 % bootstrap interval, doubtful references left out. A structure that was"
            " missed counts as Dice 0 and NSD 0, and has no HD95. In drawn slices: Dice without the slices above"
            " and below those that the reader drew on. NSD: normalised surface Dice at the tolerance given."
        )
    parts.append(table(("suite", "figure", "value"), suite_rows(summary)))
    for name in ("missed", "drawn_where_reference_is_empty", "invented", "skipped"):
        if summary.get(name):
            parts.append(f"{name.replace('_', ' ').capitalize()}: {_listing(summary[name])}.")
    return "\n\n".join(parts) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many digits, or a dash where it is not known."""
    return NOT_KNOWN if value is None else f"{value:.{digits}f}"


def with_interval(value: float | None, interval: Sequence[float] | None, digits: int = 3) -> str:
    """Return "0.712 [0.690, 0.731]"."""
    if value is None or interval is None:
        return number(value, digits)
    return f"{value:.{digits}f} [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"


_STRUCTURE_HEAD = ("structure", "patients", "Dice", "in drawn slices", "NSD", "at mm", "HD95 mm", "missed", "doubtful")


def _structure_rows(summary: dict[str, Any]) -> list[list[str]]:
    rows = []
    held_out = summary.get("held_out", {}).get("concepts", {})
    for concept, entry in summary["accuracy"].items():
        name = concept.replace("_", " ") + (" (held out)" if concept in held_out else "")
        patients = str(entry["dice"]["n"]) if entry["dice"] else "0"
        metrics = [_metric(entry[metric], 3) for metric in ("dice", "dice_in_extent", "nsd")]
        metrics += [f"{entry['tolerance_mm']:g}", _metric(entry["hd95_mm"], 1)]
        rows.append([name, patients, *metrics, str(entry["missed"]), str(entry["suspect"])])
    mean = "mean_dice_over_organs"
    rows.append(
        [
            "**mean over structures**",
            str(summary["patients"]),
            with_interval(summary[mean], summary[f"{mean}_interval"]),
            number(summary["mean_dice_in_extent_over_organs"]),
            with_interval(summary["mean_nsd_over_organs"], summary["mean_nsd_over_organs_interval"]),
            "",
            number(summary["mean_hd95_mm_over_organs"], 1),
            str(sum(entry["missed"] for entry in summary["accuracy"].values())),
            str(sum(entry["suspect"] for entry in summary["accuracy"].values())),
        ]
    )
    return rows


def _metric(statistics: dict[str, Any] | None, digits: int) -> str:
    if statistics is None:
        return NOT_KNOWN
    return with_interval(statistics["mean"], statistics["interval"], digits)


def suite_rows(summary: dict[str, Any]) -> list[list[str]]:
    """Return one row per figure of the suites in a summary: suite, figure, value."""
    rows: list[list[str]] = []
    if "synonyms" in summary:
        rows += _synonym_rows(summary["synonyms"])
    if "negatives" in summary:
        rows += _negative_rows(summary["negatives"])
    if "laterality" in summary:
        sides = summary["laterality"]
        swapped = f"{summary['swapped_sides']} of {sides['asked']} questions"
        rows.append(["laterality", "answers on the wrong side", swapped])
        rows.append(["laterality", "most on the other side, ml", number(sides["largest_ml_on_the_other_side"], 2)])
    if "held_out" in summary:
        rows.append(["held out", "mean Dice of what was held out", number(summary["held_out"]["mean_dice"])])
        rows.append(["held out", "mean Dice of the others", number(summary["held_out"]["mean_dice_of_the_others"])])
    for name, entry in summary.get("robustness", {}).items():
        rows.append(["robustness", f"mean Dice, {name} changed", number(entry["mean_dice"])])
        rows.append(["robustness", f"drop, {name} changed", number(entry["mean_drop"])])
        if entry["cut_away"]:
            rows.append(["robustness", f"found though cut away, {name}", f"{entry['invented']} of {entry['cut_away']}"])
    for prompts, entry in summary.get("cost", {}).get("prompts", {}).items():
        memory = "" if entry["peak_mb"] is None else f", {entry['peak_mb']:.0f} MB at most"
        text = f"{entry['seconds']:.3f} s, {entry['first_answer_ratio']:.2f} x first answer{memory}"
        rows.append(["cost", f"{prompts} prompts", text])
    rows.append(["cost", "image pass, s", number(summary["mean_seconds_image_pass"], 2)])
    return rows


def _synonym_rows(synonyms: dict[str, Any]) -> list[list[str]]:
    rows = [["synonyms", "mean drop in Dice", number(synonyms["mean_drop"])]]
    if synonyms["worst"] is not None:
        concept, wording = synonyms["worst"]
        worst = f"{number(synonyms['worst_drop'])} ({concept}: {wording!r})"
        rows.append(["synonyms", "drop of the worst wording", worst])
    rows += [["synonyms", f"mean drop, {kind}", number(drop)] for kind, drop in synonyms["mean_drop_by_kind"].items()]
    return rows


def _negative_rows(negatives: dict[str, Any]) -> list[list[str]]:
    rows = []
    for category in ("absent", "out_of_view", "wrong_side", "nonsense"):
        entry = negatives[category]
        if entry["asked"]:
            value = f"{entry['found']} of {entry['asked']}, {entry['largest_ml']:.1f} ml at most"
            rows.append(["negatives", f"found though {_REASONS[category]}", value])
    rows.append(["negatives", "absent organs below 1 ml, share", number(negatives["absent_organs_below_1_ml"])])
    rows.append(["negatives", "presence AUROC", number(negatives["presence_auroc"])])
    judged = f"{number(negatives['presence_auroc_judged'])} ({negatives['refused']} refused)"
    rows.append(["negatives", "presence AUROC without what was refused", judged])
    return rows


_REASONS = {
    "absent": "absent",
    "out_of_view": "out of view",
    "wrong_side": "it has no such side",
    "nonsense": "nonsense",
}


def _listing(named: dict[str, Any]) -> str:
    """Return "pt_1 (larynx, mandible), pt_2 (larynx)"."""
    entries = (
        f"{case} ({', '.join(values) if isinstance(values, list) else values})" for case, values in named.items()
    )
    return ", ".join(entries)
