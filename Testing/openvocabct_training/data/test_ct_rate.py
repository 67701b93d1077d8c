"""CT-RATE, on generated files in exactly its layout: blank headers, tables, gated download."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from openvocabct_training import cli
from openvocabct_training.data.adapters import ct_rate
from openvocabct_training.data.store import CaseStore
from openvocabct_training.pretraining.corpus import REPORTS, read_reports
from openvocabct_training.pretraining.dataset import studies_of
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.volume import CTVolume

ROOT = Path(__file__).parents[3]
SHAPE = (10, 20, 24)  # (K, J, I)
IN_PLANE, BETWEEN = 0.75, 1.5
VOLUMES = ("train_1_a_1", "train_1_a_2", "train_1_b_1", "train_2_a_1", "valid_1_a_1")
LABELS = ("Medical material", "Lung nodule")


def hounsfield() -> np.ndarray:
    """Tissue in air, brighter on the patient's left (high I in LPS), darker towards the feet."""
    hu = np.full(SHAPE, -1000, np.int16)
    hu[:, 3:17, 3:21] = 40
    hu[:, 8:12, 15:19] = 800
    hu[:3, 5:15, 5:10] = -100
    return hu


def write_volume(path: Path, name: str, fixed: bool, slope: float = 2.0, intercept: float = -1024.0) -> None:
    patient, study = "_".join(name.split("_")[:2]), "_".join(name.split("_")[:3])
    target = path / patient / study / f"{name}.nii.gz"
    target.parent.mkdir(parents=True, exist_ok=True)
    if fixed:
        image = sitk.GetImageFromArray(hounsfield())
        image.SetSpacing((IN_PLANE, IN_PLANE, BETWEEN))
    else:
        # The released files hold stored values and say nothing else.
        image = sitk.GetImageFromArray(((hounsfield() - intercept) / slope).astype(np.float64))
    sitk.WriteImage(image, str(target))


def write_table(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])


def findings(name: str) -> str:
    return f'The liver is "large" in {name[:9]},\nsecond line. No pleural effusion.'


def write_ct_rate(root: Path, fixed: bool = False, volumes: tuple[str, ...] = VOLUMES) -> Path:
    data = root / "dataset"
    for split, table in (("train", "train"), ("valid", "validation")):
        names = [name for name in volumes if name.startswith(split)]
        for name in names:
            write_volume(data / (f"{split}_fixed" if fixed else split), name, fixed)
        write_table(
            data / "radiology_text_reports" / f"{table}_reports.csv",
            ["VolumeName", "ClinicalInformation_EN", "Technique_EN", "Findings_EN", "Impressions_EN"],
            [[f"{n}.nii.gz", "Cough.", "Not given.", findings(n), "Not given."] for n in names],
        )
        orientation, position = "[1.0, 0.0, 0.0, 0.0, 1.0, 0.0]", "[-10.5, -20.0, 300.0]"
        write_table(
            data / "metadata" / f"{table}_metadata.csv",
            ["VolumeName", "Manufacturer", "RescaleIntercept", "RescaleSlope", "XYSpacing", "ZSpacing",
             "ImageOrientationPatient", "ImagePositionPatient"],
            [
                [f"{n}.nii.gz", "X", "-1024", "2", f"[{IN_PLANE}, {IN_PLANE}]", BETWEEN, orientation, position]
                for n in names
            ],
        )  # fmt: skip
        write_table(
            data / "multi_abnormality_labels" / f"{split}_predicted_labels.csv",
            ["VolumeName", *LABELS],
            [[f"{n}.nii.gz", 0, 1] for n in names],
        )
    return root


