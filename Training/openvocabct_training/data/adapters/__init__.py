"""Where the files of a data set are, what its label values mean, what else its scans rule out.

An adapter yields cases; it reads no voxels.  A concept that is neither labelled in a case nor ``absent`` from it is not
annotated there and will contribute no loss.  ``Training/DATA.md`` describes every data set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from openvocabct_training.data.adapters.abdomen import ABDOMEN
from openvocabct_training.data.adapters.base import LUNGS, TISSUES, Adapter, DataSet, RawCase
from openvocabct_training.data.adapters.generic import own_data
from openvocabct_training.data.adapters.labels import LabelMap, Labels, LabelScheme, MaskFolder
from openvocabct_training.data.adapters.shared import (
    EXAMPLE_CT_ABSENT,
    HEAD_AND_NECK_SLAB_RULES_OUT,
    NO_JAW,
    OPENKBP_CONCEPTS,
    body_parts,
    chest,
    cip,
    openkbp,
    sarcoma,
    totalsegmentator,
)
from openvocabct_training.data.adapters.thorax import SEGTHOR
from openvocabct_training.data.adapters.totalsegmentator import (
    TOTALSEGMENTATOR_CONCEPTS,
    TOTALSEGMENTATOR_UNIONS,
    TOTALSEGMENTATOR_V2,
    totalsegmentator_values,
)
from openvocabct_training.data.adapters.tumours import TUMOURS
from OpenVocabCTLib.errors import InputError

__all__ = [
    "ADAPTERS",
    "EXAMPLE_CT_ABSENT",
    "HEAD_AND_NECK_SLAB_RULES_OUT",
    "LUNGS",
    "NO_JAW",
    "OPENKBP_CONCEPTS",
    "PUBLIC",
    "TISSUES",
    "TOTALSEGMENTATOR_CONCEPTS",
    "TOTALSEGMENTATOR_UNIONS",
    "Adapter",
    "DataSet",
    "LabelMap",
    "LabelScheme",
    "Labels",
    "MaskFolder",
    "RawCase",
    "adapters_named",
    "body_parts",
    "chest",
    "cip",
    "openkbp",
    "sarcoma",
    "totalsegmentator",
    "totalsegmentator_values",
]

# Data set -> adapter; the names are those of ``dataset_weights`` in the training configurations.
# Those that the shipped weights were trained on:
ADAPTERS: Mapping[str, Adapter] = {
    "openkbp": openkbp,
    "totalsegmentator": totalsegmentator,
    "cip": cip,
    "chest": chest,
    "body_parts": body_parts,
    "ibsi_sts": sarcoma,
}
# Public data sets in the layout in which they are downloaded:
PUBLIC: Mapping[str, DataSet] = {data.name: data for data in (TOTALSEGMENTATOR_V2, *ABDOMEN, *TUMOURS, SEGTHOR)}


def adapters_named(names: Iterable[str]) -> dict[str, Adapter]:
    """Return the adapters of data sets by name; ``nnunet:FOLDER`` and ``folder:FOLDER`` are a person's own data.

    Raises:
        InputError: there is no such data set.
    """
    known: dict[str, Adapter] = {**ADAPTERS, **PUBLIC}
    found: dict[str, Adapter] = {}
    for name in names:
        own = own_data(name)
        key = name.partition(":")[2] if own else name
        if own and key in known:
            raise InputError(f"{name!r} has the name of a public data set", f"rename the folder, or write {key}")
        adapter = own or known.get(name)
        if adapter is None:
            raise InputError(
                f"there is no data set {name!r}", f"choose among {', '.join(known)}, nnunet:FOLDER and folder:FOLDER"
            )
        found[key] = adapter
    return found
