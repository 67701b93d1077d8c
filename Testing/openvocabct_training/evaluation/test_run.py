from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openvocabct_training import cli, evaluation
from openvocabct_training.evaluation import Options
from openvocabct_training.evaluation.pictures import worst
from openvocabct_training.evaluation.plots import suite_bars
from openvocabct_training.evaluation.predictors import Predictor
from openvocabct_training.evaluation.suites import DEFAULT_SUITES
from OpenVocabCTLib.errors import InputError
from Testing.openvocabct_training.evaluation.scans import LEFT, RIGHT, SHAPES, KnownSystem, ball, write_list, write_scan

# The keys that the summary has had from the first version on.
KEYS = {
    "patients", "dice", "mean_dice_over_organs", "mean_dice_over_organs_all_references", "swapped_sides", "invented",
    "missed", "lowest_paraphrase_dice", "mean_seconds_image_pass",
}  # fmt: skip
FLAWED = {LEFT: SHAPES[LEFT], RIGHT: ball(-30, -15, -20, 9), "liver": ball(0, 0, 0, 30)}


@pytest.fixture
def listing(tmp_path: Path) -> Path:
    lines = []
    for case in ("a", "b", "c"):
        write_scan(tmp_path / case)
        line = {"case": case, "ct": f"{case}/ct.nii.gz", "labels": f"{case}/labels.nii.gz", "rules_out": ["abdomen"]}
        lines.append(line | {"values": {LEFT: [1], RIGHT: [2], "larynx": [3]}})
    lines[2]["suspect"] = [RIGHT]
    return write_list(tmp_path / "cases.jsonl", lines)


def loading(system: KnownSystem) -> Callable[[str, str | None], Predictor]:
    return lambda factory, model: system


QUICK = ("accuracy", "laterality")


def run(system: KnownSystem, output: Path, listing: Path, limit: int | None = None, **changes: Any) -> dict[str, Any]:
    options = Options(listing=listing, **{"pictures": 0, "suites": QUICK, **changes})
    return evaluation.evaluate(listing.parent, None, output, limit, options, loading(system))


def test_figures_table_plots_and_pictures(tmp_path: Path, listing: Path) -> None:
    system = KnownSystem(FLAWED)
    summary = run(system, tmp_path / "out", listing, pictures=2, suites=DEFAULT_SUITES)
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert written["summary"] == summary
    assert summary.keys() >= KEYS
    assert summary["patients"] == 3
    assert summary["dice"][LEFT]["mean"] == 1.0
    assert summary["dice"][RIGHT]["n"] == 2  # one of them is suspect
    assert summary["missed"] == {case: ["larynx"] for case in "abc"}
    assert summary["invented"] == {case: ["liver"] for case in "abc"}
    assert summary["mean_seconds_image_pass"] == 2.0
    assert [record["case"] for record in written["patients"]] == ["a", "b", "c"]
    # One image pass each, and one more for every scan with a picture.
    assert len(system.encoded) == 3 + 2
    pictures = sorted(path.name for path in (tmp_path / "out" / "worst").iterdir())
    assert pictures == ["01-a-larynx.png", "02-b-larynx.png"]
    table = (tmp_path / "out" / "evaluation.md").read_text()
    assert "| larynx | 3 | 0.000 [0.000, 0.000] |" in table
    assert "| negatives | found though out of view | 3 of" in table
    for picture in ("structures.png", "suites.png", "worst/01-a-larynx.png"):
        assert (tmp_path / "out" / picture).read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.rglob(".*part*"))


def test_a_file_has_its_folder_beside_it(tmp_path: Path, listing: Path) -> None:
    run(KnownSystem(), tmp_path / "new" / "figures.json", listing, limit=1)
    assert json.loads((tmp_path / "new" / "figures.json").read_text())["summary"]["patients"] == 1
    assert (tmp_path / "new" / "figures" / "evaluation.md").is_file()


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path, listing: Path) -> None:
    stopped = KnownSystem()
    stopped.fails_after = 2
    with pytest.raises(KeyboardInterrupt):
        run(stopped, tmp_path / "out", listing)
    assert not (tmp_path / "out" / "evaluation.json").exists()
    again = KnownSystem()
    summary = run(again, tmp_path / "out", listing)
    assert (len(again.encoded), summary["patients"]) == (1, 3)
    # Nothing is measured a third time, and the figures are those of a run in one go.
    third = KnownSystem()
    assert run(third, tmp_path / "out", listing) == summary == run(KnownSystem(), tmp_path / "whole", listing)
    assert third.encoded == []


def test_what_changed_is_measured_again(tmp_path: Path, listing: Path) -> None:
    run(KnownSystem(), tmp_path / "out", listing, suites=("accuracy",))
    other = KnownSystem(fingerprint="2")
    run(other, tmp_path / "out", listing, suites=("accuracy",))
    assert len(other.encoded) == 3
    write_scan(tmp_path / "b", {LEFT: 1, RIGHT: 2})
    changed = KnownSystem(fingerprint="2")
    run(changed, tmp_path / "out", listing, suites=("accuracy",))
    assert len(changed.encoded) == 1
    held_out = KnownSystem(fingerprint="2")
    summary = run(held_out, tmp_path / "out", listing, suites=("accuracy",), held_out=("larynx",))
    assert len(held_out.encoded) == 3
    assert all(query.free is (query.text == "larynx") for query in held_out.asked)
    assert list(summary["held_out"]["concepts"]) == ["larynx"]


