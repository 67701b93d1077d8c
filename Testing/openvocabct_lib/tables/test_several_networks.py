"""A model of several networks: only what the prompts need is run, once; and what is asked of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from OpenVocabCTLib import CTVolume, Segmenter
from OpenVocabCTLib.cli import main
from OpenVocabCTLib.commands.services import LoadedModel
from OpenVocabCTLib.errors import Cancelled
from OpenVocabCTLib.inference.embedding_folder import SUFFIX, EmbeddingFolder
from OpenVocabCTLib.inference.tables.segmenter import TableSegmenter
from OpenVocabCTLib.inference.towers import TileFeatures
from OpenVocabCTLib.models.checkpoints import describe, sha256_file
from OpenVocabCTLib.models.converting.nnunet import read_results
from OpenVocabCTLib.models.converting.writing import Description, write_model
from OpenVocabCTLib.output.segmentation import Segmentation
from OpenVocabCTLib.worker.protocol import PromptRequest, VolumeHeader
from OpenVocabCTLib.worker.session import Session
from OpenVocabCTLib.worker.steps import run
from Testing.openvocabct_lib.tables import results_folders
from Testing.openvocabct_lib.tables.results_folders import write_results
from Testing.openvocabct_lib.tables.test_parity import RAS, TURNED, smooth_ct
from Testing.openvocabct_lib.tables.words import BagOfWords
from Testing.openvocabct_lib.worker.running import running_server

ORGANS = {"background": 0, "spleen": 1, "kidney_left": 2, "kidney_right": 3}
BONES = {"background": 0, "sacrum": 1, "thingamajig": 2}


class Counting:
    """A tower that counts its tiles."""

    def __init__(self, tower: Any) -> None:
        self.tower, self.tiles = tower, 0
        self.name, self.channels, self.stride = tower.name, tower.channels, tower.stride

    def __call__(self, hu: Tensor, leftness: Tensor) -> TileFeatures:
        self.tiles += 1
        return self.tower(hu, leftness)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("several")
    write_results(place / "organs", "PlainConvUNet", labels=ORGANS, mirror=None)
    write_results(place / "bones", "ResidualEncoderUNet", labels=BONES, mirror=None, spacing=[4.0, 4.0, 4.0])
    networks = [read_results(place / name) for name in ("organs", "bones")]
    write_model(place / "model", networks, Description("a test", "Apache-2.0"), BagOfWords())
    return place / "model"


@pytest.fixture
def segmenter(folder: Path) -> Iterator[TableSegmenter]:
    yield opened(folder)


def opened(folder: Path) -> TableSegmenter:
    loaded = Segmenter.from_pretrained(folder, device="cpu", backend="torch")
    assert isinstance(loaded, TableSegmenter)
    loaded.questions.bank._encoder = BagOfWords()
    for number in range(2):
        loaded._towers[number] = Counting(loaded.network_tower(number))
    return loaded


def tiles(segmenter: TableSegmenter) -> list[int]:
    return [segmenter.network_tower(number).tiles for number in range(2)]  # type: ignore[attr-defined]


def test_one_prompt_runs_one_network_and_ten_cost_one_image_pass(segmenter: TableSegmenter) -> None:
    study = segmenter.encode(smooth_ct((18, 20, 20), (2.5, 2.5, 2.5), RAS))
    assert tiles(segmenter) == [0, 0]
    study.segment(["spleen"])
    first = tiles(segmenter)
    assert first[0] > 0 and first[1] == 0
    study.segment(["spleen", "left kidney", "right kidney", "kidneys", "kidney_left", *["spleen"] * 5])
    assert tiles(segmenter) == first
    assert study.is_ready_for(["kidneys"]) and not study.is_ready_for(["kidneys", "sacrum"])
    study.segment(["sacrum", "spleen"])
    assert tiles(segmenter)[0] == first[0] and tiles(segmenter)[1] > 0


def test_cancelling_keeps_what_is_finished(segmenter: TableSegmenter) -> None:
    study = segmenter.encode(smooth_ct((18, 20, 20), (2.5, 2.5, 2.5), RAS))
    with pytest.raises(Cancelled):
        study.prepare(None, lambda done, total: done <= total / 2)
    assert study.is_ready_for(["spleen"]) and not study.is_ready_for(["sacrum"])


def test_embeddings_on_disk_serve_other_processes_and_damaged_ones_are_made_again(folder: Path, tmp_path: Path) -> None:
    volume = smooth_ct((18, 20, 20), (2.5, 2.2, 2.5), TURNED)
    first, second, third = (opened(folder) for _ in range(3))
    for one in (first, second, third):
        one.folder = EmbeddingFolder(tmp_path)
    expected = first.encode(volume).segment(["spleen"])
    assert len(list(tmp_path.glob(f"*{SUFFIX}"))) == 1  # of the network that was needed
    # What one process kept, another finds; what is missing is run, and kept too.
    expected = first.encode(volume).segment(["spleen", "sacrum"])
    entries = sorted(tmp_path.glob(f"*{SUFFIX}"))
    assert len(entries) == 2
    study = second.encode(volume)
    same_answers(study.segment(["spleen", "sacrum"]), expected)
    assert tiles(second) == [0, 0] and study.seconds > 0
    # A damaged entry costs the pass of its own network, and is there again afterwards.
    content = bytearray(entries[0].read_bytes())
    content[-1] ^= 0xFF
    entries[0].write_bytes(content)
    same_answers(third.encode(volume).segment(["spleen", "sacrum"]), expected)
    assert sorted(count > 0 for count in tiles(third)) == [False, True]
    assert sorted(tmp_path.glob(f"*{SUFFIX}")) == entries
    # The same voxels on another grid are another scan.
    moved = CTVolume.from_array(np.asarray(volume.array), replace(volume.geometry, spacing=(2.5, 2.5, 2.5)))
    second.encode(moved).segment(["spleen"])
    assert tiles(second)[0] > 0


def same_answers(ours: Segmentation, theirs: Segmentation) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert one.found == other.found and (not one.found or np.array_equal(one.mask, other.mask))


def test_classes_do_not_overlap_and_a_threshold_is_a_probability(segmenter: TableSegmenter) -> None:
    volume = smooth_ct((18, 20, 20), (2.5, 2.2, 2.5), TURNED)
    study = segmenter.encode(volume)
    found = [one for one in study.segment(["spleen", "kidney left", "kidney right"]) if one.found]
    assert found and np.sum([one.mask.astype(int) for one in found], axis=0).max() == 1
    name = found[0].prompt
    (likely,) = study.segment([name], threshold=0.3)
    assert np.array_equal(likely.mask, study.probabilities(name) > 0.3)


def test_names_of_its_own_and_other_words(segmenter: TableSegmenter) -> None:
    study = segmenter.encode(smooth_ct((18, 20, 20), (2.5, 2.5, 2.5), RAS))
    own, _, unknown, foreign = study.segment(["Thingamajig", "sacrum", "quux of nowhere", "mandible"])
    assert own.reason in ("", "no voxel is above the threshold")
    assert "nearest in words: " in unknown.reason and not unknown.found
    assert foreign.reason.startswith("this model was not trained on mandible; nearest in words: ")
    # A threshold that leaving classes out did not justify: new words then ask the network of their nearest class.
    words = replace(segmenter.table_config.open_words, near=-1.0, same_as=2.0)
    segmenter.questions.config = replace(segmenter.table_config, open_words=words)
    segmentation = study.segment(["quux of nowhere"])
    assert "guessed from words alone" in " ".join(segmentation.notes)
    assert "nearest in words" not in next(iter(segmentation)).reason


def test_the_folder_describes_all_networks(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info = describe(folder)
    assert info.concepts == ("spleen", "left_kidney", "right_kidney", "sacrum") and info.licence == "Apache-2.0"
    card = (folder / "MODEL_CARD.md").read_text()
    assert "| class of organs left out |" in card and "\n| kidney_left |" in card and "thingamajig" in card
    with pytest.raises(SystemExit):
        main(["models", "show", str(folder)])
    assert "does not know: thingamajig" in capsys.readouterr().out


def test_what_is_no_ensemble_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_results(tmp_path / "fullres", labels=ORGANS)
    write_results(tmp_path / "lowres", labels={"background": 0, "left kidney": 1, "liver": 2})
    with pytest.raises(SystemExit):
        main(
            [
                "models",
                "convert",
                "nnunet",
                *(str(tmp_path / n) for n in ("fullres", "lowres")),
                "-o",
                str(tmp_path / "m"),
            ]
        )
    told = "(nothing is averaged): left kidney of lowres\n"
    assert told in capsys.readouterr().out
    assert (
        (tmp_path / "m" / "MODEL_CARD.md")
        .read_text()
        .endswith("an earlier network has them\n\nleft kidney of lowres\n")
    )


def test_the_worker_runs_what_later_prompts_need(segmenter: TableSegmenter) -> None:
    volume = smooth_ct((18, 20, 20), (2.5, 2.5, 2.5), RAS)
    sent = VolumeHeader.of(volume.array, volume.geometry), np.asarray(volume.array)
    with running_server(load_model=lambda name, device: LoadedModel("several", device, segmenter)) as worker:
        session = Session(worker.address)
        run(session.segment(sent, [PromptRequest("spleen")], revision=1))
        first = tiles(segmenter)
        assert first[0] > 0 and first[1] == 0
        both = run(session.segment(sent, [PromptRequest("spleen"), PromptRequest("sacrum")], revision=1))
        assert tiles(segmenter)[0] == first[0] and tiles(segmenter)[1] > 0
    same_answers(both, segmenter.encode(volume).segment(["spleen", "sacrum"]))


def test_the_same_weights_in_another_network_are_another_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = smooth_ct((18, 20, 20), (2.5, 2.5, 2.5), RAS)
    found: dict[str, list[np.ndarray]] = {}
    weights = set()
    for name, slope in (("gentle", 0.01), ("steep", 0.6)):
        monkeypatch.setitem(results_folders.SIZES, "nonlin_kwargs", {"inplace": True, "negative_slope": slope})
        write_results(tmp_path / f"{name} results", mirror=None)
        write_model(tmp_path / name, [read_results(tmp_path / f"{name} results")], Description("x", "y"), BagOfWords())
        weights.add(sha256_file(tmp_path / name / "model.safetensors"))
        for backend in ("torch", "openvino"):
            loaded = Segmenter.from_pretrained(tmp_path / name, device="cpu", backend=backend)  # type: ignore[arg-type]
            loaded.folder = EmbeddingFolder(tmp_path / "embeddings")
            values = loaded.encode(volume).embedding.by_network[0].values.float().numpy()
            found.setdefault(name, []).append(values)
    assert len(weights) == 1
    for torch_values, openvino_values in found.values():
        assert np.abs(torch_values - openvino_values).max() < 0.1
    assert np.abs(found["gentle"][0] - found["steep"][0]).max() > 1.0


def test_halves_need_a_middle_that_is_in_the_scan_and_learned_sides_do_not(segmenter: TableSegmenter) -> None:
    cut_off = smooth_ct((18, 20, 20), (2.5, 2.5, 2.5), RAS)
    half, side = segmenter.encode(cut_off).segment(["left half of the sacrum", "left kidney"])
    assert half.reason.startswith("left and right cannot be told apart")
    assert "told apart" not in side.reason
    in_air = np.full((24, 40, 40), -1000, np.int16)
    in_air[3:21, 10:30, 10:30] = cut_off.array
    j, i = np.ogrid[-20:20, -20:20]
    in_air[:, i**2 + j**2 > 9**2] = -1000  # a round patient: a block ends as abruptly as one who is cut off
    (half,) = segmenter.encode(CTVolume.from_array(in_air, replace(cut_off.geometry, shape=in_air.shape))).segment(
        ["left half of the sacrum"]
    )
    assert "told apart" not in half.reason
