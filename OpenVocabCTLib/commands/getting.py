"""``openvocabct models download`` and ``import``: public models, with and without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from OpenVocabCTLib.commands.options import QuietOption
from OpenVocabCTLib.commands.terminal import Reporter
from OpenVocabCTLib.errors import InputError, ModelError

AcceptOption = Annotated[
    bool, typer.Option("--accept-licence", help="The licence allows what you do; asked for where it forbids some uses.")
]
FastOption = Annotated[bool, typer.Option("--fast", help="Quicker, but not exactly what the source would give.")]


def download_model(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model that `models list` shows as public.")],
    accept: AcceptOption = False,
    fast: FastOption = False,
    quiet: QuietOption = False,
) -> None:
    """Download a public model and convert it; an interrupted download goes on where it stopped."""
    from OpenVocabCTLib.caches import cache_folder, models_folder
    from OpenVocabCTLib.models.downloading import download
    from OpenVocabCTLib.models.importing import check_archive, import_model
    from OpenVocabCTLib.models.registry import check_accepted, find

    entry, reporter = find(name), Reporter(quiet)
    check_accepted(entry, accept)
    folder = models_folder() / entry.name
    if folder.exists():
        raise InputError(f"{entry.name} is already installed", f"use it with --model {entry.name}")
    if not entry.files:
        raise InputError(
            f"{entry.name} cannot be downloaded by a program",
            f"get it from {entry.page}, then run `openvocabct models import FILE --as {entry.name}`",
        )
    reporter.say(f"{entry.name}: {entry.segments}; licence {entry.licence}")
    kept = [cache_folder() / "downloads" / file.url.rsplit("/", 1)[-1] for file in entry.files]
    for file, target in zip(entry.files, kept, strict=True):
        if not _is_kept(target):
            with reporter.progress(target.stem) as progress:
                download(
                    file.url,
                    target,
                    file.sha256,
                    lambda done, total: progress(done >> 20, max(total, done) >> 20),
                    check_archive,
                )
    import_model(kept, folder, f"{entry.page} ({', '.join(one.name for one in kept)})", entry.licence, fast)
    for target in kept:
        target.unlink()
    typer.echo(f"installed {folder}")


def _is_kept(archive: Path) -> bool:
    """Whether an earlier try left a good file; a bad one is removed, or it would be in the way for ever."""
    from OpenVocabCTLib.models.importing import check_archive

    if not archive.exists():
        return False
    try:
        check_archive(archive)
    except ModelError:
        archive.unlink()
        return False
    return True


def import_files(
    sources: Annotated[list[Path], typer.Argument(metavar="FILE|DIR...", help="Model folder, checkpoint, or a zip.")],
    known_as: Annotated[str | None, typer.Option("--as", metavar="NAME", help="Which public model it is.")] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="What --model will take.")] = None,
    licence: Annotated[str | None, typer.Option(metavar="TEXT", help="Licence of other weights.")] = None,
    accept: AcceptOption = False,
    fast: FastOption = False,
) -> None:
    """Install a model from files, without a network: a model folder, or a checkpoint of nnU-Net v2 or STU-Net."""
    from OpenVocabCTLib.caches import models_folder
    from OpenVocabCTLib.models.importing import import_model
    from OpenVocabCTLib.models.registry import check_accepted, find

    entry = None if known_as is None else find(known_as)
    if entry is not None:
        check_accepted(entry, accept)
    chosen = name or (entry.name if entry else sources[0].resolve().stem)
    if Path(chosen).name != chosen or chosen.startswith("."):
        raise InputError(f"{chosen!r} is no name of a model", "give a name without folders")
    source, terms = (entry.page, entry.licence) if entry else (None, None)
    folder = models_folder() / chosen
    import_model(sources, folder, source, licence or terms, fast)
    typer.echo(f"installed {folder}")
