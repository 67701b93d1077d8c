"""What a model folder's ``config.json`` says about the network and its preprocessing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from OpenVocabCTLib.errors import ModelError


@dataclass(frozen=True)
class ArchitectureConfig:
    """Sizes of the network.

    Args:
        size: name of the STU-Net size, see ``stunet.SIZES``.
        embedding_dim: channels E of the voxel embedding.
        text_dim: length of the text encoder's sentence embedding.
        query_hidden_dim: width of the MLP that turns a text embedding into a query.
        concepts: ids of the concepts that have a learned correction of their query.
        strides: from each stage of the backbone to the next along (S, A, R); 2 everywhere if None.
    """

    size: str = "small16"
    embedding_dim: int = 32
    text_dim: int = 384
    query_hidden_dim: int = 512
    concepts: tuple[str, ...] = ()
    strides: tuple[tuple[int, int, int], ...] | None = None


@dataclass(frozen=True)
class PreprocessingConfig:
    """How a CT becomes the network's input.

    Args:
        spacing_mm: size of the working voxels, one number for cubic ones or one along each of (S, A, R).
        hu_windows: each window (low, high) in HU becomes one input channel, mapped linearly to -1..1 and clipped.
        tile: tile size in working voxels (S, A, R), multiples of the network's stride.
        tile_overlap: fraction of a tile shared with its neighbour.

    Raises:
        ValueError: a window or a tile makes no sense.
    """

    spacing_mm: float | tuple[float, float, float] = 3.0
    hu_windows: tuple[tuple[float, float], ...] = ((-1000.0, 1500.0), (-160.0, 240.0))
    tile: tuple[int, int, int] = (64, 96, 96)
    tile_overlap: float = 0.5

    def __post_init__(self) -> None:
        if not all(-math.inf < low < high < math.inf for low, high in self.hu_windows):
            raise ValueError("a window of HU makes no sense")
        if len(self.tile) != 3 or min(self.tile) < 1 or not 0.0 <= self.tile_overlap < 1.0:
            raise ValueError("the tiles make no sense")

    @property
    def voxel_mm(self) -> tuple[float, float, float]:
        """Working voxel size along (S, A, R)."""
        return voxel_size(self.spacing_mm)


@dataclass(frozen=True)
class DecisionConfig:
    """When a structure counts as found.

    Args:
        threshold: voxel probability above which a voxel belongs to the structure.
        presence_threshold: study-level presence probability below which the structure is reported as not found.
        min_volume_ml: masks smaller than this are reported as not found.
        text_similarity: cosine similarity that free text must reach with the nearest trained phrase to be answered.
        concept_thresholds: voxel thresholds of single concepts, by concept id.
        concept_presence_thresholds: presence thresholds of single concepts, by concept id.
        minimum_scans: training scans that must have shown a structure before the model may answer for it.

    Raises:
        ValueError: a threshold is no probability, or the smallest volume no number.
    """

    threshold: float = 0.5
    presence_threshold: float = 0.5
    min_volume_ml: float = 0.5
    text_similarity: float = 0.6
    concept_thresholds: dict[str, float] = field(default_factory=dict)
    concept_presence_thresholds: dict[str, float] = field(default_factory=dict)
    minimum_scans: int = 1

    def __post_init__(self) -> None:
        single = (*self.concept_thresholds.values(), *self.concept_presence_thresholds.values())
        if not all(0.0 <= one <= 1.0 for one in (self.threshold, self.presence_threshold, *single)):
            raise ValueError("a threshold is no probability")
        if not (math.isfinite(self.min_volume_ml) and math.isfinite(self.text_similarity)):
            raise ValueError("a number of the decision is not finite")


@dataclass(frozen=True)
class PresenceConfig:
    """How evidence becomes the probability that a structure is in the scan, see ``inference.presence``.

    Args:
        intercept: of the logistic regression.
        weights: of its features, in their order.
    """

    intercept: float
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in (self.intercept, *self.weights)):
            raise ValueError("the calibration of presence has numbers that are not finite")


@dataclass(frozen=True)
class ModelConfig:
    """Everything that is needed to run a model, apart from its weights.

    Args:
        architecture: sizes of the network.
        preprocessing: how a CT becomes its input.
        decision: when a structure counts as found.
        presence: calibration of the probability of presence; None where the presence head speaks for itself.
    """

    architecture: ArchitectureConfig = field(default_factory=ArchitectureConfig)
    preprocessing: PreprocessingConfig = field(default_factory=PreprocessingConfig)
    decision: DecisionConfig = field(default_factory=DecisionConfig)
    presence: PresenceConfig | None = None

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ModelConfig:
        """Build from the parsed ``config.json``; keys of other programs are ignored.

        Raises:
            KeyError, TypeError: a section is missing or has an unknown key.
        """
        architecture = dict(data["architecture"])
        architecture["concepts"] = tuple(architecture.get("concepts", ()))
        strides = architecture.get("strides")
        architecture["strides"] = None if strides is None else tuple((int(s), int(a), int(r)) for s, a, r in strides)
        preprocessing = dict(data["preprocessing"])
        preprocessing["hu_windows"] = tuple((float(low), float(high)) for low, high in preprocessing["hu_windows"])
        preprocessing["spacing_mm"] = _number_or_triple(preprocessing["spacing_mm"])
        preprocessing["tile"] = tuple(int(side) for side in preprocessing["tile"])
        return cls(
            ArchitectureConfig(**architecture),
            PreprocessingConfig(**preprocessing),
            DecisionConfig(**data.get("decision", {})),
            _presence(data.get("presence")),
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON form of this configuration."""
        return asdict(self)


