"""The image pass against what peers do, in one run: MONAI's sliding window, and a decoder pass for every prompt.

Usage: python -m Testing.benchmarks.sliding_window [CT|KxJxI] [--json FILE]

Both references run the same network in PyTorch, fp32, eager. The sliding window has Gaussian weights and half an
overlap over the whole working grid, once with the model's usual tile and once with ours; agreement is the mean Dice of
the masks. The decoder pass is measured on one tile: an encoder pass, then for every prompt the decoder, whose coarsest
features the prompt weighs by channel, as text-prompted peers have it; 100 prompts are extrapolated from 10.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from monai.inferers import sliding_window_inference

from OpenVocabCTLib import CTVolume, Segmenter
from OpenVocabCTLib.commands.sample import Sample, dice
from OpenVocabCTLib.inference.grid import to_working, working_grid
from OpenVocabCTLib.inference.image_pass import encode_volume
from OpenVocabCTLib.inference.midline import leftness, midline
from OpenVocabCTLib.inference.segmenter import Study
from OpenVocabCTLib.memory import keep_freed_memory
from OpenVocabCTLib.models.heads import Queries, voxel_logits
from OpenVocabCTLib.models.openvocab import OpenVocabCT, window_hu
from OpenVocabCTLib.output import Segmentation
from Testing.benchmarks.image_stages import PROMPTS
from Testing.benchmarks.phantom_ct import ct_file

NUMBERS = (1, 2, 10)


def seconds_of(work: Callable[[], Any]) -> tuple[float, Any]:
    """Wall seconds of a call, and what it returns."""
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def monai_pass(volume: CTVolume, model: OpenVocabCT, segmenter: Segmenter, tile: Sequence[int]) -> torch.Tensor:
    """(E, S, A, R) voxel embedding of the whole working grid by MONAI's sliding window."""
    grid = working_grid(volume.geometry, segmenter.config.preprocessing.voxel_mm)
    hu = to_working(volume.array, grid)
    left = leftness(torch.arange(grid.shape[2]), midline(hu), grid.spacing[2]).expand(grid.shape)
    image = torch.stack((hu, left))[None]

    def predict(tiles: torch.Tensor) -> torch.Tensor:
        return model.encode_image(tiles[:, 0], tiles[:, 1]).embedding

    with torch.inference_mode():
        return sliding_window_inference(
            image, tile, 1, predict, overlap=0.5, mode="gaussian", padding_mode="constant", cval=-1024.0
        )[0]


def compare(volume: CTVolume, segmenter: Segmenter, reference: Segmenter) -> dict[str, Any]:
    """Time of our image pass, of MONAI's with the model's usual tile and with ours, and how far the masks agree.

    What a network that normalises over space finds depends on the size and the place of its tiles, and MONAI's lie
    elsewhere. That our pass computes the same is shown with the same tiles at the same places, in plain torch.
    """
    tile = segmenter.config.preprocessing.tile
    with torch.inference_mode():  # the first tile of each takes longer
        reference.model.encode_image(torch.zeros(1, *tile), torch.zeros(1, *tile))
    segmenter.encode(volume)
    segmenter.cache.clear()
    ours_seconds, study = seconds_of(lambda: segmenter.encode(volume))
    ours = study.segment(PROMPTS)
    row: dict[str, Any] = {
        "voxels": list(volume.geometry.shape),
        "ours_s": ours_seconds,
        "tower": segmenter.tower.name,
        "tile": list(study.embedding.tile),
        "tiles": len(study.embedding.tile_starts),
    }
    for name, size in (("usual_tile", tile), ("same_tile", study.embedding.tile)):
        monai_seconds, values = seconds_of(lambda size=size: monai_pass(volume, reference.model, segmenter, size))
        # Presence is asked of our tiles, so that the masks differ by the voxel embedding only.
        embedding = replace(study.embedding, values=values, offset=(0, 0, 0))
        agreement = dices(ours, Study(segmenter, volume, embedding).segment(PROMPTS))
        row[name] = {
            "tile": list(size),
            "monai_s": monai_seconds,
            "faster": monai_seconds / ours_seconds,
            "dice": agreement,
            "mean_dice": fmean(agreement.values() or [0.0]),
        }
    row["half"] = kept_in_half(volume, segmenter)
    plain_seconds, plain = seconds_of(lambda: reference.encode(volume))
    agreement = dices(ours, plain.segment(PROMPTS))
    row["plain"] = {
        "seconds": plain_seconds,
        "faster": plain_seconds / ours_seconds,
        "dice": agreement,
        "mean_dice": fmean(agreement.values() or [0.0]),
    }
    return row


