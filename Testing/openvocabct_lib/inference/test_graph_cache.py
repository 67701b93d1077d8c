from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
import torch

from OpenVocabCTLib.caches import CACHE_VARIABLE, cache_folder
from OpenVocabCTLib.inference import graph_cache, towers
from OpenVocabCTLib.inference.graph_cache import GraphCache
from OpenVocabCTLib.inference.openvino_network import import_openvino
from OpenVocabCTLib.inference.towers import OpenVinoTower
from OpenVocabCTLib.models.config import ArchitectureConfig, PreprocessingConfig
from OpenVocabCTLib.models.openvocab import OpenVocabCT

WEIGHTS = "a" * 64
TILE = torch.linspace(-1000, 1000, 32 * 32 * 64).reshape(32, 32, 64)


def network(seed: int = 0) -> OpenVocabCT:
    torch.manual_seed(seed)
    architecture = ArchitectureConfig(size="tiny", embedding_dim=8, query_hidden_dim=16)
    return OpenVocabCT(architecture, PreprocessingConfig()).eval()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    return tmp_path / "networks"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one entry, to copy."""
    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("kept")
        patch.setenv(CACHE_VARIABLE, str(cache))
        OpenVinoTower(network(), torch.float32, WEIGHTS)
    return cache / "networks"


def spoil(folder: Path, suffix: str, damage: str) -> None:
    (path,) = folder.glob(f"*{suffix}")
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)


@pytest.fixture
def no_conversion(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Counts conversions."""
    calls: list[str] = []
    convert = towers._convert

    def counted(model: OpenVocabCT) -> object:
        calls.append("converted")
        return convert(model)

    monkeypatch.setattr(towers, "_convert", counted)
    return calls


def test_the_second_start_converts_nothing_and_gives_the_same(folder: Path, no_conversion: list[str]) -> None:
    first = OpenVinoTower(network(), torch.float32, WEIGHTS)(TILE, TILE)
    second = OpenVinoTower(network(), torch.float32, WEIGHTS)(TILE, TILE)
    assert no_conversion == ["converted"]
    torch.testing.assert_close(second.embedding, first.embedding, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(second.presence, first.presence)
    assert sorted(path.suffix for path in folder.iterdir()) == [".bin", ".sha256", ".xml"]


def test_other_weights_are_another_entry(folder: Path, no_conversion: list[str]) -> None:
    first = OpenVinoTower(network(0), torch.float32, WEIGHTS)(TILE, TILE)
    other = OpenVinoTower(network(1), torch.float32, weights="b" * 64)(TILE, TILE)
    assert len(no_conversion) == 2
    assert not torch.allclose(first.embedding, other.embedding)


@pytest.mark.parametrize("suffix", [".xml", ".bin", ".sha256"])
@pytest.mark.parametrize("damage", ["truncated", "changed", "missing"])
def test_a_damaged_entry_is_not_read(kept: Path, tmp_path: Path, suffix: str, damage: str) -> None:
    folder = Path(shutil.copytree(kept, tmp_path / "networks"))
    openvino = import_openvino()
    core, cache = openvino.Core(), GraphCache(folder, WEIGHTS, openvino.__version__)
    assert cache.read(core) is not None
    spoil(folder, suffix, damage)
    assert cache.read(core) is None


def test_a_damaged_entry_is_made_again(kept: Path, folder: Path, no_conversion: list[str]) -> None:
    shutil.copytree(kept, folder)
    expected = OpenVinoTower(network(), torch.float32, WEIGHTS)(TILE, TILE)
    assert no_conversion == []
    spoil(folder, ".bin", "changed")
    again = OpenVinoTower(network(), torch.float32, WEIGHTS)(TILE, TILE)
    assert no_conversion == ["converted"]
    torch.testing.assert_close(again.embedding, expected.embedding)
    OpenVinoTower(network(), torch.float32, WEIGHTS)
    assert no_conversion == ["converted"]  # mended


def test_a_folder_that_cannot_be_written_costs_time_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    with caplog.at_level(logging.INFO):
        tower = OpenVinoTower(network(), torch.float32, WEIGHTS)
    assert torch.isfinite(tower(TILE, TILE).embedding).all()
    assert "not kept" in caplog.text


def test_a_change_of_version_or_code_is_another_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = GraphCache(tmp_path, "a", "1").name
    assert GraphCache(tmp_path, "a", "1").name == name
    assert GraphCache(tmp_path, "a", "2").name != name
    changed = tmp_path / "stunet.py"
    changed.write_text("another network")
    monkeypatch.setattr(graph_cache, "NETWORK_CODE", (changed, *graph_cache.NETWORK_CODE[1:]))
    assert GraphCache(tmp_path, "a", "1").name != name


def test_the_cache_lies_where_the_system_keeps_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert cache_folder() == tmp_path / "openvocabct"
