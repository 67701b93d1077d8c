"""``openvocabct-train prepare ct-rate``: download if asked, prepare, and write the reports beside the scans."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from openvocabct_training.data.adapters import ct_rate
from openvocabct_training.data.store import CaseStore
from openvocabct_training.pretraining.corpus import REPORTS, read_reports, write_reports
from OpenVocabCTLib.errors import InputError

log = logging.getLogger(__name__)

COMMAND = "ct-rate"
HUB = "hf"
REPOSITORY = "ibrahimhamamci/CT-RATE"
_TABLES = ("radiology_text_reports", "metadata", "multi_abnormality_labels")
NOTICE = (
    f"CT-RATE is licensed {ct_rate.LICENCE}: not for commercial use, no attempt to identify a patient, no passing on, "
    f"and what is made from it under the same licence. "
    f"Accept its terms at {ct_rate.PAGE} with the account of your token."
)


def add_arguments(step: argparse.ArgumentParser) -> None:
    """Options of the command."""
    step.add_argument(
        "--source", required=True, metavar="DIR|hf", help="folder of CT-RATE, or hf: download from Hugging Face"
    )
    step.add_argument("--store", type=Path, default=Path("runs/pretraining"), help="folder to write (%(default)s)")
    step.add_argument("--spacing", type=float, nargs="+", default=[3.0, 1.5, 1.5], metavar="MM", help="(3 1.5 1.5)")
    step.add_argument("--jobs", type=int, default=1, metavar="N", help="cases at the same time (%(default)s)")
    step.add_argument(
        "--on-error", choices=("stop", "skip"), default="stop", help="about an unusable case (%(default)s)"
    )
    step.add_argument("--splits", nargs="+", choices=tuple(ct_rate.SPLITS), default=tuple(ct_rate.SPLITS))
    step.add_argument(
        "--exclude", type=Path, nargs="+", default=(), metavar="FILE",
        help="lists of patients, studies or volumes to leave out, for example those of ReXGroundingCT's evaluation",
    )  # fmt: skip
    step.add_argument(
        "--reconstructions", choices=("all", "first"), default="all",
        help="of every study; a batch never holds two of one study (%(default)s)",
    )  # fmt: skip
    step.add_argument("--download", type=Path, default=Path("runs/ct_rate"), help="where hf downloads to (%(default)s)")
    step.add_argument("--patients", type=int, default=None, metavar="N", help="download only the first N of each split")
    step.add_argument("--workers", type=int, default=4, help="downloads at the same time (%(default)s)")


def prepare(options: argparse.Namespace) -> None:
    """Download if asked, prepare scans and reports."""
    from openvocabct_training.data.prepare import prepare as run

    source = Path(options.source)
    if options.source == HUB:
        print(NOTICE, file=sys.stderr)
        source = download(options.download, options.splits, options.patients, options.workers)
    adapter = ct_rate.CTRate(options.splits, ct_rate.exclusions(options.exclude), options.reconstructions)
    spacing = options.spacing[0] if len(options.spacing) == 1 else options.spacing
    store = CaseStore(options.store)
    records = run(source, store, spacing, {ct_rate.NAME: adapter}, jobs=options.jobs, on_error=options.on_error)
    cases = {record.case for record in records}
    rows = [row for row in ct_rate.reports(source, options.splits) if row.case in cases]
    path = store.root / REPORTS
    before = read_reports(path) if path.is_file() else []
    others = [row for row in before if not row.case.startswith(f"{ct_rate.NAME}/")]
    write_reports(path, [*others, *rows])
    without, studies = len(cases) - len(rows), len({row.study for row in rows})
    print(f"{len(cases)} volumes of {studies} studies in {store.root}, {without} without a report")


def download(folder: Path, splits: list[str], patients: int | None, workers: int) -> Path:
    """Download tables and volumes; what is there already is not downloaded again, a part of a file is gone on with.

    Args:
        folder: where to.
        splits: theirs.
        patients: only the first of each split; None: all.
        workers: files at the same time.

    Raises:
        InputError: the terms are not accepted, the token is wrong or missing, or the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    patterns = [f"dataset/{table}/*" for table in _TABLES]
    for split in splits:
        numbers = ["*"] if patients is None else [str(number) for number in range(1, patients + 1)]
        patterns += [f"dataset/{split}_fixed/{split}_{number}/*" for number in numbers]
    try:
        snapshot_download(
            REPOSITORY, repo_type="dataset", local_dir=folder, allow_patterns=patterns, max_workers=workers
        )
    except (GatedRepoError, RepositoryNotFoundError) as error:
        raise InputError(
            "Hugging Face does not let you have CT-RATE",
            f"accept its terms at {ct_rate.PAGE}, and log in with `hf auth login` or set HF_TOKEN",
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise InputError(
            f"the download stopped ({type(error).__name__})", "run the command again: it goes on where it was"
        ) from error
    return folder
