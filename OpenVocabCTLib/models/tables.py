"""What ``config.json`` says about a model made from a network with fixed classes: a "class table".

The last layer of such a network is a 1x1x1 convolution: one vector and one bias per class.  That is a late-fusion head
whose queries are a table: voxel embedding = the features before that layer, query of a concept = the vector of its
class, decision = the best class.  A model may be several networks, each with classes of its own; only those that a
prompt needs are run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from OpenVocabCTLib.models.config import DecisionConfig, voxel_size

KIND = "class_table"
# Classes that a network knows beside those of the vocabulary are asked for by their own name, under this concept id.
OWN_NAME = "class:"
Triple = tuple[int, int, int]


@dataclass(frozen=True)
class InputConfig:
    """How a CT becomes the input of one network, as its source framework does it.

    Attributes:
        orientation: "stored" takes the voxels in the order of the file, "RAS" turns them to (S, A, R).
        transpose: network axis -> axis of the oriented array.
        spacing_mm: working voxels along the network's axes.
        patch: size of a tile along the network's axes, voxels.
        step: distance between tiles as a fraction of the patch, at most.
        mirror_axes: network axes along which tiles are flipped too, the mean of all flips counts.
        scheme: "ct" (clip to low..high HU, then minus mean, over deviation), "zscore" (mean and deviation of the scan)
            or "none".
        low, high, mean, deviation: of the scheme "ct", in HU.
        normalise_first: normalise before resampling (nnU-Net v2) or after it (v1).
        order: spline order of resampling the image; of the scores it is always 1.
        anisotropy: from this ratio of largest to smallest spacing on, the coarse axis is resampled on its own, with the
            nearest slice.

    Raises:
        TypeError, ValueError: a number makes no sense.
    """

    orientation: Literal["stored", "RAS"] = "stored"
    transpose: Triple = (0, 1, 2)
    spacing_mm: tuple[float, float, float] = (1.5, 1.5, 1.5)
    patch: Triple = (128, 128, 128)
    step: float = 0.5
    mirror_axes: tuple[int, ...] = ()
    scheme: Literal["ct", "zscore", "none"] = "ct"
    low: float = -1024.0
    high: float = 3071.0
    mean: float = 0.0
    deviation: float = 1.0
    normalise_first: bool = True
    order: int = 3
    anisotropy: float = 3.0

    def __post_init__(self) -> None:
        voxel_size(self.spacing_mm)
        if sorted(self.transpose) != [0, 1, 2] or not set(self.mirror_axes) <= {0, 1, 2}:
            raise ValueError("the axes make no sense")
        if min(self.patch) < 1 or not 0.0 < self.step <= 1.0:
            raise ValueError("the tiles make no sense")
        if not (-math.inf < self.low < self.high < math.inf and math.isfinite(self.mean) and self.deviation > 0.0):
            raise ValueError("the intensities make no sense")


@dataclass(frozen=True)
class NetworkConfig:
    """One network of a model.

    Attributes:
        name: shown while it runs, for example "organs".
        file: its weights beside ``config.json``.
        family: "stunet", "plain_unet" or "residual_unet".
        arguments: sizes of the network, see ``class_table.build_backbone``.
        folds: number of networks of this kind in the file, whose scores are averaged.
        classes: names of the classes in the order of the table, the first is the background.
        concepts: class name -> id of the vocabulary's concept, for those that it knows.
        preprocessing: how a CT becomes its input.
    """

    name: str
    file: str
    family: Literal["stunet", "plain_unet", "residual_unet"]
    arguments: dict[str, Any]
    folds: int
    classes: tuple[str, ...]
    concepts: dict[str, str]
    preprocessing: InputConfig

    def concept_of(self, index: int) -> str:
        """Concept id of a class; one of its own where the vocabulary does not know it."""
        name = self.classes[index]
        return self.concepts.get(name, OWN_NAME + name)


@dataclass(frozen=True)
class OpenWordsConfig:
    """When words that are not in the table are answered, see ``inference.tables.open_words``.

    Attributes:
        same_as: text similarity with a known phrase from which on free text is read as that structure in other words.
        near: text similarity with a known phrase that a new structure needs at least; above 1 new structures are
            refused, because leaving classes out showed that their vectors cannot be told from text.
        ridge: weight of the penalty of the map from text to class vectors.
        left_out: mean cosine between true and predicted class vectors when each class is left out, by network.
    """

    same_as: float = 0.75
    near: float = 2.0
    ridge: float = 0.3
    left_out: tuple[float, ...] = ()


@dataclass(frozen=True)
class TableConfig:
    """Everything that is needed to run a model with class tables, apart from its weights.

    Attributes:
        networks: its networks.
        decision: thresholds; voxels go to the best class, so only the smallest volume matters.
        open_words: what happens to other words.
        fast: whether the image pass differs from the source framework to be quicker.
    """

    networks: tuple[NetworkConfig, ...]
    decision: DecisionConfig = field(default_factory=lambda: DecisionConfig(min_volume_ml=0.0, presence_threshold=0.0))
    open_words: OpenWordsConfig = OpenWordsConfig()
    fast: bool = False

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TableConfig:
        """Build from the parsed ``config.json``; keys of other programs are ignored.

        Raises:
            KeyError, TypeError, ValueError: an entry is missing, unknown or malformed.
        """
        networks = tuple(_network(entry) for entry in data["networks"])
        if not networks:
            raise ValueError("there is no network")
        words = dict(data.get("open_words", {}))
        words["left_out"] = tuple(words.get("left_out", ()))
        decision = DecisionConfig(**data["decision"]) if "decision" in data else cls(networks).decision
        return cls(networks, decision, OpenWordsConfig(**words), bool(data.get("fast", False)))

    def to_dict(self) -> dict[str, Any]:
        """The JSON form of this configuration."""
        return asdict(self)


def apart(text: str) -> str:
    """A name with its capitals apart: "KidneyLeft" is "Kidney Left"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)


def plain(text: str) -> str:
    """Lower-case words of a class name: "Kidney_Left" and "KidneyLeft" are "kidney left"; signs are lost."""
    return " ".join(re.findall(r"[^\W_]+", apart(text).lower()))


def _network(entry: Mapping[str, Any]) -> NetworkConfig:
    arguments = dict(entry)
    given = dict(arguments["preprocessing"])
    for name in ("transpose", "patch"):
        given[name] = _three(given[name])
    given["spacing_mm"] = voxel_size(given["spacing_mm"])
    given["mirror_axes"] = tuple(int(axis) for axis in given["mirror_axes"])
    arguments["preprocessing"] = InputConfig(**given)
    arguments["classes"] = tuple(str(name) for name in arguments["classes"])
    return NetworkConfig(**arguments)


def _three(values: Sequence[Any]) -> Triple:
    first, second, third = (int(value) for value in values)
    return first, second, third