@pytest.fixture(params=[False, True], ids=["blank headers", "fixed headers"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_ct_rate(tmp_path / "CT-RATE", fixed=request.param)


def prepare(source: Path | str, store: Path, *arguments: str) -> None:
    cli.main(["prepare", "ct-rate", "--source", str(source), "--store", str(store), "--spacing", "1.5", *arguments])


def test_voxels_are_those_of_an_honest_file(source: Path, tmp_path: Path) -> None:
    """Slope, intercept, spacing and orientation of the metadata count, and left stays left."""
    (case,) = [case for case in ct_rate.CTRate()(source) if case.case == "train_2_a_1"]
    volume = case.read()
    honest = sitk.GetImageFromArray(hounsfield())
    honest.SetSpacing((IN_PLANE, IN_PLANE, BETWEEN))
    sitk.WriteImage(honest, str(tmp_path / "honest.nii.gz"))
    wanted = CTVolume.read(tmp_path / "honest.nii.gz")
    assert np.array_equal(volume.array, wanted.array)
    assert volume.geometry.spacing == pytest.approx(wanted.geometry.spacing)
    assert volume.geometry.direction == pytest.approx(wanted.geometry.direction)


def test_oblique_and_flipped_orientations_of_the_metadata(tmp_path: Path) -> None:
    write_volume(tmp_path, "train_9_a_1", fixed=False)
    path = tmp_path / "train_9" / "train_9_a" / "train_9_a_1.nii.gz"
    for orientation in ("[-1, 0, 0, 0, -1, 0]", "[0.98480775 0.17364818 0. -0.17364818 0.98480775 0.]"):
        row = {
            "XYSpacing": "[0.5 0.5]", "ZSpacing": "2", "RescaleSlope": "2", "RescaleIntercept": "-1024",
            "ImageOrientationPatient": orientation,
        }  # fmt: skip
        volume = ct_rate.VolumeName.parse("train_9_a_1")
        assert volume is not None
        header = ct_rate._header(row, volume)
        geometry = header.read(path).geometry
        direction = np.array(geometry.direction).reshape(3, 3)
        assert direction[:, 0] == pytest.approx(header.rows)
        assert direction[:, 1] == pytest.approx(header.columns)
        assert np.linalg.det(direction) == pytest.approx(1.0)
        assert geometry.spacing == (0.5, 0.5, 2.0)


def test_prepared_with_reports(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(source, tmp_path / "store")
    assert "5 volumes of 4 studies" in capsys.readouterr().out
    store = CaseStore(tmp_path / "store")
    records = {record.case: record for record in store.records()}
    assert set(records) == {f"ct_rate/{name}" for name in VOLUMES}
    assert {name: record.split for name, record in records.items() if "valid" in name} == {
        "ct_rate/valid_1_a_1": "validation"
    }
    assert records["ct_rate/train_1_a_1"].patient == records["ct_rate/train_1_b_1"].patient == "ct_rate/train_1"
    assert "hip_bones" in records["ct_rate/train_2_a_1"].absent
    rows = read_reports(tmp_path / "store" / REPORTS)
    assert {row.case: row.study for row in rows}["ct_rate/train_1_a_2"] == "train_1_a"
    assert rows[0].findings == findings("train_1_a_1")
    assert rows[0].impression == ""
    assert rows[0].labels == {"Medical material": 0, "Lung nodule": 1}
    # One study is one sample, whichever of its reconstructions is drawn.
    studies = studies_of(store.records("train"), rows, {})
    assert {study.name: len(study.records) for study in studies} == {"train_1_a": 2, "train_1_b": 1, "train_2_a": 1}


def test_lists_of_patients_studies_and_volumes_are_left_out(source: Path, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("train_2\nvalid_1_a\n")
    (tmp_path / "two.csv").write_text("VolumeName,why\ntrain_1_a_2.nii.gz,x\n")
    (source / "dataset" / "metadata" / "no_chest_train.txt").write_text("train_1_b_1.nii.gz\n")
    excluded = ct_rate.exclusions([tmp_path / "one.txt", tmp_path / "two.csv"])
    assert [case.case for case in ct_rate.CTRate(exclude=excluded)(source)] == ["train_1_a_1"]
    assert [case.case for case in ct_rate.CTRate(["train"], reconstructions="first")(source)] == [
        "train_1_a_1", "train_2_a_1",
    ]  # fmt: skip
    (tmp_path / "bad.txt").write_text("train_1\npatient seven\n")
    with pytest.raises(InputError, match=r"line 2 of .* names nothing of CT-RATE"):
        ct_rate.exclusions([tmp_path / "bad.txt"])


def damage(root: Path, table: str, old: str, new: str) -> None:
    path = root / "dataset" / table
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("table", "old", "new", "message"),
    [
        ("metadata/train_metadata.csv", "[0.75, 0.75]", "unknown", "give no voxel size or rescaling"),
        ("metadata/train_metadata.csv", ",2,", ",nan,", "give no voxel size or rescaling"),
        ("metadata/train_metadata.csv", "train_2_a_1", "train_3_a_1", "have no row of train_2_a_1"),
        ("metadata/train_metadata.csv", "train_2_a_1", "valid_2_a_1", "names 'valid_2_a_1.nii.gz'"),
        ("radiology_text_reports/train_reports.csv", "Findings_EN", "Findings", "no column 'Findings_EN'"),
    ],
)
def test_damaged_tables(
    table: str, old: str, new: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_ct_rate(tmp_path / "CT-RATE")
    damage(source, table, old, new)
    with pytest.raises(SystemExit) as stopped:
        prepare(source, tmp_path / "store")
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_no_ct_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        prepare(tmp_path, tmp_path / "store")
    assert "holds no CT-RATE" in capsys.readouterr().err
    assert ct_rate.VolumeName.parse("train_1_a.nii.gz") is None
    assert ct_rate.VolumeName.parse("../train_1_a_1") is None


KILLED = """
import os, signal, sys
from openvocabct_training import cli
from openvocabct_training.data import prepare
whole = prepare.prepare_case
def killing(case, *arguments):
    if case.case == "train_2_a_1":
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(case, *arguments)
prepare.prepare_case = killing
cli.main(sys.argv[1:])
"""


def test_kill_9_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from openvocabct_training.data import prepare as module

    source, store = write_ct_rate(tmp_path / "CT-RATE"), tmp_path / "store"
    command = ["prepare", "ct-rate", "--source", str(source), "--store", str(store), "--spacing", "1.5"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "Training")])}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *command], cwd=ROOT, env=environment, check=False, capture_output=True
    )
    assert done.returncode == -signal.SIGKILL
    again: list[str] = []
    whole = module.prepare_case

    def noting(case: Any, *arguments: Any) -> Any:
        again.append(case.case)
        return whole(case, *arguments)

    monkeypatch.setattr(module, "prepare_case", noting)
    cli.main(command)
    assert again == ["train_2_a_1", "valid_1_a_1"]
    assert len(CaseStore(store).records()) == len(read_reports(store / REPORTS)) == len(VOLUMES)
    cases = [json.loads(line)["case"] for line in (store / REPORTS).read_text().splitlines()]
    assert len(cases) == len(set(cases))