def test_suites_are_added_to_what_is_known(tmp_path: Path, listing: Path) -> None:
    run(KnownSystem(), tmp_path / "out", listing, suites=("accuracy",))
    system = KnownSystem()
    summary = run(system, tmp_path / "out", listing, suites=("laterality", "accuracy"))
    assert {query.text for query in system.asked} == {"left parotid gland", "right parotid gland"}
    assert (summary["swapped_sides"], summary["mean_dice_over_organs"]) == (0, 1.0)
    only = run(KnownSystem(), tmp_path / "out", listing, suites=("laterality",))
    assert "dice" not in only and only["swapped_sides"] == 0


def test_a_damaged_record_is_measured_again(tmp_path: Path, listing: Path) -> None:
    run(KnownSystem(), tmp_path / "out", listing)
    records = sorted((tmp_path / "out" / "patients").iterdir())
    records[0].write_text("{")
    records[1].write_text("[1]")
    system = KnownSystem()
    run(system, tmp_path / "out", listing)
    assert len(system.encoded) == 2


def test_all_suites(tmp_path: Path, listing: Path) -> None:
    summary = run(KnownSystem(), tmp_path / "out", listing, limit=1, suites=("all",))
    assert summary["robustness"]["orientation"]["mean_dice"] == 1.0
    assert list(summary["cost"]["prompts"]) == ["1", "2", "10", "100"]
    table = (tmp_path / "out" / "evaluation.md").read_text()
    assert "| robustness | mean Dice, crop changed |" in table and "| cost | 100 prompts |" in table
    bars = suite_bars(summary)
    assert bars["Dice"] == bars["Dice, noise changed"] == bars["sides: not swapped"] == 1.0
    assert all(0.0 <= value <= 1.0 for value in bars.values())


def test_a_bad_case_stops_the_run_or_is_left_out_by_name(tmp_path: Path, listing: Path) -> None:
    (tmp_path / "b" / "ct.nii.gz").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"ct\.nii\.gz"):
        run(KnownSystem(), tmp_path / "out", listing)
    summary = run(KnownSystem(), tmp_path / "out", listing, skip_bad=True)
    assert (summary["patients"], list(summary["skipped"])) == (2, ["b"])
    assert "Skipped: b (" in (tmp_path / "out" / "evaluation.md").read_text()
    for case in ("a", "c"):
        (tmp_path / case / "labels.nii.gz").unlink()
    with pytest.raises(InputError, match="no case could be read"):
        run(KnownSystem(), tmp_path / "none", listing, skip_bad=True)


def test_nothing_is_made_before_there_are_patients(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there are no patients"):
        evaluation.evaluate(tmp_path, None, tmp_path / "figures.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"suites": ("beauty",)}, "there is no suite 'beauty'"),
        ({"held_out": ("manidble",)}, "no concept 'manidble'"),
        ({"limit": 0}, "leaves no patient"),
    ],
)
def test_bad_options(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Options(**changes)


def test_worst_answers_leave_suspect_references_out(tmp_path: Path, listing: Path) -> None:
    run(KnownSystem(FLAWED), tmp_path / "out", listing)
    records = json.loads((tmp_path / "out" / "evaluation.json").read_text())["patients"]
    chosen = [(one.case, one.concept) for one in worst(records, 5)]
    assert chosen == [*((case, "larynx") for case in "abc"), ("a", RIGHT), ("b", RIGHT)]
    assert worst(records, 0) == []


def make(model: str | None) -> KnownSystem:
    """What the command line loads as a predictor."""
    return KnownSystem(name=model or "known")


def test_the_command(tmp_path: Path, listing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["evaluate", str(tmp_path), "--cases", str(listing), "--predictor", f"{__name__}:make", "--limit", "2"]
    arguments += ["--pictures", "0"]
    for model in ("one", "two"):
        cli.main([*arguments, "--model", model, "--output", str(tmp_path / model), "--suite", "accuracy", "laterality"])
    written = json.loads((tmp_path / "one" / "evaluation.json").read_text())
    assert (written["system"], written["suites"]) == ("one", ["accuracy", "laterality"])
    capsys.readouterr()
    cli.main(["compare", str(tmp_path / "one"), str(tmp_path / "two" / "evaluation.json")])
    said = capsys.readouterr().out
    assert said.count("\n| one |") == said.count("\n| two |") == 1


@pytest.mark.parametrize("suite", ["beauty", ""])
def test_the_command_with_an_unknown_suite(suite: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["evaluate", "data", "--output", "out", "--suite", suite])
    assert stopped.value.code == 2
    assert "accuracy" in capsys.readouterr().err
