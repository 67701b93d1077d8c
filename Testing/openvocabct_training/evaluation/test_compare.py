from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from openvocabct_training.evaluation import compare
from openvocabct_training.evaluation.report import markdown, number, table, with_interval
from OpenVocabCTLib.errors import InputError


def accuracy(**dice: float | None) -> dict[str, Any]:
    return {
        concept: {
            "outcome": "scored" if value else "missed", "dice": value, "nsd": value, "hd95_mm": 4.0 if value else None,
            "reference_ml": 1.0, "answer_ml": 1.0, "tolerance_mm": 3.0, "presence": 0.9, "held_out": False,
        }
        for concept, value in dice.items()
    }  # fmt: skip


def write(path: Path, system: str, patients: dict[str, dict[str, Any]], **changes: Any) -> Path:
    records = [
        {"case": case, "patient": case, "suspect": [], "seconds": 1.5, "accuracy": entry}
        for case, entry in patients.items()
    ]
    content = {"system": system, "suites": ["accuracy"], "patients": records, "summary": {}} | changes
    path.write_text(json.dumps(content))
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def rows(text: str) -> dict[str, list[str]]:
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return {line[0]: line[1:] for line in lines}


@pytest.fixture
def evaluations(tmp_path: Path) -> tuple[Path, Path]:
    ours = {"a": accuracy(larynx=0.8, mandible=0.9), "b": accuracy(larynx=0.6, mandible=0.9), "c": accuracy(larynx=0.5)}
    theirs = {"b": accuracy(larynx=0.5, mandible=0.7), "a": accuracy(larynx=0.7, mandible=0.7)}
    return write(tmp_path / "ours.json", "ours", ours), write(tmp_path / "theirs.json", "CNN | fixed", theirs)


def test_rows_are_systems_on_the_patients_they_share(evaluations: tuple[Path, Path], tmp_path: Path) -> None:
    text = compare(evaluations, tmp_path / "table.md")
    assert (tmp_path / "table.md").read_text() == text
    found = rows(text)
    assert found["ours"][0].startswith("0.800 [")  # 0.7 for the larynx without patient c, 0.9 for the mandible
    assert found["ours"][1] == "-"
    # 0.1 worse in every larynx, 0.2 in every mandible: the same whichever patients are drawn.
    assert found[r"CNN \| fixed"][1] == "-0.150 [-0.150, -0.150]"
    assert found["larynx"] == ["0.700", "0.600"]
    assert "Left out, because not all were: c." in text
    assert "2 patients" in text
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")


def test_a_system_gains_no_distance_by_missing_what_is_hard(tmp_path: Path) -> None:
    ours = {case: accuracy(larynx=0.5, mandible=0.9) for case in "ab"}
    for entry in ours.values():
        entry["larynx"]["hd95_mm"] = 20.0
    theirs = {case: accuracy(larynx=0.0, mandible=0.9) for case in "ab"}
    paths = [write(tmp_path / "ours.json", "ours", ours), write(tmp_path / "theirs.json", "theirs", theirs)]
    text = compare(paths)
    assert (rows(text)["ours"][3], rows(text)["theirs"][3]) == ("4.0", "4.0")
    assert "HD95 is over what every system found" in text
    assert rows(compare(paths[:1]))["ours"][3] == "12.0"
    nothing = write(tmp_path / "nothing.json", "nothing", {case: accuracy(larynx=0.0, mandible=0.0) for case in "ab"})
    assert rows(compare([paths[0], nothing]))["ours"][3] == "-"


def test_systems_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{name}.json", "ours", {"a": accuracy(larynx=0.5)}) for name in ("first", "second")]
    found = rows(compare(paths))
    assert found["ours (first)"][0] == "0.500"  # one patient has no interval
    assert found["ours (second)"][1] == "0.000"
    same = [write(folder(tmp_path / name) / "x.json", "ours", {"a": accuracy(larynx=0.5)}) for name in ("one", "two")]
    assert {"ours (x) 1", "ours (x) 2"} < set(rows(compare(same)))


def test_a_doubtful_reference_is_not_missed(tmp_path: Path) -> None:
    path = write(tmp_path / "ours.json", "ours", {case: accuracy(larynx=0.0, mandible=0.5) for case in "ab"})
    assert rows(compare([path]))["ours"][4] == "2"
    content = json.loads(path.read_text())
    content["patients"][0]["suspect"] = ["larynx"]
    path.write_text(json.dumps(content))
    assert rows(compare([path]))["ours"][4] == "1"


def test_other_suites_where_they_were_measured(tmp_path: Path) -> None:
    path = write(tmp_path / "ours.json", "ours", {"a": accuracy(larynx=0.5)}, suites=["accuracy", "laterality"])
    content = json.loads(path.read_text())
    content["patients"][0]["laterality"] = {"left_kidney": {"own_ml": 1.0, "other_ml": 2.0, "swapped": True}}
    path.write_text(json.dumps(content))
    other = write(tmp_path / "other.json", "other", {"a": accuracy(larynx=0.0)})
    found = rows(compare([path, other]))
    assert (found["ours"][6], found["other"][6]) == ("1 of 1", "-")
    assert (found["ours"][4], found["other"][4]) == ("0", "1")


def test_cases_of_one_name_with_other_references_are_not_compared(tmp_path: Path) -> None:
    other = {"a": accuracy(larynx=0.5)}
    other["a"]["larynx"]["reference_ml"] = 1.1
    paths = [
        write(tmp_path / "one.json", "one", {"a": accuracy(larynx=0.5)}), write(tmp_path / "other.json", "other", other)
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"larynx in case a has 1\.000 ml in one evaluation and 1\.100 ml in another"):
        compare(paths)


def test_bad_comparisons(evaluations: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to compare"):
        compare([])
    with pytest.raises(InputError, match="no patient in common"):
        compare([evaluations[0], write(tmp_path / "other.json", "other", {"z": accuracy(larynx=0.5)})])
    with pytest.raises(InputError, match="without the accuracy suite"):
        compare([write(tmp_path / "other.json", "other", {}, suites=["cost"])])
    for content in ("{", "[]", "{}"):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(InputError, match=r"bad\.json holds no evaluation"):
            compare([tmp_path / "bad.json"])
    with pytest.raises(InputError, match="holds no evaluation"):
        compare([tmp_path / "missing.json"])


def test_numbers_and_tables() -> None:
    assert number(None) == "-"
    assert with_interval(0.7123, [0.69, 0.731]) == "0.712 [0.690, 0.731]"
    assert with_interval(0.7123, None) == "0.712"
    assert table(("a", "b"), [["x|y", "1"]]) == "| a | b |\n| --- | --- |\n| x\\|y | 1 |"


def test_a_page_without_accuracy() -> None:
    summary = {"patients": 1, "mean_seconds_image_pass": 2.0, "swapped_sides": 0}
    sides = {"asked": 0, "swap_rate": None, "any_on_the_other_side": 0, "largest_ml_on_the_other_side": 0.0}
    page = markdown({"system": "s", "dataset": "d", "split": "", "summary": summary | {"laterality": sides}})
    assert page.startswith("# s: 1 patients of d\n")
    assert "answers on the wrong side | 0 of 0" in page
