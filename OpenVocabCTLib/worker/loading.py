"""The models that the worker holds ready."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from OpenVocabCTLib.worker.studies import ModelId

if TYPE_CHECKING:
    from OpenVocabCTLib.commands.services import LoadedModel

MODELS_KEPT = 2


class ModelKeeper:
    """Loads models and keeps the last ones; safe to use from many threads.

    Args:
        load: loads a model by name or folder on a device.
        default: what a request that names no model or device gets.
        on_drop: told of a model that is no longer kept.
    """

    def __init__(
        self,
        load: Callable[[str | None, str], LoadedModel],
        default: ModelId,
        on_drop: Callable[[ModelId], None] = lambda model: None,
    ) -> None:
        self._load, self.default, self._on_drop = load, default, on_drop
        self._kept: OrderedDict[ModelId, LoadedModel] = OrderedDict()
        self._loading = threading.Lock()
        self._lock = threading.Lock()

    def identify(self, model: str | None, device: str) -> ModelId:
        """Fill in what a request left open."""
        return (self.default[0] if model is None else model, self.default[1] if device == "auto" else device)

    def find(self, model: ModelId) -> LoadedModel | None:
        """Return a model that is loaded, without waiting."""
        with self._lock:
            if model in self._kept:
                self._kept.move_to_end(model)
            return self._kept.get(model)

    def load(self, model: ModelId) -> LoadedModel:
        """Return a model, loading it when it is not there; one is loaded at a time.

        Raises:
            ModelError: it is missing, damaged, or its files do not fit together.
            InputError: there is no such device.
        """
        with self._loading:
            loaded = self.find(model)
            if loaded is None:
                loaded = self._load(*model)
                # Embeddings are kept with their volumes, in one place with one limit.
                loaded.segmenter.cache.max_bytes = 0
                self._keep(model, loaded)
            return loaded

    def clear(self) -> None:
        """Let go of all models."""
        with self._lock:
            self._kept.clear()

    def report(self) -> dict[str, Any] | None:
        """Describe the model used last, None when none is loaded."""
        with self._lock:
            if not self._kept:
                return None
            loaded = next(reversed(self._kept.values()))
            return {"name": loaded.name, "device": loaded.device}

    def _keep(self, model: ModelId, loaded: LoadedModel) -> None:
        with self._lock:
            self._kept[model] = loaded
            dropped = [next(iter(self._kept))] if len(self._kept) > MODELS_KEPT else []
            for old in dropped:
                del self._kept[old]
        for old in dropped:
            self._on_drop(old)


def warm_up() -> None:
    """Build what only the first answer needs, which takes longer than the answer; an image pass runs outside Python."""
    import SimpleITK  # noqa: F401

    from OpenVocabCTLib.prompts import Vocabulary
    from OpenVocabCTLib.prompts.matching import phrase_index

    phrase_index(Vocabulary.load())


def give_back_memory() -> None:
    """Hand freed memory back to the system and to other programs on the GPU, also where freed memory is kept."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "cuda") and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if sys.platform.startswith("linux"):
        try:
            ctypes.CDLL(None).malloc_trim(0)
        except AttributeError:  # musl and others have nothing to trim
            return