def _presence(section: Mapping[str, Any] | None) -> PresenceConfig | None:
    if section is None:
        return None
    return PresenceConfig(float(section["intercept"]), tuple(float(weight) for weight in section["weights"]))


def voxel_size(spacing_mm: float | Sequence[float]) -> tuple[float, float, float]:
    """Voxel size in mm along (S, A, R) from one number, for cubic voxels, or from three.

    Raises:
        TypeError, ValueError: it is neither, or not above zero.
    """
    try:
        sizes = [float(size) for size in ([spacing_mm] * 3 if isinstance(spacing_mm, int | float) else spacing_mm)]
    except OverflowError as error:
        raise ValueError("a voxel size makes no sense") from error
    if len(sizes) != 3 or not all(0.0 < size < math.inf for size in sizes):
        raise ValueError(f"a voxel size of {' x '.join(f'{size:g}' for size in sizes)} mm makes no sense")
    first, second, third = sizes
    return first, second, third


def describe_voxels(spacing_mm: float | Sequence[float]) -> str:
    """Voxel size in words: "3 mm", or "2.5 x 3.9 x 3.9 mm" along (S, A, R)."""
    sizes = voxel_size(spacing_mm)
    return f"{sizes[0]:g} mm" if len(set(sizes)) == 1 else f"{' x '.join(f'{size:g}' for size in sizes)} mm"


def _number_or_triple(spacing_mm: Any) -> float | tuple[float, float, float]:
    sizes = voxel_size(spacing_mm)
    return sizes[0] if len(set(sizes)) == 1 else sizes


def answered_concepts(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Concepts of a parsed ``config.json`` that the model may answer for, with what it says of them.

    Raises:
        ModelError: an entry is malformed.
    """
    try:
        decision = raw.get("decision", {})
        minimum = decision.get("minimum_scans", DecisionConfig.minimum_scans)
        presence = decision.get("concept_presence_thresholds", {})
        return {
            concept: facts
            for concept, facts in raw.get("concepts", {}).items()
            if may_answer(facts.get("cases", 0), minimum, presence.get(concept, 0.0))
        }
    except (AttributeError, TypeError) as error:
        raise ModelError("config.json of the model is malformed", "install the model again") from error


def may_answer(scans: int | None, minimum_scans: int, presence_threshold: float) -> bool:
    """Whether a model may answer for a concept.

    Args:
        scans: training scans that showed it; None where a converted model does not say, which is taken for enough.
        minimum_scans: that have to.
        presence_threshold: of the concept; what has to be present with a probability of 1 is never found.
    """
    return (scans is None or scans >= minimum_scans) and presence_threshold < 1.0
