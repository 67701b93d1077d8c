"""Trained baselines as predictors: the same working grid, tiles, blending and clean-up as the text-prompted network."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from openvocabct_training.baselines.training import BaselineTraining, ClosedVocabularyTraining
from openvocabct_training.baselines.visual_prompt import VisualPromptSegmentation
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.inference.answers import mean_inside, native_mask, settle
from OpenVocabCTLib.inference.devices import Compute
from OpenVocabCTLib.inference.embedding import VoxelEmbedding
from OpenVocabCTLib.inference.grid import AIR_HU, WorkingGrid, to_working, working_grid
from OpenVocabCTLib.inference.image_pass import Progress, encode_volume
from OpenVocabCTLib.inference.midline import leftness, midline
from OpenVocabCTLib.inference.tiling import Index3, padded_size, tile_size
from OpenVocabCTLib.inference.towers import TileFeatures
from OpenVocabCTLib.output.masks import CroppedMask
from OpenVocabCTLib.output.segmentation import Segment, Segmentation, unanswered
from OpenVocabCTLib.prompts.parsing import PromptSet
from OpenVocabCTLib.volume import CTVolume

# (k, j, i) of a voxel of the scan.
Click = Index3 | None


@dataclass(frozen=True)
class Found:
    """What was decided for one prompt: a mask, or the reason why there is none; and how sure the network was."""

    mask: CroppedMask | None
    reason: str
    presence: float


class BaselineStudy:
    """A scan that is ready to be asked.

    Attributes:
        volume: the scan.
        seconds: what the image pass took.
    """

    def __init__(self, volume: CTVolume, answer: Callable[[Segment, Click], Found], seconds: float) -> None:
        self.volume, self.seconds = volume, seconds
        self._answer = answer

    def segment(self, prompts: PromptSet | Iterable[str], clicks: Sequence[Click] | None = None) -> Segmentation:
        """One segment for every prompt, in their order, masks on the grid of the scan.

        Args:
            prompts: what is asked for, or what it is to be called.
            clicks: for every prompt a voxel inside of the structure; only networks that are asked by clicks need them.

        Raises:
            InputError: a prompt is empty, the clicks are fewer or more than the prompts, or one is outside of the scan.
        """
        prompt_set = prompts if isinstance(prompts, PromptSet) else PromptSet.parse(prompts)
        blanks = unanswered(prompt_set)
        clicks = [None] * len(blanks) if clicks is None else list(clicks)
        if len(clicks) != len(blanks):
            raise InputError(
                f"there are {len(clicks)} clicks for {len(blanks)} prompts", "give one, or None, for every prompt"
            )
        for click in clicks:
            self._check(click)
        segments = tuple(self._complete(blank, click) for blank, click in zip(blanks, clicks, strict=True))
        return Segmentation(self.volume.geometry, segments, self.volume, self.volume.notes)

    def _check(self, click: Click) -> None:
        shape = self.volume.geometry.shape
        if click is not None and not all(0 <= index < side for index, side in zip(click, shape, strict=True)):
            raise InputError(f"the click {tuple(click)} is outside of the scan", f"its voxels (k, j, i) are {shape}")

    def _complete(self, blank: Segment, click: Click) -> Segment:
        began = time.perf_counter()
        found = self._answer(blank, click)
        mean_hu = None if found.mask is None else mean_inside(self.volume.array, found.mask)
        voxel_ml = self.volume.geometry.voxel_volume_ml
        answered = blank.answered(found.mask, found.reason, found.presence, voxel_ml, mean_hu)
        return replace(answered, seconds=time.perf_counter() - began)


class Predictor(Protocol):
    """Answers prompts about scans.

    Attributes:
        needs_clicks: it is asked by clicks, and finds nothing without.
    """

    needs_clicks: bool

    @property
    def module(self) -> BaselineTraining:
        """The network."""
        ...

    @property
    def compute(self) -> Compute:
        """Device and number format."""
        ...

    def encode(self, volume: CTVolume, progress: Progress | None = None) -> BaselineStudy:
        """Get a scan ready to be asked."""


def decide(logits: Tensor, embedding: VoxelEmbedding, min_volume_ml: float) -> Found:
    """Threshold at one half, drop islands, go to the native grid: as the text-prompted network's answers are made.

    Args:
        logits: (s, a, r) float32 of the embedding's region.
        embedding: says where that region is.
        min_volume_ml: masks smaller than this are not found.
    """
    presence = float(logits.max().sigmoid())
    answer = settle(logits, None, 0.0, presence)
    mask = native_mask(answer, embedding, 0.0) if answer.positive else None
    if mask is None or not mask.count:
        return Found(None, "no voxel is above the threshold", presence)
    volume_ml = mask.count * embedding.grid.native.voxel_volume_ml
    if volume_ml < min_volume_ml:
        return Found(None, f"only {volume_ml:.2f} ml, too little to be sure of", presence)
    return Found(mask, "", presence)


class ClosedVocabularyPredictor:
    """Answers the concepts of a network with a closed vocabulary, and groups of them; all others are not found.

    Args:
        module: the network, in evaluation mode on ``compute.device``.
        compute: device and number format.
        min_volume_ml: see ``decide``.
    """

    needs_clicks = False

    def __init__(self, module: ClosedVocabularyTraining, compute: Compute, min_volume_ml: float) -> None:
        self.module, self.compute, self.min_volume_ml = module, compute, min_volume_ml
        # As an image tower, whose voxel embedding is the logits of all classes.
        self.name = f"{type(module).__name__} {compute.device} {compute.dtype}"
        self.channels, self.stride = len(module.concepts), module.stride

    def __call__(self, hu: Tensor, leftness: Tensor) -> TileFeatures:
        """Logits of a tile, see ``ImageTower``."""
        with torch.inference_mode(), self.compute.autocast():
            image = self.module.image(hu[None].to(self.compute.device), leftness[None].to(self.compute.device))
            logits = self.module.class_logits(image)
        return TileFeatures(logits[0].float().cpu(), torch.zeros(1))

    def encode(self, volume: CTVolume, progress: Progress | None = None) -> BaselineStudy:
        """Run the network over the scan.

        Args:
            volume: the scan.
            progress: called as ``progress(tiles done, tiles in all)``; returning False stops.

        Raises:
            Cancelled: ``progress`` returned False.
            ResourceError: out of memory.
        """
        embedding = encode_volume(volume, self, self.module.preprocessing, progress)
        return BaselineStudy(volume, lambda segment, _: self._answer(segment, embedding), embedding.seconds)

    def _answer(self, segment: Segment, embedding: VoxelEmbedding) -> Found:
        rows = self._rows(segment.canonical)
        if not rows:
            return Found(None, f"not one of the {len(self.module.concepts)} classes of this network", 0.0)
        return decide(embedding.values[rows].float().amax(0), embedding, self.min_volume_ml)

    def _rows(self, concept: str | None) -> list[int]:
        """Rows of a class; of all members of a group; none where one is missing."""
        from OpenVocabCTLib.prompts.vocabulary import Vocabulary

        if concept is None:
            return []
        if concept in self.module.concepts:
            return [self.module.concepts.index(concept)]
        members = Vocabulary.load().get(concept).members
        known = all(member in self.module.concepts for member in members)
        return [self.module.concepts.index(member) for member in members] if known else []


class VisualPromptPredictor:
    """Answers with one click for every prompt; the words are only what the segment is called.

    The network sees one tile around the click: what of a structure lies outside of it is not found.

    Args:
        module: the network, in evaluation mode on ``compute.device``.
        compute: device and number format.
        min_volume_ml: see ``decide``.
    """

    needs_clicks = True

    def __init__(self, module: VisualPromptSegmentation, compute: Compute, min_volume_ml: float) -> None:
        self.module, self.compute, self.min_volume_ml = module, compute, min_volume_ml

    def encode(self, volume: CTVolume, progress: Progress | None = None) -> BaselineStudy:
        """Bring the scan to the working grid; the network runs when it is asked, around each click.

        Args:
            volume: the scan.
            progress: called once, when everything is done.
        """
        began = time.perf_counter()
        grid = working_grid(volume.geometry, self.module.preprocessing.voxel_mm)
        hu = to_working(volume.array, grid)
        if progress is not None:
            progress(1, 1)
        return BaselineStudy(volume, lambda _, click: self._answer(click, hu, grid), time.perf_counter() - began)

    def _answer(self, native_click: Click, hu: Tensor, grid: WorkingGrid) -> Found:
        if native_click is None:
            return Found(None, "no click says where it is", 0.0)
        click = working_voxel(native_click, grid)
        began = time.perf_counter()
        logits, start, tile = self._around(click, hu, grid)
        # Only what lies in the scan: a tile that is larger is filled with air.
        kept = logits[tuple(slice(0, side - first) for first, side in zip(start, hu.shape, strict=True))]
        embedding = VoxelEmbedding(
            kept[None], start, grid, torch.zeros(1, 1), torch.zeros(1, 3), tile, time.perf_counter() - began
        )
        return decide(kept, embedding, self.min_volume_ml)

    def _around(self, click: Index3, hu: Tensor, grid: WorkingGrid) -> tuple[Tensor, Index3, Index3]:
        """(D, H, W) logits of the tile around a click, its first index in the working grid, and its size."""
        preprocessing, stride = self.module.preprocessing, self.module.stride
        tile = tile_size(hu.shape, preprocessing.tile, stride)
        padded = padded_size(hu.shape, preprocessing.tile, stride)
        s, a, r = (
            min(max(0, index - part // 2), full - part) for index, part, full in zip(click, tile, padded, strict=True)
        )
        window = hu[s : s + tile[0], a : a + tile[1], r : r + tile[2]]
        patch = torch.full(tile, AIR_HU)
        patch[: window.shape[0], : window.shape[1], : window.shape[2]] = window
        left = leftness(torch.arange(r, r + tile[2]), midline(hu), grid.spacing[2]).expand(tile)
        device = self.compute.device
        with torch.inference_mode(), self.compute.autocast():
            features, _ = self.module.backbone(self.module.image(patch[None].to(device), left[None].to(device)))
            inside = torch.tensor([[click[0] - s, click[1] - a, click[2] - r]])
            with torch.autocast(torch.device(device).type, enabled=False):
                logits = self.module.click(features[-1].float(), inside)
        return logits[0].float().cpu(), (s, a, r), tile


def working_voxel(native: Index3, grid: WorkingGrid) -> Index3:
    """The working voxel that a voxel of the scan lies in, or the nearest one."""
    position = (grid.native_to_working @ (*native, 1.0))[:3]
    s, a, r = (min(max(0, round(float(index))), side - 1) for index, side in zip(position, grid.shape, strict=True))
    return s, a, r
