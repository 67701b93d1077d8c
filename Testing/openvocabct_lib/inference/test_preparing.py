from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from OpenVocabCTLib.caches import CACHE_VARIABLE
from OpenVocabCTLib.inference import preparing
from OpenVocabCTLib.inference.preparing import Preparation
from OpenVocabCTLib.inference.towers import OpenVinoTower, choose_tower
from OpenVocabCTLib.models.checkpoints import resolve
from Testing.openvocabct_lib.inference.test_towers import CPU, model, tile

__all__ = ["model"]  # a fixture
WEIGHTS = "c" * 64


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    return tmp_path


def test_what_was_prepared_is_used_and_gives_the_same(model, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = OpenVinoTower(model, torch.float32, WEIGHTS)(*tile((32, 32, 64)))
    preparation = Preparation(WEIGHTS)
    network = preparation.network(WEIGHTS)
    assert network is not None
    monkeypatch.setattr(torch, "get_num_threads", lambda: network.threads)
    tower = choose_tower(model, CPU, weights=WEIGHTS, preparation=preparation)
    assert isinstance(tower, OpenVinoTower)
    assert tower._network is network
    got = tower(*tile((32, 32, 64)))
    assert (got.embedding - expected.embedding).abs().max() <= 1e-3 * expected.embedding.abs().max()
    monkeypatch.setattr(torch, "get_num_threads", lambda: network.threads + 1)
    other = choose_tower(model, CPU, weights=WEIGHTS, preparation=preparation)
    assert isinstance(other, OpenVinoTower)
    assert other._network is not network


def test_a_preparation_that_came_to_nothing_costs_nothing(model, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Preparation(WEIGHTS).network(WEIGHTS) is None  # never converted

    def broken() -> None:
        raise ImportError("libopenvino.so: wrong ELF class")

    monkeypatch.setattr(preparing, "import_openvino", broken)
    preparation = Preparation(WEIGHTS)
    assert preparation.network(WEIGHTS) is None
    assert isinstance(choose_tower(model, CPU, weights=WEIGHTS, preparation=preparation), OpenVinoTower)


def test_the_network_of_other_weights_is_not_taken(model, cache: Path) -> None:
    OpenVinoTower(model, torch.float32, WEIGHTS)
    assert Preparation(WEIGHTS).network("d" * 64) is None


@pytest.mark.parametrize(
    ("device", "flags"), [("cuda", ""), ("mps", ""), ("auto", "avx2 amx_tile"), ("cpu", "avx512_bf16")]
)
def test_nothing_is_prepared_for_another_device_or_format(
    device: str, flags: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(preparing, "_CPU_FLAGS", tmp_path / "flags")
    (tmp_path / "flags").write_text(f"flags : {flags}\n")
    assert Preparation.start(resolve(), device) is None


def test_preparing_imports_no_torch() -> None:
    program = (
        "import sys\n"
        "from OpenVocabCTLib.inference.preparing import Preparation\n"
        "Preparation('c' * 64).network('c' * 64)\n"
        "assert 'openvino' in sys.modules and 'torch' not in sys.modules\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
