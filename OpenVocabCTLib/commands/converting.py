"""``openvocabct models convert``: public checkpoints of other frameworks become models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from OpenVocabCTLib.errors import InputError

if TYPE_CHECKING:
    from OpenVocabCTLib.models.converting.parts import SourceNetwork
    from OpenVocabCTLib.models.converting.writing import Description

convert = typer.Typer(help="Convert STU-Net and nnU-Net checkpoints.", no_args_is_help=True)

OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="DIR", help="New folder; by default NAME in your folder of models."),
]
NameOption = Annotated[str | None, typer.Option("--name", metavar="NAME", help="What --model will take.")]
SourceOption = Annotated[str | None, typer.Option("--source", metavar="TEXT", help="Where it comes from.")]
OrientationOption = Annotated[
    str | None, typer.Option(metavar="stored|RAS", help="How scans are turned first; by default as the source does.")
]
FastOption = Annotated[
    bool, typer.Option("--fast", help="Quicker, but not what the source would give: no flips, linear resampling.")
]
_STUNET = "STU-Net, github.com/uni-medical/STU-Net, arXiv:2304.06716, trained on TotalSegmentator v1"


@convert.command("stunet")
def convert_stunet(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="The .model file, its .pkl beside it.")],
    output: OutputOption = None,
    name: NameOption = None,
    plan: Annotated[Path | None, typer.Option(metavar="FILE", help="The .model.pkl, where it lies elsewhere.")] = None,
    classes: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help='{"0": "background", "1": NAME, ...} of other data.')
    ] = None,
    source: SourceOption = None,
    licence: Annotated[str, typer.Option(metavar="TEXT", help="Licence of the weights.")] = "Apache-2.0",
    orientation: OrientationOption = None,
    fast: FastOption = False,
) -> None:
    """Convert a STU-Net (S, B, L or H) of nnU-Net v1."""
    from OpenVocabCTLib.models.converting.stunet import CLASSES, read_stunet
    from OpenVocabCTLib.models.converting.writing import Description

    folder = _folder(output, name or f"stunet-{checkpoint.stem}")
    names = CLASSES if classes is None else _class_names(classes)
    network = read_stunet(checkpoint, plan, names, _orientation(orientation))
    _write(folder, [network], Description(source or _STUNET, licence, fast))


@convert.command("nnunet")
def convert_nnunet(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="FOLDER...", help="Results of nnU-Net v2; several become one model, not an ensemble."),
    ],
    output: OutputOption = None,
    name: NameOption = None,
    fold: Annotated[
        list[str] | None, typer.Option(help="Fold to take; repeat to average several. All of them.")
    ] = None,
    source: SourceOption = None,
    licence: Annotated[str, typer.Option(metavar="TEXT", help="Licence of the weights.")] = "not stated",
    orientation: OrientationOption = None,
    fast: FastOption = False,
) -> None:
    """Convert networks of nnU-Net v2, TotalSegmentator's among them."""
    from OpenVocabCTLib.models.converting.nnunet import read_results
    from OpenVocabCTLib.models.converting.writing import Description

    folder = _folder(output, name or folders[0].resolve().name)
    networks = [read_results(one, fold, _orientation(orientation)) for one in folders]
    described = source or "nnU-Net v2, " + ", ".join(one.resolve().name for one in folders)
    _write(folder, networks, Description(described, licence, fast))


def _folder(output: Path | None, name: str) -> Path:
    from OpenVocabCTLib.caches import models_folder
    from OpenVocabCTLib.models.checkpoints import check_name

    folder = models_folder() / name if output is None else output
    if folder.exists():
        raise InputError(f"{folder.name} is already there", "choose another folder with -o, or remove it first")
    if output is None:
        check_name(name)
    return folder


def _orientation(text: str | None) -> str | None:
    if text not in (None, "stored", "RAS"):
        raise InputError(f"there is no orientation {text!r}", "choose stored or RAS")
    return text


def _class_names(path: Path) -> tuple[str, ...]:
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        return tuple(str(given[str(number)]) for number in range(len(given)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path.name} does not list classes", 'give {"0": "background", "1": NAME, ...} in JSON'
        ) from error


def _write(folder: Path, networks: Sequence[SourceNetwork], description: Description) -> None:
    from OpenVocabCTLib.models.converting.writing import never_asked, unmapped, write_model

    config = write_model(folder, networks, description)
    count = sum(len(network.classes) - 1 for network in config.networks)
    typer.echo(f"wrote {folder}: {count} classes in {len(config.networks)} network(s)")
    own = unmapped(config)
    if own:
        typer.echo(f"by their own name only, the vocabulary does not know them: {', '.join(own)}")
    repeated = never_asked(config)
    if repeated:
        typer.echo(f"never asked, because an earlier network has them (nothing is averaged): {', '.join(repeated)}")
