"""Model folders from networks of other frameworks: weights, configuration, phrases, model card."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.inference.segmenter import BANK_FILE
from OpenVocabCTLib.inference.tables.open_words import LeftOut, calibrated, leave_classes_out
from OpenVocabCTLib.inference.tables.questions import class_phrases, phrases_of, with_biases
from OpenVocabCTLib.models.checkpoints import CONFIG_FILE, WEIGHTS_FILE, sha256_file
from OpenVocabCTLib.models.class_table import BIASES, VECTORS, ClassTable
from OpenVocabCTLib.models.config import describe_voxels
from OpenVocabCTLib.models.converting.parts import SourceNetwork
from OpenVocabCTLib.models.tables import KIND, InputConfig, NetworkConfig, OpenWordsConfig, TableConfig
from OpenVocabCTLib.output.atomic import os_error
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from OpenVocabCTLib.text.bank import EmbeddingBank
from OpenVocabCTLib.text.encoder import HuggingFaceTextEncoder, TextEncoder


@dataclass(frozen=True)
class Description:
    """What the source does not say of itself.

    Attributes:
        source: where the checkpoint comes from, a page or a paper.
        licence: of the weights.
        fast: give up exactness for speed: no flips, 16 bits where the device is fast at them, linear resampling.
    """

    source: str
    licence: str
    fast: bool = False


def write_model(
    folder: Path, networks: Sequence[SourceNetwork], description: Description, encoder: TextEncoder | None = None
) -> TableConfig:
    """Write a model folder; there is either all of it or nothing.

    Args:
        folder: new, its name is the model's.
        networks: the parts of the model.
        description: what the model card says.
        encoder: makes the embeddings of the phrases, the default encoder by default.

    Returns:
        What was written as configuration.

    Raises:
        InputError: the folder is there or cannot be written.
        ResourceError: the disk is full.
    """
    files = [WEIGHTS_FILE, *(f"network_{number}.safetensors" for number in range(2, len(networks) + 1))]
    configs = [
        replace(one.config, file=file, preprocessing=_chosen(one.config.preprocessing, description.fast))
        for one, file in zip(networks, files, strict=True)
    ]
    vocabulary = Vocabulary.load()
    bank = EmbeddingBank.build(_texts(configs, vocabulary), encoder or HuggingFaceTextEncoder.default())
    tables = [ClassTable(one.weights[VECTORS], one.weights[BIASES]) for one in networks]
    known = [(phrases_of(c, vocabulary, bank), with_biases(t)) for c, t in zip(configs, tables, strict=True)]
    left_out = [leave_classes_out(phrases, vectors, OpenWordsConfig().ridge) for phrases, vectors in known]
    words = calibrated(OpenWordsConfig(), known, left_out)
    config = TableConfig(tuple(configs), open_words=words, fast=description.fast)
    with _new_folder(folder) as place:
        from safetensors.torch import save_file

        for one, file in zip(networks, files, strict=True):
            save_file(one.weights, place / file)
        bank.write(place / BANK_FILE)
        hashes = {name: sha256_file(place / name) for name in (*files, BANK_FILE)}
        raw = _raw(folder.name, config, networks, description) | {"sha256": hashes}
        (place / CONFIG_FILE).write_text(json.dumps(raw, indent=1), encoding="utf-8")
        card = _card(folder.name, config, networks, description, left_out)
        (place / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    return config


def unmapped(config: TableConfig) -> list[str]:
    """Classes that the vocabulary does not know; they are asked for by their own name."""
    return [name for network in config.networks for name in network.classes[1:] if name not in network.concepts]


def never_asked(config: TableConfig) -> list[str]:
    """Classes that an earlier network of the model has too: networks are not averaged, the first one answers."""
    seen: set[str] = set()
    found = []
    for network in config.networks:
        concepts = {network.concept_of(row): row for row in range(1, len(network.classes))}
        found += [f"{network.classes[row]} of {network.name}" for one, row in concepts.items() if one in seen]
        seen |= concepts.keys()
    return found


def _chosen(config: InputConfig, fast: bool) -> InputConfig:
    return replace(config, mirror_axes=(), order=1) if fast else config


def _texts(configs: Sequence[NetworkConfig], vocabulary: Vocabulary) -> list[str]:
    return [
        phrase
        for config in configs
        for row in range(1, len(config.classes))
        for phrase in class_phrases(config, row, vocabulary)[0]
    ]


def _raw(name: str, config: TableConfig, networks: Sequence[SourceNetwork], description: Description) -> dict[str, Any]:
    concepts: dict[str, Any] = {}
    for network in networks:
        for concept in network.config.concepts.values():
            concepts.setdefault(concept, {"cases": network.cases, "dice": None})
    count = sum(len(network.classes) - 1 for network in config.networks)
    return config.to_dict() | {
        "kind": KIND,
        "name": name,
        "version": "1",
        "description": f"{count} classes of {description.source}" + (", fast" if description.fast else ""),
        "licence": description.licence,
        "source": {"from": description.source, "sha256": [one.hashes for one in networks]},
        "preprocessing": {"spacing_mm": list(config.networks[0].preprocessing.spacing_mm)},
        "concepts": concepts,
    }


def _card(
    name: str,
    config: TableConfig,
    networks: Sequence[SourceNetwork],
    description: Description,
    left_out: Sequence[Sequence[LeftOut]],
) -> str:
    lines = [f"# {name}", "", f"Converted from: {description.source}.  Licence of the weights: {description.licence}."]
    lines += ["", "Research use; not a medical device.  Nobody measured this conversion on your data.", ""]
    for network, source in zip(config.networks, networks, strict=True):
        lines.append(f"- `{network.file}`: {_in_words(network)}")
        lines += [f"  - {file}: sha256 {digest}" for file, digest in source.hashes.items()]
    lines += ["", "## Preprocessing", ""]
    lines.append(
        "Fast: no flips, linear resampling, 16 bits where the device is fast at them. It differs from the source."
        if config.fast
        else "As in the source framework: its crop, normalisation, cubic resampling, tiles, weights and flips."
    )
    lines += ["", "## Words that are not in the table", "", _words(config.open_words)]
    for network, found in zip(config.networks, left_out, strict=True):
        lines += _each_left_out(network, found)
    own = unmapped(config)
    if own:
        lines += ["", "## Classes without a place in the vocabulary", "", ", ".join(own)]
    repeated = never_asked(config)
    if repeated:
        lines += ["", "## Classes that are never asked, because an earlier network has them", "", ", ".join(repeated)]
    return "\n".join(lines) + "\n"


def _in_words(network: NetworkConfig) -> str:
    given = network.preprocessing
    return (
        f"{network.name}, {network.family}, {network.folds} fold(s), {len(network.classes) - 1} classes, voxels of "
        f"{describe_voxels(given.spacing_mm)}, tiles {' x '.join(map(str, given.patch))}, "
        f"orientation {given.orientation}, flips along axes {list(given.mirror_axes)}"
    )


def _words(config: OpenWordsConfig) -> str:
    cosines = ", ".join(f"{one:.2f}" for one in config.left_out)
    verdict = (
        f"new structures are answered from a text similarity of {config.near:.2f} on"
        if config.near <= 1.0
        else "new structures are refused"
    )
    return (
        f"Mean cosine between the true vector of a class and the one predicted from its name when it is left out, by "
        f"network: {cosines}; {verdict}. Other words for a known structure are read from a text similarity of "
        f"{config.same_as:.2f} on."
    )


def _each_left_out(network: NetworkConfig, found: Sequence[LeftOut]) -> list[str]:
    """Table of what a map from text that does not know a class makes of its name, the best first."""
    if not found:
        return []
    lines = ["", f"| class of {network.name} left out | similarity of the nearest other phrase | cosine |", "|-|-|-|"]
    for one in sorted(found, key=lambda one: -one.cosine):
        lines.append(f"| {network.classes[one.index]} | {one.similarity:.2f} | {one.cosine:.2f} |")
    return lines


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``folder`` when the block ends without an exception."""
    if folder.exists():
        raise InputError(f"{folder.name} is already there", "choose another folder, or remove it first")
    place = folder.with_name(f".{folder.name[:40]}.{secrets.token_hex(6)}.part")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        place.mkdir()
        yield place
        os.replace(place, folder)
    except OSError as error:
        raise os_error(error, folder) from error
    finally:
        shutil.rmtree(place, ignore_errors=True)
