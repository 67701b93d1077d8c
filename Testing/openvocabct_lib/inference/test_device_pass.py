"""The way through a GPU, with the CPU in its place: what is sent when, in which numbers, and where it is gathered."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from OpenVocabCTLib.errors import Cancelled
from OpenVocabCTLib.inference import device_memory, device_pass, image_pass
from OpenVocabCTLib.inference.device_memory import CudaMemory, MpsMemory, holds, tiles_at_once
from OpenVocabCTLib.inference.device_pass import DeviceTower, Gpu, Tiles, encode_on
from OpenVocabCTLib.inference.devices import Compute
from OpenVocabCTLib.inference.image_pass import encode_tiles, encode_volume
from OpenVocabCTLib.inference.tiling import tile_regions
from OpenVocabCTLib.inference.towers import TorchTower
from OpenVocabCTLib.inference.transfers import Arriving, DirectTransfer
from OpenVocabCTLib.models.config import ArchitectureConfig, PreprocessingConfig
from OpenVocabCTLib.models.openvocab import OpenVocabCT
from Testing.openvocabct_lib.inference import phantoms

CPU = torch.device("cpu")
GIGABYTE = 10**9
OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 3 GiB"


class Log(list[str]):
    """What happened, in order."""


class Recorded:
    def __init__(self, arriving: Arriving, log: Log, name: str) -> None:
        self._arriving, self._log, self._name = arriving, log, name

    def wait(self) -> tuple[torch.Tensor, ...]:
        self._log.append(f"{self._name} arrived")
        return self._arriving.wait()


class RecordingTransfer:
    """Copies at once, and writes down what was asked for."""

    def __init__(self, log: Log) -> None:
        self._direct, self._log, self._sent, self._fetched = DirectTransfer(CPU), log, 0, 0

    def send(self, *tensors: torch.Tensor) -> Arriving:
        self._sent += 1
        self._log.append(f"send {self._sent}")
        return Recorded(self._direct.send(*tensors), self._log, f"tile {self._sent}")

    def fetch(self, tensor: torch.Tensor) -> Arriving:
        self._fetched += 1
        self._log.append(f"fetch {self._fetched}")
        return Recorded(self._direct.fetch(tensor), self._log, f"result {self._fetched}")


class Memory:
    """So many bytes are free, and a tile needs so many."""

    def __init__(self, free: int, tile: int) -> None:
        self._free, self._tile = free, tile

    def free(self) -> int:
        return self._free

    def watch(self) -> None:
        pass

    def most(self) -> int:
        return self._tile


class Tower:
    """HU and leftness are its channels; writes down how many tiles it was given."""

    name, channels, stride, device = "recording", 2, 32, CPU

    def __init__(self, log: Log, fails: int = 0) -> None:
        self._log, self._fails, self.calls = log, fails, 0

    def __call__(self, hu: torch.Tensor, leftness: torch.Tensor) -> Any:
        raise AssertionError("a tile was encoded alone")

    def encode(self, hu: torch.Tensor, leftness: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.calls += 1
        assert hu.dtype == leftness.dtype == torch.float32  # an Apple GPU has no doubles
        self._log.append(f"encode {len(hu)}")
        if self.calls == self._fails:
            raise RuntimeError(OUT_OF_MEMORY)
        return torch.stack((hu, leftness), dim=1), hu.flatten(1)[:, :1]


def volume(depth: int = 160) -> Tiles:
    hu = torch.rand(depth, 32, 32, generator=torch.Generator().manual_seed(depth))
    size = (32, 32, 32)
    return Tiles(hu, torch.linspace(1, -1, 32).expand(hu.shape), tile_regions(hu.shape, size, 0.5), size)


def gpu(log: Log, free: int = GIGABYTE, tile: int = 0) -> Gpu:
    return Gpu(CPU, RecordingTransfer(log), Memory(free, tile))


def check(result: tuple[torch.Tensor, list[torch.Tensor]], tiles: Tiles) -> None:
    values, tokens = result
    torch.testing.assert_close(values[0], tiles.hu)
    torch.testing.assert_close(values[1], tiles.leftness)
    assert [float(token) for token in tokens] == [float(tiles.hu[one].flatten()[0]) for one in tiles.regions]


def test_the_next_tile_is_sent_before_this_one_is_encoded() -> None:
    log, tiles = Log(), volume(80)
    assert len(tiles.regions) == 4
    check(encode_on(gpu(log), Tower(log), tiles, lambda done: None), tiles)
    assert log == [
        *("send 1", "tile 1 arrived", "encode 1"),  # alone: it shows how much memory a tile needs
        *("send 2", "send 3", "tile 2 arrived", "encode 1"),
        *("send 4", "tile 3 arrived", "encode 1", "tile 4 arrived", "encode 1"),
    ]


def test_as_many_tiles_at_once_as_memory_holds() -> None:
    log, tiles, seen = Log(), volume(160), []
    assert len(tiles.regions) == 9
    check(encode_on(gpu(log, tile=GIGABYTE // 4), Tower(log), tiles, seen.append), tiles)
    assert [one for one in log if one.startswith("encode")] == ["encode 1", "encode 3", "encode 3", "encode 2"]
    assert seen == [0, 1, 4, 7, 9]


def test_where_the_result_has_no_room_it_is_gathered_in_main_memory(caplog: pytest.LogCaptureFixture) -> None:
    log, tiles = Log(), volume(80)
    with caplog.at_level(logging.WARNING):
        check(encode_on(gpu(log, free=1000), Tower(log), tiles, lambda done: None), tiles)
    assert "gathered in main memory" in caplog.text
    order = {event: place for place, event in enumerate(log)}
    for number in (1, 2, 3):
        # A result is waited for when the next one has been computed and is on its way.
        assert order[f"fetch {number + 1}"] < order[f"result {number} arrived"]
    assert log[-1] == "result 4 arrived"


def test_running_out_of_memory_moves_the_result_to_main_memory(caplog: pytest.LogCaptureFixture) -> None:
    log, tiles, seen = Log(), volume(80), []
    with caplog.at_level(logging.WARNING):
        check(encode_on(gpu(log), Tower(log, fails=3), tiles, seen.append), tiles)
    assert "gathered in main memory" in caplog.text
    assert seen == [0, 1, 2, 0, 1, 2, 3, 4]
    with pytest.raises(RuntimeError, match="out of memory"):
        encode_on(gpu(log, free=1000), Tower(log, fails=1), tiles, seen.append)


def test_other_errors_are_not_taken_for_it() -> None:
    class Broken(Tower):
        def encode(self, hu: torch.Tensor, leftness: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            self.calls += 1
            raise RuntimeError("shapes do not fit")

    tower = Broken(Log())
    with pytest.raises(RuntimeError, match="shapes"):
        encode_on(gpu(Log()), tower, volume(), lambda done: None)
    assert tower.calls == 1


def test_a_scan_goes_through_the_gpu_and_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    monkeypatch.setattr(device_pass.Gpu, "of", lambda device: gpu(log))
    tower = Tower(log)
    tower.device = torch.device("meta")  # not the CPU
    assert isinstance(tower, DeviceTower)
    hu, left = torch.rand(80, 40, 30), torch.linspace(1, -1, 30)
    values, tokens, starts = encode_tiles(hu, left, tower, (32, 32, 32), 0.5, None)
    torch.testing.assert_close(values[0], hu)
    torch.testing.assert_close(values[1], left.expand(hu.shape))
    assert len(tokens) == len(starts) > 2
    with pytest.raises(Cancelled):
        encode_tiles(hu, left, tower, (32, 32, 32), 0.5, lambda done, total: done < 2)


def test_the_network_gives_the_same_embedding_one_by_one_and_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    preprocessing = PreprocessingConfig(spacing_mm=3.0, tile=(64, 32, 32))
    model = OpenVocabCT(ArchitectureConfig(size="tiny", embedding_dim=8, query_hidden_dim=16), preprocessing).eval()
    tower = TorchTower(model, Compute(CPU, torch.float32))
    scan = phantoms.volume_on(phantoms.oblique_geometry((10, -5, 20), (-1, 1, 1)))
    expected = encode_volume(scan, tower, preprocessing, store_dtype=torch.float32)

    def in_batches(place: object, encoder: DeviceTower, tiles: Tiles, done: Any) -> Any:
        return encode_on(Gpu(CPU, DirectTransfer(CPU), Memory(GIGABYTE, GIGABYTE // 5)), encoder, tiles, done)

    class Elsewhere(TorchTower):
        def encode(self, hu: torch.Tensor, leftness: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            counts.append(len(hu))
            return super().encode(hu, leftness)

    counts: list[int] = []
    elsewhere = Elsewhere(model, Compute(CPU, torch.float32))
    elsewhere.device = torch.device("meta")
    monkeypatch.setattr(image_pass, "encode_on", in_batches)
    monkeypatch.setattr(device_pass.Gpu, "of", lambda device: None)
    got = encode_volume(scan, elsewhere, preprocessing, store_dtype=torch.float32)
    assert max(counts) > 1 and sum(counts) == len(expected.tile_starts)
    torch.testing.assert_close(got.values, expected.values, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(got.presence_tokens, expected.presence_tokens, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("free", "needed", "tiles"), [(10, 0, 1), (10, 20, 1), (10, 4, 2), (100, 1, 8), (0, 5, 1), (10, 8, 1)]
)
def test_tiles_at_once(free: int, needed: int, tiles: int) -> None:
    assert tiles_at_once(free, needed) == tiles


def test_half_of_the_memory_is_left_for_the_network() -> None:
    assert holds(100, 40)
    assert not holds(100, 41)


def test_memory_of_a_cuda_device(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = device_memory.torch.cuda
    figures = {"memory_reserved": 30, "memory_allocated": 10, "max_memory_allocated": 17}
    for name, value in figures.items():
        monkeypatch.setattr(cuda, name, lambda device, value=value: value)
    resets: list[object] = []
    monkeypatch.setattr(cuda, "reset_peak_memory_stats", resets.append)
    monkeypatch.setattr(cuda, "mem_get_info", lambda device: (100, 200))
    memory = CudaMemory(torch.device("cuda:0"))
    assert memory.free() == 120
    memory.watch()
    assert (memory.most(), resets) == (7, [torch.device("cuda:0")])


def test_memory_of_an_apple_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 100)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 30)
    memory = MpsMemory()
    memory.watch()
    assert (memory.free(), memory.most()) == (70, 0)


def test_weights_are_laid_out_as_the_device_can_read_them() -> None:
    formats: Sequence[torch.memory_format] = [
        Compute(torch.device(name), torch.float32).memory_format for name in ("cpu", "cuda", "mps")
    ]
    assert formats == [torch.channels_last_3d, torch.channels_last_3d, torch.contiguous_format]
