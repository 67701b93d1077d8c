"""``openvocabct models``: which models are there, what they can do, whether they are intact."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from OpenVocabCTLib.commands.converting import convert
from OpenVocabCTLib.commands.getting import download_model, import_files
from OpenVocabCTLib.commands.options import JsonOption
from OpenVocabCTLib.commands.results import NOTHING, decimal
from OpenVocabCTLib.commands.terminal import one_line, print_json, print_table

if TYPE_CHECKING:
    from OpenVocabCTLib.models.checkpoints import ModelInfo

models = typer.Typer(help="List, describe, verify, convert, download and import models.", no_args_is_help=False)
models.add_typer(convert, name="convert")
models.command("download")(download_model)
models.command("import")(import_files)

NameArgument = Annotated[str | None, typer.Argument(metavar="[NAME|DIR]", help="Model; the embedded one by default.")]


@models.command("list")
def list_models(as_json: JsonOption = False) -> None:
    """List the models that are here, and public ones that can be installed."""
    from OpenVocabCTLib.models.checkpoints import available_models
    from OpenVocabCTLib.models.config import describe_voxels
    from OpenVocabCTLib.models.registry import registry

    found = available_models()
    public = [entry for entry in registry() if entry.name not in {info.name for info in found}]
    if as_json:
        print_json({"models": [model_record(info) for info in found], "public": [entry.record() for entry in public]})
        return
    rows = [
        (
            info.name,
            info.version,
            f"{info.parameters / 1e6:.1f} M",
            describe_voxels(info.spacing_mm),
            str(len(info.answered)),
        )
        for info in found
    ]
    print_table(("model", "version", "parameters", "voxels", "structures"), rows, right=(2, 3, 4))
    typer.echo("\npublic models, for `openvocabct models download NAME` or, by hand, `models import FILE --as NAME`:\n")
    offers = [
        (
            entry.name,
            entry.segments,
            f"{entry.spacing_mm:g} mm",
            f"{entry.megabytes} MB",
            f"{entry.memory_gb} GB",
            f"{entry.cpu_minutes} min",
            "download" if entry.files else "by hand",
            entry.licence,
        )
        for entry in public
    ]
    titles = ("model", "segments", "voxels", "size*", "memory*", "CPU time*", "get it", "licence")
    print_table(titles, offers, right=(2, 3, 4, 5))
    typer.echo(
        "\n* estimates: of the converted weights from the number of parameters; for a CT of 512 x 512 x 600 voxels"
    )


@models.command("show")
def show_model(name: NameArgument = None, as_json: JsonOption = False) -> None:
    """Describe a model: licence, structures it was trained on, measured Dice, which of them it answers for."""
    from OpenVocabCTLib.models.checkpoints import describe, read_config, resolve
    from OpenVocabCTLib.models.config import describe_voxels

    folder = resolve(name)
    info = describe(folder)
    config = read_config(folder)
    trained: dict[str, Any] = config["concepts"]
    own_names = _own_names(config)
    if as_json:
        print_json(model_record(info) | {"concepts": trained} | ({"own_names": own_names} if own_names else {}))
        return
    size = f"{info.parameters / 1e6:.1f} M parameters, {describe_voxels(info.spacing_mm)} voxels"
    typer.echo(one_line(f"{info.name} {info.version}: {info.description}"))  # of whoever made the model
    typer.echo(one_line(f"licence {info.licence}, {size}"))
    typer.echo(f"folder {info.folder}; read MODEL_CARD.md there\n")
    rows = [
        (
            concept,
            _count(facts.get("cases")),
            decimal(facts.get("dice"), 2),
            "yes" if concept in info.answered else "no",
        )
        for concept, facts in trained.items()
    ]
    print_table(("structure", "training cases", "validation Dice", "answered"), rows, right=(1, 2))
    if own_names:
        typer.echo(f"\nby their own name, which the vocabulary does not know: {', '.join(own_names)}")


@models.command("verify")
def verify_model(name: NameArgument = None, as_json: JsonOption = False) -> None:
    """Compare a model's files with the hashes in its configuration."""
    from OpenVocabCTLib.models.checkpoints import resolve, verify

    folder: Path = resolve(name)
    verify(folder)
    if as_json:
        print_json({"folder": str(folder), "verified": True})
    else:
        typer.echo(f"{folder}: every file is intact")


def _own_names(config: dict[str, Any]) -> list[str]:
    """Classes of a converted model that the vocabulary does not know."""
    return [
        name
        for network in config.get("networks", ())
        for name in network["classes"][1:]
        if name not in network["concepts"]
    ]


def model_record(info: ModelInfo) -> dict[str, Any]:
    """Describe a model for ``--json``."""
    return {
        "name": info.name,
        "folder": str(info.folder),
        "version": info.version,
        "description": info.description,
        "licence": info.licence,
        "spacing_mm": list(info.spacing_mm),
        "parameters": info.parameters,
        "concepts": list(info.concepts),
        "answered": list(info.answered),
    }


def _count(number: int | None) -> str:
    return NOTHING if number is None else str(number)