def test_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What is asked of the hub; the hub itself is gated."""
    import httpx
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError

    asked: list[dict[str, Any]] = []

    def snapshot(repository: str, **options: Any) -> str:
        asked.append({"repository": repository, **options})
        write_ct_rate(Path(options["local_dir"]), fixed=True)
        return str(options["local_dir"])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    arguments = ("--download", str(tmp_path / "hub"), "--patients", "2", "--splits", "train")
    prepare("hf", tmp_path / "store", *arguments)
    (call,) = asked
    assert (call["repository"], call["repo_type"]) == ("ibrahimhamamci/CT-RATE", "dataset")
    assert "dataset/train_fixed/train_2/*" in call["allow_patterns"]
    assert "dataset/radiology_text_reports/*" in call["allow_patterns"]
    assert not any("valid_fixed" in pattern for pattern in call["allow_patterns"])
    assert "CC BY-NC-SA 4.0" in capsys.readouterr().err

    def gated(repository: str, **options: Any) -> str:
        raise GatedRepoError("no", response=httpx.Response(403, request=httpx.Request("GET", "http://hub")))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", gated)
    with pytest.raises(SystemExit) as stopped:
        prepare("hf", tmp_path / "store", *arguments)
    assert stopped.value.code == 2
    assert "accept its terms" in capsys.readouterr().err