def kept_in_half(volume: CTVolume, segmenter: Segmenter) -> dict[str, Any]:
    """Agreement of the masks of the embedding as it is kept, in half precision, with those of it as it was made."""
    made = encode_volume(volume, segmenter.tower, segmenter.config.preprocessing, store_dtype=torch.float32)
    kept = replace(made, values=made.values.half())
    agreement = dices(*(Study(segmenter, volume, one).segment(PROMPTS) for one in (made, kept)))
    return {"dice": agreement, "mean_dice": fmean(agreement.values() or [0.0])}


def dices(one: Segmentation, other: Segmentation) -> dict[str, float]:
    """Dice of everything that both, or only one of them, found."""
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a.found or b.found]
    return {a.prompt: dice(a.mask, b.mask) if a.found and b.found else 0.0 for a, b in pairs}


def per_prompt_decoder(model: OpenVocabCT, tile: tuple[int, int, int]) -> dict[str, Any]:
    """Seconds for one tile and several prompts, ours and with a decoder pass for every prompt, both in torch."""
    backbone, channels = model.backbone, model.embedding_channels
    hu = torch.linspace(-1000, 1000, tile[0] * tile[1] * tile[2]).reshape(1, *tile)
    left = torch.zeros_like(hu)

    def encoder() -> list[torch.Tensor]:
        x, skips = window_hu(hu, model.hu_windows), []
        for stage in backbone.conv_blocks_context:
            x = stage(x)
            skips.append(x)
        return skips

    def decoder(skips: list[torch.Tensor], weight: torch.Tensor) -> torch.Tensor:
        x = skips[-1] * weight
        stages = zip(backbone.upsample_layers, backbone.conv_blocks_localization, reversed(skips[:-1]), strict=True)
        for upsample, stage, skip in stages:
            x = stage(torch.cat((upsample(x), skip), dim=1))
        return model.projection(x).sum(1)

    def theirs(number: int) -> None:
        skips = encoder()
        for _ in range(number):
            decoder(skips, torch.ones(1, skips[-1].shape[1], 1, 1, 1))

    def ours(number: int) -> None:
        embedding = model.encode_image(hu, left).embedding
        queries = Queries(torch.ones(number, channels), torch.ones(number), torch.ones(number, 1), torch.ones(number))
        voxel_logits(embedding, queries)

    rows: dict[str, Any] = {}
    with torch.inference_mode():
        ours(1)
        for number in NUMBERS:
            rows[str(number)] = {"ours_s": seconds_of(lambda n=number: ours(n))[0]}
            rows[str(number)]["per_prompt_s"] = seconds_of(lambda n=number: theirs(n))[0]
        rows["100"] = {"ours_s": seconds_of(lambda: ours(100))[0]}
    each = (rows["10"]["per_prompt_s"] - rows["1"]["per_prompt_s"]) / 9
    rows["100"]["per_prompt_s"] = rows["1"]["per_prompt_s"] + 99 * each
    for row in rows.values():
        row["faster"] = row["per_prompt_s"] / row["ours_s"]
    return rows


def main() -> None:
    """Print the ratios; write JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ct", nargs="*")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    keep_freed_memory()
    segmenter = Segmenter.from_pretrained(device="cpu")
    reference = Segmenter.from_pretrained(device="cpu", precision="fp32", backend="torch")
    report: dict[str, Any] = {"results": []}
    with tempfile.TemporaryDirectory() as folder:
        for source in options.ct or [str(Sample.find().ct)]:
            path = ct_file(source, Path(folder))
            row = {"ct": path.name, **compare(CTVolume.read(path), segmenter, reference)}
            report["results"].append(row)
            for name in ("usual_tile", "same_tile"):
                one = row[name]
                print(
                    f"{row['ct']}: image pass {row['ours_s']:.2f} s, MONAI with {one['tile']} {one['monai_s']:.2f} s "
                    f"({one['faster']:.1f}x; reach 6x), mean Dice {one['mean_dice']:.4f} (reach 0.995)"
                )
            print(
                f"{row['ct']}: the same tiles in plain torch fp32 {row['plain']['seconds']:.2f} s "
                f"({row['plain']['faster']:.1f}x), mean Dice {row['plain']['mean_dice']:.4f} (reach 0.995); kept in "
                f"fp16 against fp32: {row['half']['mean_dice']:.4f}"
            )
    report["per_prompt_decoder"] = per_prompt_decoder(reference.model, segmenter.config.preprocessing.tile)
    for number, row in report["per_prompt_decoder"].items():
        print(f"{number} prompts on one tile: {row['faster']:.1f}x faster than a decoder pass for every prompt")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
