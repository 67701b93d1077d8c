"""``openvocabct dicom``: what a DICOM folder or zip holds."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from OpenVocabCTLib.commands.options import JsonOption, named_path
from OpenVocabCTLib.commands.results import NOTHING
from OpenVocabCTLib.commands.terminal import print_json, print_table
from OpenVocabCTLib.errors import InputError

dicom = typer.Typer(help="Look into DICOM folders and zips.", no_args_is_help=False)


@dicom.callback()
def _group() -> None:
    """Look into DICOM folders and zips."""


@dicom.command("list")
def list_series(
    source: Annotated[
        Path, typer.Argument(metavar="DIR", parser=named_path, help="A folder, a zip or a file of DICOM.")
    ],
    as_json: JsonOption = False,
) -> None:
    """List the series, and say of each whether it can be segmented, and of one that it is taken by default.

    Names of patients are not shown.
    """
    from OpenVocabCTLib.checks import naming
    from OpenVocabCTLib.dicom import scan
    from OpenVocabCTLib.dicom.series import largest
    from OpenVocabCTLib.volume import printable

    if not source.exists():
        raise InputError(f"{printable(source)} does not exist", "check the path")
    with naming(printable(source)):
        catalogue = scan(source)
    series = catalogue.summaries()
    if not series:
        raise InputError(f"{printable(source)} holds no DICOM file", "give a folder or zip of DICOM")
    taken = largest(catalogue.volumes)[0].series_uid if catalogue.volumes else None
    if as_json:
        records = [asdict(one) | {"taken": one.series_uid == taken and not one.reason} for one in series]
        print_json({"series": records, "notes": list(catalogue.notes())})
        return
    studies = {uid: number for number, uid in enumerate(dict.fromkeys(one.study_uid for one in series), start=1)}
    rows = [
        (
            str(studies[one.study_uid]),
            str(one.number),
            one.modality or NOTHING,
            str(one.images),
            one.reason or ("taken by default" if one.series_uid == taken else "can be segmented"),
            one.description or NOTHING,
            one.series_uid,
        )
        for one in series
    ]
    print_table(("study", "series", "modality", "images", "", "description", "UID"), rows, right=(0, 1, 3))
