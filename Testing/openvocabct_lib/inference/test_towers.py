from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.inference import towers
from OpenVocabCTLib.inference.devices import Compute
from OpenVocabCTLib.inference.image_pass import encode_tiles
from OpenVocabCTLib.inference.towers import OpenVinoTower, TileFeatures, TorchTower, choose_tower
from OpenVocabCTLib.models.config import ArchitectureConfig, PreprocessingConfig
from OpenVocabCTLib.models.openvocab import OpenVocabCT
from Testing.openvocabct_lib.inference.phantoms import oblique_geometry, volume_on

CPU = Compute(torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def model() -> OpenVocabCT:
    torch.manual_seed(0)
    architecture = ArchitectureConfig(size="tiny", embedding_dim=8, query_hidden_dim=16)
    return OpenVocabCT(architecture, PreprocessingConfig(hu_windows=((-1000.0, 1500.0), (-160.0, 240.0)))).eval()


@pytest.fixture(scope="module")
def compiled(model: OpenVocabCT) -> OpenVinoTower:
    return OpenVinoTower(model, torch.float32)


def tile(shape: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(sum(shape))
    hu = torch.randn(*shape, generator=generator) * 400 - 200
    return hu, torch.linspace(-1, 1, shape[2]).expand(*shape)


@pytest.mark.parametrize("shape", [(32, 32, 64), (64, 32, 96), (96, 64, 32), (64, 64, 64)])
def test_openvino_gives_what_torch_gives(
    model: OpenVocabCT, compiled: OpenVinoTower, shape: tuple[int, int, int]
) -> None:
    hu, left = tile(shape)
    expected, got = TorchTower(model, CPU)(hu, left), compiled(hu, left)
    assert got.embedding.shape == expected.embedding.shape == (9, *shape)
    assert (got.embedding - expected.embedding).abs().max() <= 1e-3 * expected.embedding.abs().max()
    torch.testing.assert_close(got.presence, expected.presence, rtol=1e-3, atol=1e-4)
    assert torch.equal(got.embedding[-1], left)


def test_a_part_of_a_larger_volume_is_read_in_the_right_order(model: OpenVocabCT, compiled: OpenVinoTower) -> None:
    volume, sides = tile((40, 80, 96))
    region = (slice(4, 36), slice(10, 74), slice(30, 94))
    expected = TorchTower(model, CPU)(volume[region], sides[region])
    got = compiled(volume[region], sides[region])
    torch.testing.assert_close(got.embedding, expected.embedding, rtol=1e-3, atol=2e-3)


def test_a_result_is_not_overwritten_by_the_next_tile(compiled: OpenVinoTower) -> None:
    first = compiled(*tile((32, 32, 64)))
    kept = first.embedding.clone(), first.presence.clone()
    hu, left = tile((32, 32, 64))
    compiled(hu + 300, -left)
    assert torch.equal(first.embedding, kept[0])
    assert torch.equal(first.presence, kept[1])


def test_a_pair_gives_what_one_after_the_other_gives(compiled: OpenVinoTower) -> None:
    hu, left = tile((32, 64, 64))
    tiles = [(hu, left), (hu + 300, -left)]
    for one, (expected_hu, expected_left) in zip(compiled.pair(tiles), tiles, strict=True):
        expected = compiled(expected_hu, expected_left)
        assert (one.embedding - expected.embedding).abs().max() <= 1e-3 * expected.embedding.abs().max()
        torch.testing.assert_close(one.presence, expected.presence, rtol=1e-3, atol=1e-4)
        assert torch.equal(one.embedding[-1], expected_left)


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("depth", [64, 90, 128])
def test_a_scan_gets_all_of_its_tiles_one_by_one_or_in_pairs(depth: int, pairs: bool) -> None:
    class Counting:
        name, channels, stride = "counting", 2, 32

        def __init__(self) -> None:
            self.pairs, self.alone, self.together = pairs, 0, 0

        def __call__(self, hu: torch.Tensor, leftness: torch.Tensor) -> TileFeatures:
            self.alone += 1
            return TileFeatures(torch.stack((hu, leftness)), hu.flatten()[:1])

        def pair(self, tiles: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> list[TileFeatures]:
            self.together += 1
            self.alone -= 2
            return [self(*one) for one in tiles]

    hu, left = torch.rand(depth, 64, 64), torch.linspace(1, -1, 64)
    tower, steps = Counting(), []
    values, tokens, starts = encode_tiles(
        hu, left, tower, (64, 64, 64), 0.5, lambda done, total: steps.append((done, total)) is None
    )
    torch.testing.assert_close(values[0], hu)
    torch.testing.assert_close(values[1], left.expand(hu.shape))
    count = {64: 1, 90: 2, 128: 3}[depth]
    assert len(tokens) == len(starts) == count
    assert (tower.together, tower.alone) == ((count // 2, count % 2) if pairs else (0, count))
    assert steps[0] == (0, count)
    assert steps[-1] == (count, count)
    torch.testing.assert_close(tokens[:, 0], torch.stack([hu[int(start[0]), 0, 0] for start in starts]))


def test_the_fastest_backend_is_chosen(model: OpenVocabCT) -> None:
    assert choose_tower(model, CPU).name == "openvino f32"
    assert choose_tower(model, CPU, "torch").name == "torch cpu torch.float32"
    assert choose_tower(model, Compute(torch.device("meta"), torch.float32)).name.startswith("torch meta")


def test_without_openvino_torch_is_used_unless_openvino_was_asked_for(
    model: OpenVocabCT, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(towers, "find_spec", lambda name: None)
    assert isinstance(choose_tower(model, CPU), TorchTower)
    with pytest.raises(InputError, match="OpenVINO is not installed"):
        choose_tower(model, CPU, "openvino")


def test_an_openvino_that_does_not_work_is_said_once(
    model: OpenVocabCT, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise ImportError("libopenvino.so: wrong ELF class")

    monkeypatch.setattr(towers, "import_openvino", broken)
    assert isinstance(choose_tower(model, CPU), TorchTower)
    assert "wrong ELF class" in caplog.text
    assert "slower" in caplog.text
    with pytest.raises(InputError, match="wrong ELF class"):
        choose_tower(model, CPU, "openvino")


def test_openvino_reports_to_nobody() -> None:
    """Its telemetry sends an event when it is imported; here nothing but its stub may be loaded."""
    program = (
        "import socket, sys\n"
        "def refuse(*arguments, **options): raise AssertionError('network')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        "from OpenVocabCTLib.inference.openvino_network import import_openvino\n"
        "print(import_openvino().__name__)\n"
        "assert not [name for name, module in sys.modules.items() if 'openvino_telemetry' in name and module]\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout.strip()) == (0, "openvino"), run.stderr


def test_the_embedded_model_finds_the_same_with_both_backends() -> None:
    from OpenVocabCTLib import Segmenter

    volume = volume_on(oblique_geometry((10.0, -5.0, 20.0)))
    masks = []
    for backend in ("torch", "openvino"):
        study = Segmenter.from_pretrained(device="cpu", precision="fp32", backend=backend).encode(volume)
        masks.append(study.probabilities("body") > 0.5)
    assert masks[0].any()
    assert 2 * np.sum(masks[0] & masks[1]) / (masks[0].sum() + masks[1].sum()) >= 0.999
