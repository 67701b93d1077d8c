"""What runs the image tower: the network in torch, or the same network compiled for the CPU by OpenVINO."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from OpenVocabCTLib.caches import cache_folder
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.inference.devices import Compute, cpu_is_fast_at_bf16
from OpenVocabCTLib.inference.graph_cache import GraphCache
from OpenVocabCTLib.inference.openvino_network import OpenVinoNetwork, OpenVinoPrecision, import_openvino
from OpenVocabCTLib.inference.preparing import Preparation
from OpenVocabCTLib.models.openvocab import ImageFeatures

if TYPE_CHECKING:
    import openvino

Backend = Literal["auto", "torch", "openvino"]

_LARGE_NETWORK = 50_000_000  # parameters
_OPENVINO_NAMES: dict[torch.dtype, OpenVinoPrecision] = {torch.float32: "f32", torch.bfloat16: "bf16"}

_log = logging.getLogger(__name__)


class TileEncoder(Protocol):
    """A network that makes voxel embeddings of tiles: ``OpenVocabCT``, or one with fixed classes."""

    backbone: Any

    @property
    def embedding_channels(self) -> int:
        """Channels E of the voxel embedding."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Every parameter of the network."""

    def encode_image(self, hu: Tensor, leftness: Tensor, /) -> ImageFeatures:
        """(B, D, H, W) tiles and leftness -> voxel embedding (B, E, D, H, W) and presence tokens."""


class TileFeatures(NamedTuple):
    """What the image tower makes of one tile, float32 on the CPU: voxel embedding (E, D, H, W), presence (E,)."""

    embedding: Tensor
    presence: Tensor


class ImageTower(Protocol):
    """Runs the image tower on one tile after the other.

    Attributes:
        name: identifies backend and number format, for reports and for the cache of embeddings.
        channels: E of the voxel embedding.
        stride: the sides of a tile are multiples of it.
    """

    name: str
    channels: int
    stride: int

    def __call__(self, hu: Tensor, leftness: Tensor) -> TileFeatures:
        """Encode a tile: (D, H, W) in HU, and (D, H, W) place left or right of the middle, both on the CPU."""


@runtime_checkable
class PairingTower(ImageTower, Protocol):
    """An image tower that may be quicker with two tiles than with one after the other.

    Attributes:
        pairs: whether it is.
    """

    pairs: bool

    def pair(self, tiles: Sequence[tuple[Tensor, Tensor]]) -> list[TileFeatures]:
        """Encode two tiles of one shape, each as for ``__call__``."""


class TorchTower:
    """The network as it is, on any device.

    Args:
        model: in evaluation mode on ``compute.device``.
        compute: device and number format.

    Attributes:
        device: where it runs.
    """

    def __init__(self, model: TileEncoder, compute: Compute) -> None:
        self._model, self._compute, self.device = model, compute, compute.device
        self.name = f"torch {compute.device} {compute.dtype}"
        self.channels, self.stride = model.embedding_channels, model.backbone.stride

    def __call__(self, hu: Tensor, leftness: Tensor) -> TileFeatures:
        """See ``ImageTower``."""
        embedding, presence = self.encode(hu[None].to(self.device), leftness[None].to(self.device))
        return TileFeatures(embedding[0].float().cpu(), presence[0].float().cpu())

    def encode(self, hu: Tensor, leftness: Tensor) -> tuple[Tensor, Tensor]:
        """See ``DeviceTower``."""
        with torch.inference_mode(), self._compute.autocast():
            features = self._model.encode_image(hu, leftness)
        return features.embedding, features.presence


