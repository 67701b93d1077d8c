"""Stages of one CT from file to file: wall and CPU seconds and peak memory, in a process of its own.

Usage: python -m Testing.benchmarks.image_stages CT|KxJxI [--json FILE]

KxJxI makes a generated CT of that size, 600x512x512 for example.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from pathlib import Path
from typing import Any

from OpenVocabCTLib.memory import keep_freed_memory
from Testing.benchmarks.measuring import Stages
from Testing.benchmarks.phantom_ct import ct_file

PROMPTS = ("left lung", "right lung", "spinal cord", "bones", "body")


def measure(source: str, folder: Path) -> dict[str, Any]:
    """Do one CT and return what every stage cost.

    Args:
        source: a file, or the size of a generated CT.
        folder: for files.
    """
    stages = Stages()
    path = ct_file(source, folder)
    with stages("import"):
        from OpenVocabCTLib import CTVolume
        from OpenVocabCTLib.commands.services import Services
    with stages("load model"):
        segmenter = Services().load_model(None, "cpu").segmenter
    with stages("read"):
        volume = CTVolume.read(path)
    embedding = _encode(volume, segmenter, stages)
    segmenter.cache.put(_key(segmenter, volume), embedding)
    _answer(segmenter, embedding, stages)
    study = segmenter.encode(volume)
    with stages("all prompts, first time"):
        segmentation = study.segment(PROMPTS)
    with stages("write"):
        segmentation.write(folder / "result.seg.nrrd")
    return {
        "ct": path.name,
        "voxels": list(volume.geometry.shape),
        "working_voxels": list(embedding.values.shape[1:]),
        "tile": list(embedding.tile),
        "tiles": len(embedding.tile_starts),
        "found": [segment.prompt for segment in segmentation.found],
        "tower": segmenter.tower.name,
        "stages": stages.rows,
        "peak_mb": stages.peak_mb,
    }


def _key(segmenter: Any, volume: Any) -> tuple[Any, ...]:
    return volume.content_hash(), segmenter.fingerprint, segmenter.config.preprocessing, segmenter.tower.name


def _encode(volume: Any, segmenter: Any, stages: Stages) -> Any:
    """Do the image pass as ``encode_volume`` does, in steps."""
    import torch

    from OpenVocabCTLib.inference.embedding import VoxelEmbedding
    from OpenVocabCTLib.inference.grid import to_working, working_grid
    from OpenVocabCTLib.inference.image_pass import body_region, encode_within_memory
    from OpenVocabCTLib.inference.midline import leftness, midline

    preprocessing = segmenter.config.preprocessing
    with stages("hash"):
        volume.content_hash()
    with stages("orient and resample"):
        grid = working_grid(volume.geometry, preprocessing.voxel_mm)
        hu = to_working(volume.array, grid)
    with stages("crop"):
        region = body_region(hu)
        left = leftness(torch.arange(grid.shape[2]), midline(hu), grid.spacing[2])[region[2]]
        body = hu[region].contiguous()
    tower = _TimedTower(segmenter.tower, stages)
    with stages("tiles and blend"):
        values, tokens, starts, tile = encode_within_memory(body, left, tower, preprocessing, None)
        values = values.to(torch.float16)
    tiles, both = stages.rows["tiles"], stages.rows["tiles and blend"]
    stages.rows["blend"] = {name: both[name] - tiles[name] for name in ("wall_s", "cpu_s")}
    offset = (region[0].start, region[1].start, region[2].start)
    return VoxelEmbedding(values, offset, grid, tokens, starts, tile, both["wall_s"])


class _TimedTower:
    """A tower whose calls are a stage of their own."""

    def __init__(self, tower: Any, stages: Stages) -> None:
        self._tower, self._stages = tower, stages
        self.channels, self.stride, self.name = tower.channels, tower.stride, tower.name

        self.pairs = getattr(tower, "pairs", False)

    def __call__(self, hu: Any, leftness: Any) -> Any:
        with self._stages("tiles"):
            return self._tower(hu, leftness)

    def pair(self, tiles: Any) -> Any:
        with self._stages("tiles"):
            return self._tower.pair(tiles)


def _answer(segmenter: Any, embedding: Any, stages: Stages) -> None:
    """Answer one prompt in steps: what a known one costs when everything is loaded."""
    from OpenVocabCTLib.inference.answers import native_mask, settle, study_logits
    from OpenVocabCTLib.prompts import PromptSet

    with stages("read the prompt, first time"):
        question = segmenter.questions.ask(PromptSet.parse(["body"])[0])
    part = question.parts[0]
    with stages("query"):
        queries = segmenter.queries([part.wording])
    with stages("head"):
        logits = study_logits(embedding, queries)[0]
    cut = math.log(part.threshold / (1 - part.threshold))
    with stages("threshold"):
        answer = settle(logits, None, cut, 1.0)
    if not answer.positive:
        return
    with stages("upsample to the native mask"):
        native_mask(answer, embedding, cut)


def main() -> None:
    """Print one line a stage; write JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ct")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(options.ct, Path(folder))
    print(f"{result['ct']}: {result['tiles']} tiles of {result['tile']}, peak {result['peak_mb'] / 1000:.2f} GB")
    for name, row in result["stages"].items():
        print(f"  {name:28} {row['wall_s']:7.2f} s wall {row['cpu_s']:7.2f} s CPU  {row.get('peak_mb', 0):7.0f} MB")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
