"""Baselines through the same `evaluate` as the text-prompted network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from openvocabct_training import cli
from openvocabct_training.baselines.predictor import BaselineStudy, Click, Found
from openvocabct_training.evaluation.baseline_systems import BaselineSystem, baseline
from openvocabct_training.evaluation.predictors import Query, load_predictor
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.output.masks import CroppedMask
from OpenVocabCTLib.output.segmentation import Segment
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_training.baselines.tiny_baselines import ALL, save
from Testing.openvocabct_training.evaluation.scans import LARYNX, LEFT, ct, masks, write_list, write_scan

FACTORY = "openvocabct_training.evaluation.baseline_systems:baseline"


class KnownAnswers:
    """Finds the left parotid gland by its name, and anything by one click."""

    needs_clicks = True

    def encode(self, volume: CTVolume, progress: object = None) -> BaselineStudy:
        left = CroppedMask.from_full(masks()[LEFT])

        def answer(segment: Segment, click: Click) -> Found:
            if segment.canonical == LEFT or click == (1, 2, 3):
                return Found(left, "", 0.75)
            return Found(None, "not one of the classes", 0.0)

        return BaselineStudy(volume, answer, 1.5)


def test_queries_bring_their_clicks() -> None:
    scan = BaselineSystem(KnownAnswers(), "known", "1").encode(ct())  # type: ignore[arg-type]
    queries = [
        Query("left parotid gland"),
        Query("larynx"),
        Query("a thing", point=(1, 2, 3)),
        Query("larynx", free=True),
    ]
    named, refused, clicked, free = scan.segment(queries)
    assert scan.seconds == 1.5
    assert named.found and named.presence == 0.75 and clicked.found
    # Never judged, so no presence.
    assert not refused.found and refused.presence is None and not free.found


@pytest.mark.parametrize("name", ALL)
def test_a_checkpoint_is_evaluated(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    checkpoint = save(ALL[name](), tmp_path / "last.ckpt")
    write_scan(tmp_path / "scan")
    case = {"case": "a", "ct": "scan/ct.nii.gz", "labels": "scan/labels.nii.gz", "values": {LEFT: [1], LARYNX: [3]}}
    listing = write_list(tmp_path / "cases.jsonl", [case])
    arguments = ["evaluate", str(tmp_path), "--cases", str(listing), "--model", str(checkpoint)]
    arguments += ["--predictor", FACTORY, "--suite", "accuracy", "--pictures", "0", "--output", str(tmp_path / "out")]
    cli.main(arguments)
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert written["system"] == ALL[name]().title
    (record,) = written["patients"]
    assert set(record["accuracy"]) == {LEFT, LARYNX}
    # The larynx is no class of theirs; only a click can find it.
    assert (record["accuracy"][LARYNX]["presence"] is not None) == (name == "visual")


def test_another_checkpoint_is_another_system(tmp_path: Path) -> None:
    systems = [load_predictor(FACTORY, str(save(ALL["cnn"](), tmp_path / f"{number}.ckpt"))) for number in (1, 2)]
    assert systems[0].fingerprint != systems[1].fingerprint
    assert baseline(str(tmp_path / "1.ckpt")).fingerprint == systems[0].fingerprint


def test_a_baseline_needs_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no baseline comes with the program"):
        baseline(None)
    with pytest.raises(InputError, match="there is no checkpoint"):
        baseline(str(tmp_path / "no.ckpt"))