class OpenVinoTower:
    """The same network, compiled for this CPU; about twice as fast as torch (Testing/benchmarks/RESULTS.md).

    Args:
        model: fp32 network in evaluation mode on the CPU.
        dtype: number format of the convolutions; float32, or bfloat16 on CPUs with instructions for it.
        weights: sha256 of the weights, under which the converted network is kept on disk; not kept if "".
        prepared: the same network, compiled already; used when format and threads are those wanted.

    Raises:
        ImportError: OpenVINO is not installed or does not load.
        RuntimeError: OpenVINO cannot convert or compile the network.
    """

    def __init__(
        self, model: TileEncoder, dtype: torch.dtype, weights: str = "", prepared: OpenVinoNetwork | None = None
    ) -> None:
        precision = _OPENVINO_NAMES[dtype]
        self.name = f"openvino {precision}"
        self.channels, self.stride = model.embedding_channels, model.backbone.stride
        wanted = (precision, torch.get_num_threads())
        if prepared is None or (prepared.precision, prepared.threads) != wanted:
            openvino = import_openvino()
            core = openvino.Core()
            graph = _kept_graph(model, weights, core, openvino.__version__) if weights else _convert(model)
            prepared = OpenVinoNetwork(core, graph, *wanted)
        self._network = prepared
        # Compiled twice, which the weights of a large network are too large for.
        self.pairs = prepared.threads > 1 and sum(one.numel() for one in model.parameters()) < _LARGE_NETWORK

    def __call__(self, hu: Tensor, leftness: Tensor) -> TileFeatures:
        """See ``ImageTower``."""
        embedding, presence = self._network(hu.numpy(), leftness.numpy())
        return TileFeatures(torch.from_numpy(embedding), torch.from_numpy(presence))

    def pair(self, tiles: Sequence[tuple[Tensor, Tensor]]) -> list[TileFeatures]:
        """See ``PairingTower``."""
        results = self._network.pair([(hu.numpy(), leftness.numpy()) for hu, leftness in tiles])
        return [TileFeatures(*(torch.from_numpy(part) for part in result)) for result in results]


def choose_tower(
    model: TileEncoder,
    compute: Compute,
    backend: Backend = "auto",
    weights: str = "",
    preparation: Preparation | None = None,
) -> ImageTower:
    """Pick what runs the image tower.

    Args:
        model: in evaluation mode on ``compute.device``.
        compute: device and number format.
        backend: "auto" is OpenVINO on the CPU where it is installed and works, torch otherwise.
        weights: sha256 of the weights; with it, the network that OpenVINO reads is kept on disk for the next start.
        preparation: may have made the network ready already.

    Raises:
        InputError: "openvino" was asked for but cannot be used.
    """
    possible = compute.device.type == "cpu" and _openvino_can(compute.dtype) and find_spec("openvino") is not None
    if backend == "torch" or (backend == "auto" and not possible):
        return TorchTower(model, compute)
    if not possible:
        raise InputError("OpenVINO is not installed, or not for this device", "choose the backend auto or torch")
    try:
        prepared = preparation.network(weights) if preparation is not None and weights else None
        return OpenVinoTower(model, compute.dtype, weights, prepared)
    except (ImportError, RuntimeError) as error:
        if backend == "openvino":
            raise InputError(f"OpenVINO does not work here ({error})", "choose the backend auto or torch") from error
        _log.warning("OpenVINO does not work here (%s): the network runs in torch, which is slower", error)
        return TorchTower(model, compute)


def _openvino_can(dtype: torch.dtype) -> bool:
    return dtype == torch.float32 or (dtype == torch.bfloat16 and cpu_is_fast_at_bf16())


def _kept_graph(model: TileEncoder, weights: str, core: Any, version: str) -> openvino.Model:
    """Read the converted network from disk, or convert it and keep it there."""
    cache = GraphCache(cache_folder() / "networks", weights, version)
    graph = cache.read(core)
    if graph is None:
        graph = _convert(model)
        cache.write(graph)
    return graph


class _TileNetwork(nn.Module):
    """The part of the network that runs per tile, with tensors in and out."""

    def __init__(self, model: TileEncoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, hu: Tensor, leftness: Tensor) -> tuple[Tensor, Tensor]:
        """(1, D, H, W) twice -> (1, E, D, H, W), (1, E)."""
        features = self.model.encode_image(hu, leftness)
        return features.embedding, features.presence


def _convert(model: TileEncoder) -> openvino.Model:
    """Trace the network and convert the trace; the graph takes tiles of any shape.

    ``openvino.convert_model`` does the same with the telemetry in between.
    """
    from openvino import Type
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    stride = model.backbone.stride
    # Three different sides, so that a side that is mistaken for a constant or for another shows.
    example = torch.zeros(1, stride, 2 * stride, 3 * stride)
    with torch.no_grad(), warnings.catch_warnings():
        # Branches on shapes that no tile has, and the deprecation of TorchScript, which OpenVINO's converter reads.
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(_TileNetwork(model).eval(), (example, example), check_trace=False)
        decoder = TorchScriptPythonDecoder(traced)
    frontend = FrontEndManager().load_by_framework("pytorch")
    # The frontend holds no reference to the decoder: it has to live until the conversion is done.
    graph = frontend.convert(frontend.load(decoder))
    for parameter in graph.get_parameters():
        parameter.set_element_type(Type.f32)
    graph.validate_nodes_and_infer_types()
    return graph
